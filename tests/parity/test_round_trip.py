"""A model of ours in timm, and Keras's published kind of weights in ours."""

import jax
import numpy as np
import pytest

from effnet_jax import create_model
from effnet_jax.export import timm_weights
from effnet_jax.inference.classifier import Classifier
from effnet_jax.pretrained import importer
from effnet_jax.pretrained.registry import SOURCES
from effnet_jax.pretrained.sources import IMAGENET_MEAN, IMAGENET_STD
from effnet_jax.training.checkpoint import Loaded
from tests.parity import peers
from tests.well_conditioned import images, relative_error, to_source, well_conditioned

pytestmark = pytest.mark.parity

TOLERANCE = 1e-4
OURS = {
    "as published": {},
    "CIFAR strides": {"stem_stride": 1, "stage_strides": (1, 2, 2, 2, 1, 1, 1)},
    "PyTorch's padding": {"padding": "SYMMETRIC", "bn_epsilon": 1e-5},
    "an epsilon of its own": {"padding": "SYMMETRIC", "bn_epsilon": 1e-3},
}


def _logits(model, weights, x):
    return jax.jit(lambda v, x: model.apply(v, x, train=False))(weights, x)


@pytest.mark.parametrize("options", OURS.values(), ids=OURS)
def test_our_weights_give_the_same_logits_in_timm(options, tmp_path):
    torch = peers.import_torch()  # before timm, which imports torchvision
    timm = pytest.importorskip("timm")
    import safetensors.torch

    metadata = {
        "model": {"name": "efficientnet_b0", "num_classes": 10, **options},
        "preprocess": {"resolution": 46, "mean": (0.5,) * 3, "std": (0.25,) * 3, "crop_fraction": 1.0},
        "class_names": [str(i) for i in range(10)],
    }
    weights = well_conditioned("efficientnet_b0", 10)
    exported = timm_weights.to_timm(Loaded(weights, metadata, step=1, ema=False))
    timm_weights.write_safetensors(tmp_path / "model.safetensors", exported)

    names = {"timm": timm}
    exec("\n".join(exported.instructions), names)
    names["model"].load_state_dict(safetensors.torch.load_file(tmp_path / "model.safetensors"))
    model = names["model"].double().eval()
    with torch.no_grad():
        theirs = model(torch.from_numpy(images(46).astype(np.float64).transpose(0, 3, 1, 2).copy())).numpy()
    ours = _logits(create_model(**metadata["model"]), weights, images(46))
    assert relative_error(ours, theirs) < TOLERANCE


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5", ".keras"])
def test_keras_weights_of_the_published_kind_bring_their_normalization(suffix, tmp_path, monkeypatch):
    """weights="imagenet" without the download: the layer holds standard deviations as variances."""
    peer = peers.Keras("EfficientNetB0", 1000, 224)
    keras = pytest.importorskip("keras")
    source = SOURCES["keras"]
    weights = well_conditioned("efficientnet_b0", 1000)
    peer.load(to_source(source, create_model("efficientnet_b0"), weights))
    layer = next(layer for layer in peer.model.layers if isinstance(layer, keras.layers.Normalization))
    layer.set_weights([np.array(IMAGENET_MEAN), np.array(IMAGENET_STD), np.array(0)])
    path = tmp_path / f"model{suffix}"
    stored = tmp_path / "stored.weights.h5"
    peer.model.save_weights(stored)
    (peer.model.save_weights if suffix == ".weights.h5" else peer.model.save)(path)

    module = __import__("keras.src.applications.efficientnet", fromlist=["file_utils"])
    monkeypatch.setattr(module.file_utils, "get_file", lambda *_, **__: str(stored))
    published = keras.applications.EfficientNetB0(classifier_activation=None)  # weights="imagenet"
    assert len(published.layers) == len(peer.model.layers) + 1  # the second rescaling

    pixels = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    theirs = np.asarray(published(pixels.astype(np.float64)).detach().cpu())
    imported = importer.import_weights("keras", path, "EfficientNetB0")
    imported.metadata["preprocess"]["crop_fraction"] = 1.0
    net = Classifier(Loaded(imported.variables, imported.metadata, 0, False))
    np.testing.assert_allclose(imported.metadata["preprocess"]["std"], IMAGENET_STD, rtol=1e-6)
    ours = _logits(net.model, net.variables, net.preprocess(pixels))
    assert relative_error(ours, theirs) < TOLERANCE
