"""Learning-rate schedules and optimisers of the EfficientNet recipe (official code, main.py and utils.py)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax
from jax.flatten_util import ravel_pytree

from effnet_jax.errors import UserError, did_you_mean

SCHEDULES = ("exponential", "cosine", "step", "constant")
OPTIMIZERS = ("rmsprop", "sgd", "adamw")
DECAY_RULES = ("not_batch_norm", "kernels", "all")
REFERENCE_BATCH = 256  # `optimizer.learning_rate` is quoted for this batch size


def learning_rate_schedule(
    config: ml_collections.ConfigDict, *, batch_size: int, steps_per_epoch: int, num_train_steps: int
) -> optax.Schedule:
    """Returns the learning rate as a function of the step.

    The peak is `learning_rate * batch_size / 256`. Warm-up is linear from 0 over `warmup_epochs`:

    * "exponential": `peak * decay_rate ** floor(epoch / decay_epochs)`, a staircase counted from step 0;
      warm-up *replaces* it while it lasts (the official rule, so the rate has already decayed where
      warm-up ends).
    * "cosine": from the peak at the end of warm-up to 0 at `num_train_steps`.
    * "step": times `decay_rate` at each epoch of `step_epochs`.
    * "constant".

    Raises:
      UserError: unknown schedule.
    """
    if config.schedule not in SCHEDULES:
        raise UserError(
            f"unknown optimizer.schedule {config.schedule!r}{did_you_mean(config.schedule, SCHEDULES)}; "
            f"choose from {', '.join(SCHEDULES)}"
        )
    peak = config.learning_rate * batch_size / REFERENCE_BATCH
    warmup_steps = config.warmup_epochs * steps_per_epoch
    boundaries = jnp.asarray([epoch * steps_per_epoch for epoch in config.step_epochs], jnp.float32)

    def decayed(step: jax.Array) -> jax.Array:
        if config.schedule == "exponential":
            return peak * config.decay_rate ** jnp.floor(step / (config.decay_epochs * steps_per_epoch))
        if config.schedule == "cosine":
            done = (step - warmup_steps) / max(num_train_steps - warmup_steps, 1)
            return 0.5 * peak * (1 + jnp.cos(jnp.pi * jnp.clip(done, 0, 1)))
        if config.schedule == "step":
            return peak * config.decay_rate ** jnp.sum(step >= boundaries)
        return jnp.asarray(peak)

    def schedule(step: jax.Array) -> jax.Array:
        step = jnp.asarray(step, jnp.float32)
        warming = peak * step / max(warmup_steps, 1)
        return jnp.where(step < warmup_steps, warming, decayed(step)).astype(jnp.float32)

    return schedule


def tf_rmsprop(
    learning_rate: optax.ScalarOrSchedule, *, decay: float = 0.9, momentum: float = 0.9, epsilon: float = 1e-3
) -> optax.GradientTransformation:
    """RMSProp as `tf.train.RMSPropOptimizer` computes it.

    The epsilon stands inside the root, the mean-square slot starts at 1 and the learning rate enters
    the momentum buffer. With the usual defaults (0 and outside) the first steps are far too long.
    """
    return optax.rmsprop(
        learning_rate, decay=decay, eps=epsilon, initial_scale=1.0, eps_in_sqrt=True, momentum=momentum
    )


def make_optimizer(
    config: ml_collections.ConfigDict, schedule: optax.Schedule, batch_stats: Any
) -> optax.GradientTransformation:
    """Builds the update rule: L2 into the gradient, then clipping, then the optimiser.

    AdamW decouples its weight decay instead. `batch_stats` (the model's collection) tells which
    parameters belong to BatchNorm. What the optimiser keeps, it keeps as one vector of all parameters: XLA then
    compiles and starts a handful of operations in place of several for each of hundreds of small arrays.

    Raises:
      UserError: unknown optimiser or decay rule.
    """
    if config.name not in OPTIMIZERS:
        raise UserError(
            f"unknown optimizer.name {config.name!r}{did_you_mean(config.name, OPTIMIZERS)}; "
            f"choose from {', '.join(OPTIMIZERS)}"
        )
    decay = optax.identity()
    if config.weight_decay:
        decay = _add_decayed_weights(config.weight_decay, decay_mask(config.weight_decay_on, batch_stats))
    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
    if config.name == "adamw":
        return optax.chain(
            optax.flatten(optax.chain(clip, optax.scale_by_adam())), decay, optax.scale_by_learning_rate(schedule)
        )
    if config.name == "rmsprop":
        rule = tf_rmsprop(schedule, decay=config.rms_decay, momentum=config.momentum, epsilon=config.epsilon)
    else:
        rule = optax.sgd(schedule, momentum=config.momentum, nesterov=config.nesterov)
    return optax.chain(decay, optax.flatten(optax.chain(clip, rule)))


def _add_decayed_weights(weight_decay: float, mask: Callable[[Any], Any]) -> optax.GradientTransformation:
    """`optax.add_decayed_weights` with one addition for all parameters, and the same state.

    Neighbours in the chain that need a vector find this one: XLA knows that a vector cut up and joined is itself.
    """

    def update(updates: Any, state: optax.OptState, params: Any) -> tuple[Any, optax.OptState]:
        decaying = jax.tree.map(lambda p, m: p if m else jnp.zeros_like(p), params, mask(params))
        gradient, unravel = ravel_pytree(updates)
        return unravel(gradient + weight_decay * ravel_pytree(decaying)[0]), state

    return optax.GradientTransformation(optax.add_decayed_weights(weight_decay, mask).init, update)


def decay_mask(rule: str, batch_stats: Any) -> Callable[[Any], Any]:
    """Returns a function from the parameters to a tree of bools: which ones weight decay touches.

    Args:
      rule: "not_batch_norm" (official), "kernels" (no biases either) or "all".
      batch_stats: the model's statistics; a parameter whose module has statistics is BatchNorm's.

    Raises:
      UserError: unknown rule.
    """
    if rule not in DECAY_RULES:
        raise UserError(
            f"unknown optimizer.weight_decay_on {rule!r}{did_you_mean(rule, DECAY_RULES)}; "
            f"choose from {', '.join(DECAY_RULES)}"
        )
    norms = {path[:-1] for path, _ in jax.tree_util.tree_leaves_with_path(batch_stats)}

    def decays(path: tuple[Any, ...], _: jax.Array) -> bool:
        if rule == "all":
            return True
        if rule == "kernels":
            return path[-1].key == "kernel"
        return path[:-1] not in norms

    return lambda params: jax.tree_util.tree_map_with_path(decays, params)
