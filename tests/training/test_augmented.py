"""A run with everything that augments, killed half-way: it goes on as if nothing had been."""

import json

import numpy as np
import pytest

from effnet_jax.errors import RunInterrupted
from effnet_jax.training.loop import train_and_evaluate


def losses(folder):
    records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [record["loss"] for record in records if record["split"] == "train"]


@pytest.fixture
def config(tiny_config):
    tiny_config.num_train_steps = 4
    tiny_config.log_every_steps = tiny_config.eval_every_steps = tiny_config.checkpoint_every_steps = 2
    tiny_config.augment.update(
        brightness=0.4,
        policy="randaugment",
        erasing_probability=0.5,
        mixup_alpha=0.2,
        cutmix_alpha=1.0,
        mix_until=0.75,
    )
    return tiny_config


@pytest.mark.slow
def test_an_interrupted_run_draws_the_same_augmentation(config, tmp_path):
    train_and_evaluate(config, tmp_path / "whole")

    def stop(step: int, accuracy: float) -> None:
        if step == 2:
            raise RunInterrupted("enough")

    with pytest.raises(RunInterrupted):
        train_and_evaluate(config, tmp_path / "halved", on_validation=stop)
    train_and_evaluate(config, tmp_path / "halved")
    assert np.isfinite(losses(tmp_path / "whole")).all()
    assert losses(tmp_path / "halved") == losses(tmp_path / "whole")
