"""A small case made with timm and stored, so that parity is tested where timm is not installed.

    python -m tests.pretrained.golden     # where timm is installed; rewrites golden.npz

The weights are made again from a seed, by a generator whose stream NumPy has frozen.
"""

import pathlib

import numpy as np

from effnet_jax.architecture import scaling
from effnet_jax.pretrained.timm import SOURCE
from effnet_jax.pretrained.variables import variables

FILE = pathlib.Path(__file__).with_name("golden.npz")
MODELS = ("tf_efficientnet_b0", "efficientnet_b0")
NUM_CLASSES, SIZE, SAMPLES = 16, 62, 400


def weights() -> dict[str, np.ndarray]:
    """Tensors under timm's names; kernels keep the second moment, statistics are roughly what follows."""
    rng = np.random.RandomState(1905)
    arch = scaling.architecture()
    residual = {block.name for block in arch.blocks if block.residual}
    tensors = {}
    for name, variable in SOURCE.names(arch, variables(arch, NUM_CLASSES)).items():
        noise = rng.standard_normal(variable.shape)
        if variable.leaf == "kernel":
            values = noise / np.sqrt(np.prod(variable.shape[:-1]))
        elif variable.leaf == "scale":
            small = variable.layer.endswith("project_bn") and variable.block in residual
            values = (1 + 0.1 * noise) * (0.3 if small else 1)
        elif variable.leaf == "var":
            # After swish the second moment of a standard normal is 0.36; the gates halve the values.
            base = 0.36 if variable.layer.endswith("depthwise_bn") else 0.09
            values = (base if variable.layer.endswith(("depthwise_bn", "project_bn")) else 1) * np.exp(0.1 * noise)
        else:
            values = 0.1 * noise
        tensors[name] = SOURCE.layout.to_file(variable, values.astype(np.float32))
    return tensors


def image() -> np.ndarray:
    """One normalised image [1, SIZE, SIZE, 3]."""
    return np.random.RandomState(946).standard_normal((1, SIZE, SIZE, 3)).astype(np.float32)


def sample(fmap: np.ndarray) -> np.ndarray:
    """Some values of a head map, spread over it."""
    return fmap.reshape(-1)[np.linspace(0, fmap.size - 1, SAMPLES).astype(int)]


def main() -> None:
    from tests.parity import peers

    stored = {}
    for name in MODELS:
        peer = peers.Timm(name, NUM_CLASSES, SIZE)
        peer.load(weights())
        logits, fmap = peer(image())
        stored |= {f"{name}/logits": logits, f"{name}/map_shape": fmap.shape, f"{name}/map": sample(fmap)}
    np.savez_compressed(FILE, **stored)


if __name__ == "__main__":
    main()
