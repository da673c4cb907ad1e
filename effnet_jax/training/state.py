"""The state of a run: everything that a step changes, as one pytree."""

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from effnet_jax.training.freezing import NOTHING_FROZEN, Freezing


class TrainState(flax.struct.PyTreeNode):
    """What a step reads and writes, replicated on every device.

    The training metrics since the last log are summed here, on the device, so that logging costs no
    synchronisation and a resumed run reports the same sums as one never interrupted.

    Attributes:
      step: int32 [], number of updates done.
      params, batch_stats: the model's variables.
      ema: moving averages of `variables`, their leaves one after the other: float [size]; None when EMA is off.
        One vector, because XLA compiles and starts one operation for it and not one for each of hundreds of arrays.
      opt_state: optax state of the parameters that are trained.
      metrics: sums since the last log; see `empty_metrics`.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    ema: jax.Array | None
    opt_state: Any
    metrics: dict[str, jax.Array]

    @property
    def variables(self) -> dict[str, Any]:
        return {"params": self.params, "batch_stats": self.batch_stats}

    def averaged_variables(self) -> dict[str, Any]:
        """Returns the moving averages in the form of `variables`, on the host; not for a run without EMA."""
        leaves, structure = jax.tree.flatten(self.variables)
        ends = np.cumsum([leaf.size for leaf in leaves])
        parts = np.split(np.asarray(self.ema), ends[:-1])
        return structure.unflatten(
            part.reshape(leaf.shape).astype(leaf.dtype, copy=False) for part, leaf in zip(parts, leaves, strict=True)
        )


def as_vector(variables: dict[str, Any]) -> jax.Array:
    """Returns the leaves of `variables` one after the other, as `TrainState.ema` holds them."""
    return ravel_pytree(variables)[0]


def joined(variables: dict[str, Any]) -> np.ndarray:
    """`as_vector` on the host, where nothing has to be compiled for it."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(variables)]
    return np.concatenate([leaf.ravel() for leaf in leaves], dtype=np.result_type(*leaves))


def empty_metrics() -> dict[str, jax.Array]:
    """Returns zeroed sums; `first_bad_step` is the first step with a non-finite loss, or -1."""
    return {
        "loss": jnp.zeros((), jnp.float32),
        "correct": jnp.zeros((), jnp.int32),
        "top5_correct": jnp.zeros((), jnp.int32),
        "count": jnp.zeros((), jnp.int32),
        "first_bad_step": jnp.full((), -1, jnp.int32),
    }


def create_state(
    variables: dict[str, Any], tx: optax.GradientTransformation, ema: bool, freezing: Freezing = NOTHING_FROZEN
) -> TrainState:
    """Makes the state of step 0 from a model's variables; the EMA starts at the variables themselves."""
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        ema=as_vector({key: variables[key] for key in ("params", "batch_stats")}) if ema else None,
        opt_state=tx.init(freezing.trained(variables["params"])),
        metrics=empty_metrics(),
    )
    return jax.tree.map(jnp.array, state)  # a copy each: donated buffers must not be shared


def init_variables(model: nn.Module, key: jax.Array, resolution: int) -> dict[str, Any]:
    """Initialises a model for images [N, resolution, resolution, channels]; for use inside `jax.jit`."""
    images = jnp.zeros((1, resolution, resolution, model.architecture.in_channels))
    return model.init(key, images, train=False)
