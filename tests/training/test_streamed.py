"""A run on a streamed folder, stopped half-way: it goes on as if nothing had been."""

import json

import jax
import numpy as np
import pytest

from configs import default
from effnet_jax.architecture import baselines
from effnet_jax.data.device import streamed
from effnet_jax.errors import RunInterrupted, UserError
from effnet_jax.evaluation.checkpoint import evaluate_checkpoint
from effnet_jax.training import checkpoint
from effnet_jax.training.loop import train_and_evaluate
from tests.data import photographs
from tests.short import train_on_one_device

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(scope="module")
def name(tmp_path_factory):
    counts = {"train": {"ape": 24, "cat": 20}, "val": {"ape": 5, "cat": 6}}
    return photographs.write_folder(tmp_path_factory.mktemp("photographs") / "set", counts)


@pytest.fixture(scope="module", autouse=True)
def one_block():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(baselines.RESNET_BLOCKS, "resnet50", (1,))
        train_on_one_device(patch)
        yield


def config_of(name):
    """Five steps, two an epoch, of one block of a ResNet on crops of 12 pixels that the device brings to 8."""
    config = default.get_config()
    config.update(batch_size=16, eval_batch_size=8, num_train_steps=5)
    config.update(log_every_steps=1, eval_every_steps=3, checkpoint_every_steps=3)
    config.model.update(name="resnet50", num_classes=2, stem_stride=1)
    config.dataset.update(name=name, resolution=8, image_size=12, streaming=True, num_workers=0)
    return config


@pytest.fixture
def config(name):
    return config_of(name)


@pytest.fixture(scope="module")
def whole(name, tmp_path_factory):
    """The folder of a run that nothing disturbed, and its results."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, train_and_evaluate(config_of(name), folder)


def metrics_of(folder):
    records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in record.items() if key != "images_per_second"} for record in records]


def test_a_stopped_run_ends_bit_for_bit_like_a_whole_one(config, whole, tmp_path):
    reference, results = whole

    def stop(step: int, accuracy: float) -> None:
        raise RunInterrupted("enough")

    with pytest.raises(RunInterrupted):
        train_and_evaluate(config, tmp_path / "halved", on_validation=stop)
    state = checkpoint.load(tmp_path / "halved/checkpoints/3", "raw").metadata["data"]
    assert state["step"] == 3 and state["images"] == 40
    train_and_evaluate(config, tmp_path / "halved")

    assert metrics_of(tmp_path / "halved") == metrics_of(reference)
    for weights in ("raw", "ema"):
        folders = (tmp_path / "halved", reference)
        pair = [checkpoint.load(folder / "checkpoints/5", weights).variables for folder in folders]
        jax.tree.map(np.testing.assert_array_equal, *pair)

    assert results["test"]["count"] == 11 and results["validation"]["count"] == 4
    assert checkpoint.load(reference).metadata["preprocess"]["crop_fraction"] == 0.875
    again = evaluate_checkpoint(reference, batch_size=8)
    chosen = "ema_accuracy" if again["ema"] else "accuracy"
    assert (again["count"], again["accuracy"]) == (11, results["test"][chosen])


def test_a_run_that_cannot_read_on_saves_what_it_has(config, whole, tmp_path, monkeypatch):
    reference, results = whole
    at = streamed.StreamedFeeds.at

    def give_up(self, step):
        if step == 4:
            raise UserError("a data worker died: set --config.dataset.num_workers lower")
        return at(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(streamed.StreamedFeeds, "at", give_up)
        with pytest.raises(UserError, match=r"a data worker died.*lower; saved at step 4 of 5 in .*goes on from there"):
            train_and_evaluate(config, tmp_path / "run")
    assert (tmp_path / "run/checkpoints/4").is_dir()
    assert train_and_evaluate(config, tmp_path / "run")["test"] == results["test"]
    assert metrics_of(tmp_path / "run") == metrics_of(reference)


def test_several_steps_at_a_time_are_refused(config, tmp_path):
    config.steps_per_dispatch = 2
    with pytest.raises(UserError, match="batch by batch"):
        train_and_evaluate(config, tmp_path / "run")
