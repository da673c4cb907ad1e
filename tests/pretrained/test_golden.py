"""B0 against figures that timm gave, stored in golden.npz; see golden.py."""

import numpy as np
import pytest

from effnet_jax.pretrained import importer
from tests.pretrained import golden
from tests.pretrained.files import write_safetensors
from tests.well_conditioned import jitted, relative_error

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def weight_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("golden") / "model.safetensors"
    write_safetensors(path, golden.weights())
    return path


def forward(weight_file, name: str, **wrong):
    imported = importer.import_weights("timm", weight_file, name)
    options = {key: imported.metadata["model"][key] for key in ("padding", "bn_epsilon")} | wrong
    return jitted("efficientnet_b0", golden.NUM_CLASSES, **options)(imported.variables, golden.image())


@pytest.mark.parametrize("name", golden.MODELS)
def test_logits_and_head_map_are_those_of_timm(weight_file, name):
    stored = np.load(golden.FILE)
    logits, fmap = forward(weight_file, name)
    assert fmap.shape == tuple(stored[f"{name}/map_shape"])
    assert relative_error(logits, stored[f"{name}/logits"]) < TOLERANCE
    assert relative_error(golden.sample(np.asarray(fmap)), stored[f"{name}/map"]) < TOLERANCE


def test_wrong_padding_and_epsilon_are_caught(weight_file):
    """Control: each mistake alone is far outside the tolerance."""
    stored = np.load(golden.FILE)["tf_efficientnet_b0/logits"]
    assert relative_error(forward(weight_file, "tf_efficientnet_b0", padding="SYMMETRIC")[0], stored) > 1e-2
    assert relative_error(forward(weight_file, "efficientnet_b0", padding="SAME")[0], stored) > 3 * TOLERANCE
