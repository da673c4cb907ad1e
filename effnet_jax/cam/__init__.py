"""Class activation maps: where a model looks, and whether that is true.

    net = effnet_jax.load("runs/b0_cifar100")
    maps = effnet_jax.cam.grad_cam(net.model, net.variables, net.preprocess(pixels))  # [N, H, W] in [0, 1]

`methods` documents the arguments, which all methods share.
"""

from effnet_jax.cam.inputs import input_gradients, integrated_gradients
from effnet_jax.cam.methods import (
    cam,
    eigen_cam,
    grad_cam,
    grad_cam_plus_plus,
    hires_cam,
    layer_cam,
    xgrad_cam,
)
from effnet_jax.cam.registry import METHODS
from effnet_jax.cam.score import score_cam
from effnet_jax.cam.targets import Difference, TopK

__all__ = [
    "METHODS",
    "Difference",
    "TopK",
    "cam",
    "eigen_cam",
    "grad_cam",
    "grad_cam_plus_plus",
    "hires_cam",
    "input_gradients",
    "integrated_gradients",
    "layer_cam",
    "score_cam",
    "xgrad_cam",
]


def __dir__() -> list[str]:
    return sorted(__all__)  # what Tab offers
