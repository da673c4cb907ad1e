import flax.linen as nn
import jax
import numpy as np
import pytest

from effnet_jax.data.device.pipeline import Pipeline
from effnet_jax.data.device.preprocess import Preprocess
from effnet_jax.data.device.resident import ResidentSource
from effnet_jax.data.sets.splits import Split
from effnet_jax.evaluation.examples import Examples
from effnet_jax.process import sharding
from effnet_jax.training import metrics
from effnet_jax.training.evaluation import Evaluator


class FirstPixels(nn.Module):
    """Logits are the pixels themselves, so every figure can be worked out by hand."""

    def __call__(self, x, train):
        return x[:, 0, :, 0]


def split_of(count, classes=7):
    rng = np.random.default_rng(count)
    images = rng.integers(0, 256, (count, classes, classes, 3), np.uint8)
    labels = rng.integers(0, classes, count).astype(np.int32)
    labels[-1] = images[-1, 0, :, 0].argmax()  # padding repeats the last example: counting it twice has to show
    return Split(images=images, labels=labels)


@pytest.mark.parametrize("devices", [1, 2, 8])
@pytest.mark.parametrize(("count", "batch_size"), [(10_001, 512), (16, 16), (17, 16), (3, 16)])
def test_every_example_counts_once_on_any_number_of_devices(devices, count, batch_size):
    split = split_of(count)
    mesh = sharding.data_mesh(jax.devices()[:devices])
    preprocess = Preprocess(7, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    evaluate = Evaluator(FirstPixels(), Pipeline(mesh, preprocess, augment=None, num_classes=7), batch_size)
    (figures,) = evaluate([{}], ResidentSource(split, mesh))

    logits = split.images[:, 0, :, 0].astype(np.float64) / 255
    truth = np.take_along_axis(logits, split.labels[:, None], 1)
    rank = ((logits >= truth) & (np.arange(7) != split.labels[:, None])).sum(1)
    loss = np.log(np.exp(logits).sum(1)) - truth[:, 0]
    assert figures["count"] == count
    np.testing.assert_allclose(figures["accuracy"], (rank == 0).mean(), rtol=1e-12)
    np.testing.assert_allclose(figures["top5_accuracy"], (rank < 5).mean(), rtol=1e-12)
    np.testing.assert_allclose(figures["loss"], loss.mean(), rtol=1e-5)


def test_of_five_classes_there_is_no_top_5_accuracy():
    sums = {"count": 4, "loss": 2.0, "correct": 3, "top5_correct": 4}
    assert metrics.rates(sums, 5) == {"loss": 0.5, "accuracy": 0.75}
    assert metrics.rates(sums, 6)["top5_accuracy"] == 1.0
    examples = Examples(*np.zeros((6, 3), int))
    assert "top5_accuracy" not in examples.figures(5) and examples.figures(6)["top5_accuracy"] == 1.0


def test_the_host_does_not_run_far_ahead_of_the_device(monkeypatch):
    """On a CPU every queued batch holds the working memory of a whole forward pass."""
    mesh = sharding.data_mesh(jax.devices()[:1])
    pipe = Pipeline(mesh, Preprocess(7, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), augment=None, num_classes=7)
    evaluate, done, ahead = Evaluator(FirstPixels(), pipe, 16), [], []

    def step(variables, window):
        ahead.append(window.start // 16 - len(done))
        return dict.fromkeys(("count", "loss", "correct", "top5_correct"), np.int32(1))

    monkeypatch.setattr(evaluate, "_step", step)
    monkeypatch.setattr(jax, "block_until_ready", done.append)
    assert evaluate([{}], ResidentSource(split_of(160), mesh))[0]["count"] == 10
    assert ahead == [0, *[1] * 9]
