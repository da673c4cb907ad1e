"""Tables and figures from runs on disk; never trains."""

from effnet_jax.report.writing import write

__all__ = ["write"]
