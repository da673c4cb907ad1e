"""The state of a run: everything that a step changes, as one pytree."""

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from effnet_jax.training.freezing import NOTHING_FROZEN, Freezing


class TrainState(flax.struct.PyTreeNode):
    """What a step reads and writes, replicated on every device.

    The training metrics since the last log are summed here, on the device, so that logging costs no
    synchronisation and a resumed run reports the same sums as one never interrupted.

    Attributes:
      step: int32 [], number of updates done.
      params, batch_stats: the model's variables.
      ema: moving averages {"params", "batch_stats"}, or {} when EMA is off.
      opt_state: optax state of the parameters that are trained.
      metrics: sums since the last log; see `empty_metrics`.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    ema: Any
    opt_state: Any
    metrics: dict[str, jax.Array]

    @property
    def variables(self) -> dict[str, Any]:
        return {"params": self.params, "batch_stats": self.batch_stats}


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
        ema={"params": variables["params"], "batch_stats": variables["batch_stats"]} if ema else {},
        opt_state=tx.init(freezing.trained(variables["params"])),
        metrics=empty_metrics(),
    )
    return jax.tree.map(jnp.array, state)  # a copy each: donated buffers must not be shared


def init_variables(model: nn.Module, key: jax.Array, resolution: int) -> dict[str, Any]:
    """Initialises a model for [N, resolution, resolution, 3] images; for use inside `jax.jit`."""
    return model.init(key, jnp.zeros((1, resolution, resolution, 3)), train=False)
