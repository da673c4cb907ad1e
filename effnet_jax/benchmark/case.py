"""What is measured: a model, a size, a mode. Imports no JAX."""

import dataclasses
import importlib.util
import itertools
from collections.abc import Iterable, Sequence

from effnet_jax.architecture import scaling, summary
from effnet_jax.errors import UserError, did_you_mean

OURS = "effnet_jax"
MODES = ("train", "inference")
DTYPES = ("float32", "bfloat16")
# Implementation -> the packages it needs besides our own.
PEERS = {
    "naive": (),
    "keras": ("keras",),
    "timm": ("torch", "timm"),
    "timm-compile": ("torch", "timm"),
    "onnxruntime": ("onnx", "onnxruntime"),
    "openvino": ("onnx", "openvino"),
}
INFERENCE_ALONE = ("onnxruntime", "openvino")  # on our own model's ONNX file, in float32
CAM_PEER, CAM_PACKAGES = "pytorch-grad-cam", ("torch", "timm", "pytorch_grad_cam")
CIFAR_CLASSES, IMAGENET_CLASSES = 100, 1000


@dataclasses.dataclass(frozen=True)
class Case:
    """One workload, the same for every implementation.

    Attributes:
      model: name of the family, "efficientnet_b0" ... "efficientnet_b7".
      mode: "train" (forward, backward, plain SGD) or "inference".
      batch_size: images a step.
      resolution: side of the images in pixels.
      dtype: "float32", or "bfloat16" compute with float32 parameters.
      remat: recompute blocks in the backward pass (ours only).
    """

    model: str
    mode: str
    batch_size: int
    resolution: int
    dtype: str = "float32"
    remat: bool = False

    @property
    def num_classes(self) -> int:
        return IMAGENET_CLASSES if self.resolution >= 128 else CIFAR_CLASSES

    def __str__(self) -> str:
        remat = " with remat" if self.remat else ""
        return f"{self.mode} {self.batch_size} @ {self.resolution}{remat}"

    def counts(self) -> scaling.Counts:
        """Exact counts of one image through the model."""
        return summary.summarize(self.model, self.resolution, self.num_classes).counts

    def flops(self) -> float:
        """Floating-point operations of a step: 2 a MAC forward, twice that again backward."""
        return 2 * self.counts().macs * self.batch_size * (3 if self.mode == "train" else 1)


# The workloads for which this project has set itself figures.
SUITES = {
    "cpu": tuple(
        Case("efficientnet_b0", mode, batch_size, resolution)
        for mode, batch_size, resolution in (
            ("train", 128, 32),
            ("train", 32, 64),
            ("train", 16, 224),
            ("inference", 128, 32),
            ("inference", 16, 224),
        )
    ),
    "gpu": tuple(
        Case("efficientnet_b0", mode, batch_size, resolution, "bfloat16")
        for mode, batch_size, resolution in (
            ("train", 256, 224),
            ("train", 128, 32),
            ("train", 1024, 32),
            ("inference", 256, 224),
            ("inference", 1024, 32),
        )
    ),
}

# What a checkpoint in use is measured on, and its uses beside the forward pass alone.
FORWARD, USES = "forward", ("predict", "evaluate", "cam")
# At one size for all: at its own, B7 would take an hour on two cores.
FOOTPRINTS = tuple(
    Case(model, "inference", batch_size, 224)
    for model in ("efficientnet_b0", "efficientnet_b4", "efficientnet_b7")
    for batch_size in (1, 32)
)


def cases(
    model: str, modes: Sequence[str], batch_sizes: Sequence[int], resolutions: Sequence[int], dtype: str, remat: bool
) -> list[Case]:
    """Every combination.

    Raises:
      UserError: a name that does not exist, or a size below 1.
    """
    scaling.variant(model)
    check_names("mode", modes, MODES)
    check_names("dtype", [dtype], DTYPES)
    if min([*batch_sizes, *resolutions]) < 1:
        raise UserError("batch size and resolution are at least 1")
    combinations = itertools.product(batch_sizes, resolutions, modes)
    return [Case(model, mode, batch, side, dtype, remat) for batch, side, mode in combinations]


def check_names(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raises a `UserError` for a name that is not known."""
    for name in names:
        if name not in known:
            raise UserError(f"unknown {what} {name!r}{did_you_mean(name, known)}; choose from {', '.join(known)}")


def able(peers: Iterable[str], case: Case) -> list[str]:
    """Returns the peers that can do what a case wants."""
    able_to_all = case.mode == "inference" and case.dtype == "float32"
    return [peer for peer in peers if able_to_all or peer not in INFERENCE_ALONE]


def check_peers(peers: Sequence[str]) -> None:
    """Raises a `UserError` for a peer that is unknown or not installed."""
    check_names("peer", peers, PEERS)
    for peer in peers:
        missing = [package for package in PEERS[peer] if importlib.util.find_spec(package) is None]
        if missing:
            raise UserError(
                f"{peer} needs {' and '.join(missing)}, which is not installed here: `make benchmark` makes an "
                "environment with the peers, or leave it out of --peers"
            )
