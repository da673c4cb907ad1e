"""The whole family against four other implementations: our float32, theirs in float64.

Every model takes its weights the way a user's would come: the peer writes a file of its own kind, the importer
reads it and decides padding and epsilon. The odd sizes are those where padding rules differ; at 32k + 1
pixels they all coincide.
"""

import numpy as np
import pytest

from effnet_jax import create_model
from effnet_jax.architecture import scaling
from effnet_jax.pretrained import importer
from effnet_jax.pretrained.registry import SOURCES
from tests.parity import peers
from tests.well_conditioned import images, jitted, relative_error, to_source, well_conditioned

pytestmark = pytest.mark.parity

NUM_CLASSES = 100
TOLERANCE = 1e-4
# A model's weights and compiled functions are made once, so all its cases belong to one worker.
FAMILY = [pytest.param(f"efficientnet_b{i}", marks=pytest.mark.xdist_group(f"b{i}")) for i in range(8)]
SIZES = ("native", 191, 222, 61)
PEERS = {
    "timm": ("timm", peers.Timm, "{}"),
    "tf_timm": ("timm", peers.Timm, "tf_{}"),
    "torchvision": ("torchvision", peers.Torchvision, "{}"),
    "lukemelas": ("lukemelas", peers.Lukemelas, "efficientnet-{}"),
    "keras": ("keras", peers.Keras, "EfficientNetB{}"),
}


def their_name(peer: str, model: str) -> str:
    short = {"lukemelas": model.split("_")[1], "keras": model[-1]}
    return PEERS[peer][2].format(short.get(peer, model))


def imported(peer: str, model: str, size: int, tmp_path):
    """The peer with well-conditioned weights, and what the importer makes of the file it writes."""
    source_name, peer_class, _ = PEERS[peer]
    name = their_name(peer, model)
    theirs = peer_class(name, NUM_CLASSES, size)
    weights = well_conditioned(model, NUM_CLASSES)
    theirs.load(to_source(SOURCES[source_name], create_model(model, NUM_CLASSES), weights))
    path = tmp_path / f"weights{peer_class.suffix}"
    theirs.save(path)
    return theirs, importer.import_weights(source_name, path, name)


def inputs(peer: str, imported_model, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The same images as the peer wants them and as our model does."""
    if peer != "keras":
        return images(size), images(size)
    preprocess = imported_model.metadata["preprocess"]
    mean, std = np.array(preprocess["mean"]), np.array(preprocess["std"])
    # With weights=None Keras's own normalisation is the identity on 0..1. Pixels that leave this range give its stem
    # the noise that the statistics of BatchNorm were made for: on 0..1 rounding grows to 1e-2 in B6.
    pixels = 255.0 * images(size)
    return pixels, ((pixels / 255 - mean) / std).astype(np.float32)


def compare(peer: str, model: str, size: int, tmp_path) -> dict[str, float]:
    theirs, ours = imported(peer, model, size, tmp_path)
    for_them, for_us = inputs(peer, ours, size)
    logits, fmap = theirs(for_them)
    options = ours.metadata["model"]
    forward = jitted(model, NUM_CLASSES, options["padding"], options["bn_epsilon"])
    our_logits, our_map = forward(ours.variables, for_us)
    assert our_map.shape == fmap.shape
    return {"logits": relative_error(our_logits, logits), "head map": relative_error(our_map, fmap)}


# pytest varies the lowest line slowest: a model's weights and compiled functions are made once for all peers.
@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("model", FAMILY)
def test_logits_and_head_map_agree(peer, model, size, tmp_path):
    pixels = scaling.FAMILY[model].resolution if size == "native" else size
    errors = compare(peer, model, pixels, tmp_path)
    print(f"{model} {peer} {pixels} px: " + ", ".join(f"{what} {error:.1e}" for what, error in errors.items()))
    assert max(errors.values()) < TOLERANCE, errors


@pytest.mark.parametrize("wrong", [{"padding": "SYMMETRIC"}, {"bn_epsilon": 1e-5}], ids=str)
def test_a_wrong_padding_or_epsilon_is_caught(wrong, tmp_path):
    """Control: the tolerance is tight enough to see either mistake."""
    theirs, ours = imported("tf_timm", "efficientnet_b0", 222, tmp_path)
    logits, fmap = theirs(images(222))
    options = {key: ours.metadata["model"][key] for key in ("padding", "bn_epsilon")}
    right = jitted("efficientnet_b0", NUM_CLASSES, **options)(ours.variables, images(222))
    mistaken = jitted("efficientnet_b0", NUM_CLASSES, **(options | wrong))(ours.variables, images(222))
    assert relative_error(right[0], logits) < TOLERANCE
    assert relative_error(mistaken[0], logits) > 2 * TOLERANCE
    assert relative_error(mistaken[1], fmap) > 2 * TOLERANCE
