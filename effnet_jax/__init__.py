"""EfficientNet in JAX: exact, fast, reproducible.

    import effnet_jax
    model = effnet_jax.create_model("efficientnet_b0", num_classes=100)
    net = effnet_jax.load("workdir")

    config = effnet_jax.get_config("half_b0_cifar100")
    results = effnet_jax.train(config, "runs/half_b0_cifar100")
    figures = effnet_jax.evaluate("runs/half_b0_cifar100", split="test")

Everything is imported on first use, so that `import effnet_jax` alone does not load JAX: the scripts
set up the process (allocator, compilation cache) before it does.
"""

import importlib
import sys
from typing import Any

__version__ = "0.2.0"

_EXPORTS = {
    "create_model": "effnet_jax.inference.creation.create_model",
    "load": "effnet_jax.inference.load",
    "get_config": "effnet_jax.config_files.get_config",
    "train": "effnet_jax.training.loop.train_and_evaluate",
    "evaluate": "effnet_jax.evaluation.checkpoint.evaluate_checkpoint",
    "UserError": "effnet_jax.errors.UserError",
}
# They compute for long: from a notebook as from a script, the process is made ready for it, if JAX is not loaded yet.
_LONG = ("train", "evaluate")
_MODULES = {
    **{name: f"effnet_jax.{name}" for name in ("cam", "data", "inference", "models", "ops", "training")},
    "scaling": "effnet_jax.architecture.scaling",
}

__all__ = ["__version__", *_EXPORTS, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _LONG and "jax" not in sys.modules:
        importlib.import_module("effnet_jax.process.runtime").prepare_process()
    if name in _EXPORTS:
        module, _, attribute = _EXPORTS[name].rpartition(".")
        return getattr(importlib.import_module(module), attribute)
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    raise AttributeError(f"module 'effnet_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)  # what Tab offers: not what is imported by name or has been on the way
