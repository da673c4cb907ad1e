"""EfficientNet in JAX: exact, fast, reproducible.

    import effnet_jax
    model = effnet_jax.create_model("efficientnet_b0", num_classes=100)
    net = effnet_jax.load("workdir")

Everything is imported on first use, so that `import effnet_jax` alone does not load JAX: the scripts
set up the process (allocator, compilation cache) before it does.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {
    "create_model": "effnet_jax.models.registry",
    "load": "effnet_jax.inference",
    "UserError": "effnet_jax.errors",
}
_MODULES = {
    **{name: f"effnet_jax.{name}" for name in ("cam", "data", "inference", "models", "ops", "training")},
    "scaling": "effnet_jax.architecture.scaling",
}

__all__ = ["UserError", "create_model", "load"]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    raise AttributeError(f"module 'effnet_jax' has no attribute {name!r}")
