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


@pytest.fixture(scope="module")
def name(tmp_path_factory):
    counts = {"train": {"ape": 24, "cat": 20}, "val": {"ape": 5, "cat": 6}}
    return photographs.write_folder(tmp_path_factory.mktemp("photographs") / "set", counts)


@pytest.fixture
def config(name, monkeypatch):
    """Five steps, two an epoch, of one block of a ResNet on crops of 12 pixels that the device brings to 8."""
    monkeypatch.setitem(baselines.RESNET_BLOCKS, "resnet50", (1,))
    config = default.get_config()
    config.update(batch_size=16, eval_batch_size=8, num_train_steps=5)
    config.update(log_every_steps=1, eval_every_steps=3, checkpoint_every_steps=3)
    config.model.update(name="resnet50", num_classes=2, stem_stride=1)
    config.dataset.update(name=name, resolution=8, image_size=12, streaming=True, num_workers=0)
    return config


def metrics_of(folder):
    records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in record.items() if key != "images_per_second"} for record in records]


def test_a_stopped_run_ends_bit_for_bit_like_a_whole_one(config, tmp_path):
    whole = train_and_evaluate(config, tmp_path / "whole")

    def stop(step: int, accuracy: float) -> None:
        raise RunInterrupted("enough")

    with pytest.raises(RunInterrupted):
        train_and_evaluate(config, tmp_path / "halved", on_validation=stop)
    state = checkpoint.load(tmp_path / "halved/checkpoints/3", "raw").metadata["data"]
    assert state["step"] == 3 and state["images"] == 40
    train_and_evaluate(config, tmp_path / "halved")

    assert metrics_of(tmp_path / "halved") == metrics_of(tmp_path / "whole")
    for weights in ("raw", "ema"):
        pair = [checkpoint.load(tmp_path / run / "checkpoints/5", weights).variables for run in ("halved", "whole")]
        jax.tree.map(np.testing.assert_array_equal, *pair)

    assert whole["test"]["count"] == 11 and whole["validation"]["count"] == 4
    assert checkpoint.load(tmp_path / "whole").metadata["preprocess"]["crop_fraction"] == 0.875
    again = evaluate_checkpoint(tmp_path / "whole", batch_size=8)
    chosen = "ema_accuracy" if again["ema"] else "accuracy"
    assert (again["count"], again["accuracy"]) == (11, whole["test"][chosen])


def test_a_run_that_cannot_read_on_saves_what_it_has(config, tmp_path, monkeypatch):
    whole = train_and_evaluate(config, tmp_path / "whole")
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
    assert train_and_evaluate(config, tmp_path / "run")["test"] == whole["test"]
    assert metrics_of(tmp_path / "run") == metrics_of(tmp_path / "whole")


def test_several_steps_at_a_time_are_refused(config, tmp_path):
    config.steps_per_dispatch = 2
    with pytest.raises(UserError, match="batch by batch"):
        train_and_evaluate(config, tmp_path / "run")
