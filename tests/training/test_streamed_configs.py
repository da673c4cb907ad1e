"""The configs of Food-101 and ImageNet: what their docstrings say, and two steps on photographs of no meaning."""

import dataclasses
import importlib

import numpy as np
import pytest

from effnet_jax.architecture import scaling
from effnet_jax.data.decode.crops import RandomCrop
from effnet_jax.data.decode.encoded import EncodedSplit, Reading
from effnet_jax.data.sets import registry, splits
from effnet_jax.training import setup
from effnet_jax.training.loop import train_and_evaluate
from effnet_jax.training.plan import Plan
from tests.data import photographs
from tests.short import train_on_one_device, two_blocks


@dataclasses.dataclass(frozen=True)
class Memory:
    """Photographs that are made when they are read."""

    names = ("memory",)

    def read(self, number):
        return photographs.jpeg(number), f"memory {number}"


def config_of(name):
    return importlib.import_module(f"configs.{name}").get_config()


@pytest.mark.parametrize(("name", "steps_per_epoch", "epochs"), [("b0_food101", 276, 100), ("b0_imagenet", 306, 350)])
def test_the_plan_is_that_of_the_docstring(name, steps_per_epoch, epochs):
    config = config_of(name)
    train_count = registry.info(config.dataset.name).split_sizes["train"] - config.dataset.validation_examples
    plan = Plan.from_config(config, train_count, 1)
    assert (plan.steps_per_epoch, plan.num_train_steps) == (steps_per_epoch, steps_per_epoch * epochs)
    assert f"{plan.num_train_steps:,} steps" in " ".join(importlib.import_module(f"configs.{name}").__doc__.split())
    assert config.model.num_classes == registry.info(config.dataset.name).num_classes


@pytest.mark.parametrize("name", ["b0_food101", pytest.param("b0_imagenet", marks=pytest.mark.slow)])
def test_two_steps(name, tmp_path, monkeypatch):
    config = config_of(name)
    config.update(num_train_steps=2, batch_size=8, eval_batch_size=8, eval_every_steps=2, log_every_steps=1)
    config.model.update(width_multiplier=0.05, allow_1x1_map=True)
    monkeypatch.setattr(scaling, "round_repeats", two_blocks)
    train_on_one_device(monkeypatch)
    config.dataset.resolution = 32
    info = registry.info(config.dataset.name)

    def load(options):
        side = options.image_size or options.resolution
        reading = Reading(side, options.resolution, 0.875, RandomCrop(options.crop_area, options.crop_aspect), 0)
        labels = np.arange(16, dtype=np.int32)
        split = EncodedSplit(Memory(), np.arange(16), labels, reading)
        names = tuple(map(str, range(info.num_classes)))
        return splits.Dataset(info, names, dict.fromkeys(("train", "validation", "test"), split), 0.875)

    monkeypatch.setattr(setup, "load_dataset", load)
    results = train_and_evaluate(config, tmp_path / "run")
    assert results["steps"] == 2 and results["test"]["count"] == 16 and np.isfinite(results["test"]["loss"])
