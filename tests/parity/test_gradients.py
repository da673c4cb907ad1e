"""Gradients of the loss against the peers', in both modes of BatchNorm."""

import jax
import numpy as np
import optax
import pytest

from effnet_jax import create_model
from effnet_jax.pretrained.registry import SOURCES
from effnet_jax.pretrained.variables import variables
from tests.parity import peers
from tests.well_conditioned import images, to_source, well_conditioned

pytestmark = pytest.mark.parity

NUM_CLASSES, SIZE, BATCH = 10, 64, 4
LABELS = np.array([1, 7, 0, 3])
TOLERANCE = 1e-3
PEERS = {  # our model: source, peer, their model
    "efficientnet_b0": ("timm", peers.Timm, "tf_efficientnet_b0"),
    "resnet50": ("torchvision", peers.TorchvisionResNet, "resnet50"),
}


def our_gradients(name: str, train: bool, weights: dict) -> dict[str, np.ndarray]:
    dtype = weights["params"]["classifier"]["kernel"].dtype.name
    model = create_model(name, NUM_CLASSES, dropout_rate=0.0, stochastic_depth_rate=0.0, dtype=dtype)

    @jax.jit
    def gradients(params, statistics, x):
        def loss(params):
            logits, _ = model.apply(
                {"params": params, "batch_stats": statistics}, x, train=train, mutable=["batch_stats"]
            )
            return optax.softmax_cross_entropy_with_integer_labels(logits, LABELS).mean()

        return jax.grad(loss)(params)

    found = gradients(weights["params"], weights["batch_stats"], images(SIZE, count=BATCH).astype(dtype))
    return to_source(SOURCES[PEERS[name][0]], model, {"params": found, "batch_stats": weights["batch_stats"]})


def their_gradients(name: str, train: bool, weights: dict) -> dict[str, np.ndarray]:
    source, peer_class, their_name = PEERS[name]
    peer = peer_class(their_name, NUM_CLASSES, SIZE)
    peer.load(to_source(SOURCES[source], create_model(name, NUM_CLASSES), weights))
    model, torch = peer.model.train(train), peer.torch
    model.zero_grad()
    x = torch.from_numpy(images(SIZE, count=BATCH).astype(np.float64).transpose(0, 3, 1, 2).copy())
    torch.nn.functional.cross_entropy(model(x), torch.from_numpy(LABELS)).backward()
    return {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("train", [False, True], ids=["moving statistics", "batch statistics"])
@pytest.mark.parametrize("name", PEERS)
def test_every_gradient_agrees(name, train):
    weights = well_conditioned(name, NUM_CLASSES)
    theirs = their_gradients(name, train, weights)
    # A gradient jumps where an input of a ReLU changes its sign, and in float32 rounding may do that.
    exactly = name == "resnet50"
    with jax.enable_x64(exactly):
        if exactly:
            weights = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), weights)
        ours = our_gradients(name, train, weights)
    params = [v for v in variables(create_model(name).architecture, 1000) if v.collection == "params"]
    assert len(theirs) == len(params)
    scale = max(np.linalg.norm(gradient) for gradient in theirs.values())
    for name, gradient in theirs.items():
        # The floor is for gradients that vanish, such as that of a bias that BatchNorm takes away again.
        size = max(np.linalg.norm(gradient), 1e-4 * scale)
        assert np.linalg.norm(ours[name] - gradient) < TOLERANCE * size, name
