"""Weights out: under timm's names, whole, and back in again."""

import jax
import numpy as np
import pytest

from effnet_jax import create_model
from effnet_jax.errors import UserError
from effnet_jax.export import timm_weights
from effnet_jax.pretrained import importer, readers
from effnet_jax.training.checkpoint import Loaded
from effnet_jax.training.state import init_variables

CIFAR = {"stem_stride": 1, "stage_strides": (1, 2, 2, 2, 1, 1, 1)}


def loaded(**options) -> Loaded:
    options = {"name": "efficientnet_b0", "num_classes": 4, **options}
    shapes = jax.eval_shape(lambda: init_variables(create_model(**options), jax.random.key(0), 64))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: np.abs(rng.standard_normal(leaf.shape)).astype(np.float32), shapes)
    preprocess = {"resolution": 64, "mean": (0.5,) * 3, "std": (0.2,) * 3, "crop_fraction": 1.0}
    return Loaded(variables, {"model": options, "preprocess": preprocess, "class_names": list("abcd")}, 5, False)


def test_what_goes_out_comes_back(tmp_path):
    ours = loaded()
    timm_weights.write_safetensors(tmp_path / "m.safetensors", timm_weights.to_timm(ours))
    back = importer.import_weights("timm", tmp_path / "m.safetensors", "tf_efficientnet_b0")
    assert jax.tree.all(jax.tree.map(np.array_equal, back.variables, ours.variables))
    assert "bn1.num_batches_tracked" in readers.read(tmp_path / "m.safetensors").tensors


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({}, ["model = timm.create_model('tf_efficientnet_b0', num_classes=4)"]),
        (
            {"padding": "SYMMETRIC"},
            ["model = timm.create_model('efficientnet_b0', num_classes=4, bn_eps=0.001)"],
        ),
        (
            CIFAR,
            [
                "model = timm.create_model('tf_efficientnet_b0', num_classes=4)",
                "model.get_submodule('conv_stem').stride = (1, 1)",
                "model.get_submodule('blocks.5.0.conv_dw').stride = (1, 1)",
            ],
        ),
    ],
)
def test_instructions(options, lines):
    assert list(timm_weights.to_timm(loaded(**options)).instructions) == lines


def test_what_timm_cannot_be(tmp_path):
    with pytest.raises(UserError, match="multipliers"):
        timm_weights.to_timm(loaded(width_multiplier=0.5))
    with pytest.raises(UserError, match="larger strides"):
        timm_weights.to_timm(loaded(stage_strides=(2, 2, 2, 2, 1, 1, 1)))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        timm_weights.write_safetensors(tmp_path / "file/m.safetensors", timm_weights.to_timm(loaded()))
