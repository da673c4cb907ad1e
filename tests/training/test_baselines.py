"""The baselines' configs through the whole training loop, on images of no meaning."""

import importlib
import json

import jax
import numpy as np
import pytest

from configs import b0_cifar100
from effnet_jax import baselines, config
from effnet_jax.data import registry, splits
from effnet_jax.training import setup
from effnet_jax.training.loop import train_and_evaluate

SHALLOW = {"resnet50": (1, 2), "resnet152": (2, 1), "densenet201": (1, 2)}


@pytest.fixture(autouse=True)
def noise(monkeypatch):
    """CIFAR-100 replaced by 32 images a split."""
    rng = np.random.default_rng(0)
    info = registry.info("cifar100")
    images = rng.integers(0, 256, (32, 32, 32, 3), dtype=np.uint8)
    split = splits.Split(images, np.arange(32, dtype=np.int32))
    data = splits.Dataset(info, tuple(map(str, range(100))), dict.fromkeys(("train", "validation", "test"), split))
    monkeypatch.setattr(setup, "load_dataset", lambda _: data)


def two_steps(name):
    run = importlib.import_module(f"configs.{name}_cifar100").get_config()
    run.update(num_train_steps=2, batch_size=8, eval_batch_size=32, eval_every_steps=2, log_every_steps=1)
    return run


@pytest.mark.parametrize("name", baselines.NAMES)
def test_the_recipe_is_that_of_b0(name):
    recipe = config.flatten(b0_cifar100.get_config())
    ours = config.flatten(importlib.import_module(f"configs.{name}_cifar100").get_config())
    assert {key for key in recipe if recipe[key] != ours[key]} == {"model.name", "model.stage_strides"}


@pytest.mark.parametrize("name", ["resnet50", "densenet201"])
def test_two_steps_of_a_shallow_one(name, tmp_path, monkeypatch):
    for table in (baselines.RESNET_BLOCKS, baselines.DENSENET_BLOCKS):
        for model in table:
            monkeypatch.setitem(table, model, SHALLOW[model])
    results = train_and_evaluate(two_steps(name), tmp_path / "run")
    counts = baselines.baseline(name, stem_stride=1).count(32, 100)
    assert (results["model"], results["num_parameters"], results["macs"]) == (name, counts.parameters, counts.macs)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert np.isfinite(losses).all() and results["steps"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", baselines.NAMES)
def test_two_steps_of_the_real_one(name, tmp_path):
    results = train_and_evaluate(two_steps(name), tmp_path / "run")
    assert results["num_parameters"] == baselines.baseline(name, stem_stride=1).count(32, 100).parameters


@pytest.mark.parametrize("name", baselines.NAMES)
def test_the_configs_build(name, monkeypatch):
    """Shapes alone: the model, its state and its figures."""
    built = setup.build(two_steps(name))
    shapes = built.abstract_state()
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes.params)) == built.counts.parameters
    assert built.counts == baselines.baseline(name, stem_stride=1).count(32, 100)
