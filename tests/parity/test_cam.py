"""Maps against pytorch-grad-cam's on the same weights and images: our float32, theirs in float64."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from effnet_jax import cam, create_model
from effnet_jax.cam import base
from effnet_jax.cam.imputation import impute
from effnet_jax.pretrained.registry import SOURCES
from tests.parity import peers
from tests.well_conditioned import images, to_source, well_conditioned

pytestmark = pytest.mark.parity

NUM_CLASSES, SIZE = 10, 96
CLASSES = [3, 7]
TOLERANCE = 1e-3  # of maps in [0, 1]


@dataclasses.dataclass(frozen=True)
class Case:
    """A model under both names, and where our layers are in theirs."""

    peer: type[peers.TorchPeer]
    source: str
    name: str
    layers: dict[str, Callable[[Any], Any]]


MODELS = {
    "efficientnet_b0": Case(
        peers.Timm,
        "timm",
        "tf_efficientnet_b0",
        {"stem": lambda m: m.bn1, "stage3": lambda m: m.blocks[2], "head": lambda m: m.bn2},
    ),
    "resnet50": Case(
        peers.TorchvisionResNet,
        "torchvision",
        "resnet50",
        {"stem": lambda m: m.maxpool, "head": lambda m: m.layer4},
    ),
}
CASES = [(model, layer) for model, case in MODELS.items() for layer in case.layers]
THEIRS = {
    "grad_cam": "GradCAM",
    "grad_cam_plus_plus": "GradCAMPlusPlus",
    "xgrad_cam": "XGradCAM",
    "hires_cam": "HiResCAM",
    "layer_cam": "LayerCAM",
    "eigen_cam": "EigenCAM",
    "score_cam": "ScoreCAM",
}
# 2048 passes of a ResNet-50 in float64 take minutes and would show nothing that its stem does not.
TOO_LONG = ("resnet50", "head", "score_cam")
COMPARED = [(*case, method) for case in CASES for method in THEIRS if (*case, method) != TOO_LONG]


def both(model: str):
    """Our model and theirs with the same weights, and theirs' package."""
    case = MODELS[model]
    theirs = case.peer(case.name, NUM_CLASSES, SIZE)
    package = pytest.importorskip("pytorch_grad_cam")
    ours, weights = create_model(model, NUM_CLASSES), well_conditioned(model, NUM_CLASSES)
    theirs.load(to_source(SOURCES[case.source], ours, weights))
    return ours, weights, theirs, package


def in_float64(model: str, weights):
    """Our model and weights in their precision; to be used under `jax.enable_x64`."""
    as_float64 = lambda leaf: np.asarray(leaf, np.float64)  # noqa: E731
    return create_model(model, NUM_CLASSES, dtype="float64"), jax.tree.map(as_float64, weights)


def their_maps(theirs, package, method: str, layer, x: np.ndarray, targets) -> np.ndarray:
    tensor = theirs.torch.from_numpy(x.astype(np.float64).transpose(0, 3, 1, 2).copy())
    with getattr(package, THEIRS[method])(model=theirs.model, target_layers=[layer(theirs.model)]) as explain:
        return explain(input_tensor=tensor, targets=targets)


def difference(ours, theirs: np.ndarray) -> float:
    return float(np.abs(np.asarray(ours) - theirs).max())


def with_their_sign(raw, theirs: np.ndarray) -> np.ndarray:
    """Eigen-CAM of theirs has the sign that the decomposition happens to give: of ours both, the nearer by image."""
    signs = [np.asarray(base.finish(sign * raw, (SIZE, SIZE), raw=False)) for sign in (1, -1)]
    return np.stack([min(pair, key=lambda ours: difference(ours, other)) for *pair, other in zip(*signs, theirs)])


@pytest.mark.parametrize(("model", "layer", "method"), COMPARED)
def test_maps_agree(model, layer, method, monkeypatch):
    ours, weights, theirs, package = both(model)
    if method == "score_cam":
        # Theirs resizes masks with aligned corners, which moves them against the image; the paper's code does not.
        upsample = theirs.torch.nn.Upsample
        monkeypatch.setattr(theirs.torch.nn, "UpsamplingBilinear2d", lambda size: upsample(size=size, mode="bilinear"))
    x = images(SIZE, count=1 if method == "score_cam" else 2)
    targets = [package.utils.model_targets.ClassifierOutputTarget(c) for c in CLASSES[: len(x)]]
    expected = their_maps(theirs, package, method, MODELS[model].layers[layer], x, targets)
    # Their guard against 0 / 0, 1e-6, is large beside squared gradients; ours is off by default.
    options = {"epsilon": 1e-6} if method == "grad_cam_plus_plus" else {}
    # Below the head the denominator of Grad-CAM++ may be near 0, and rounding then decides.
    exactly = method == "grad_cam_plus_plus" and layer != "head"
    with jax.enable_x64(exactly):
        if exactly:
            ours, weights = in_float64(model, weights)
            x = x.astype(np.float64)
        found = getattr(cam, method)(ours, weights, x, np.array(CLASSES[: len(x)]), layer, **options)
    if method == "eigen_cam":
        found = with_their_sign(cam.eigen_cam(ours, weights, x, layer=layer, raw=True), expected)
    error = difference(found, expected)
    print(f"{model} {layer} {method}: {error:.1e}")
    assert np.ptp(expected) > 0.9
    assert error < TOLERANCE


@pytest.mark.parametrize(("model", "layer"), CASES)
def test_any_function_of_the_logits_agrees(model, layer):
    ours, weights, theirs, package = both(model)
    x = images(SIZE, count=2)
    expected = their_maps(theirs, package, "grad_cam", MODELS[model].layers[layer], x, [lambda y: y[3] - 2 * y[7]] * 2)
    found = cam.grad_cam(ours, weights, x, lambda y: y[:, 3] - 2 * y[:, 7], layer)
    assert difference(found, expected) < TOLERANCE


def test_a_wrong_class_or_layer_is_caught():
    """Control: the tolerance is tight enough to see either."""
    ours, weights, theirs, package = both("efficientnet_b0")
    x = images(SIZE, count=2)
    targets = [package.utils.model_targets.ClassifierOutputTarget(c) for c in CLASSES]
    expected = their_maps(theirs, package, "grad_cam", lambda m: m.blocks[2], x, targets)
    for classes, layer in ((CLASSES[::-1], "stage3"), (CLASSES, "stage2"), (CLASSES, "stage4")):
        found = cam.grad_cam(ours, weights, x, np.array(classes), layer)
        assert difference(found, expected) > 10 * TOLERANCE


def test_imputation_agrees():
    torch = peers.import_torch()
    road = pytest.importorskip("pytorch_grad_cam.metrics.road")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 20, 24, 3)).astype(np.float32)
    missing = rng.uniform(size=(2, 20, 24)) < 0.6
    missing[0, 4:16, 4:] = True
    fill = road.NoisyLinearImputer(noise=0.0)
    for found, image, hole in zip(impute(x, missing), x, missing):
        keep = torch.from_numpy((~hole).astype(np.float32))
        expected = fill(torch.from_numpy(image.transpose(2, 0, 1).copy()), keep).numpy().transpose(1, 2, 0)
        np.testing.assert_allclose(found, expected, atol=1e-4)
