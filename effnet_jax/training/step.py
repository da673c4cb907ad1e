"""The training step and the evaluation step, as pure functions of arrays."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from effnet_jax.training import statistics
from effnet_jax.training.freezing import NOTHING_FROZEN, Freezing
from effnet_jax.training.metrics import TOP
from effnet_jax.training.state import TrainState, as_vector

Batch = dict[str, jax.Array]  # "image" float [N, H, W, 3] normalised, "label" int32 [N], eval: "mask" bool [N]


def cross_entropy(logits: jax.Array, labels: jax.Array, label_smoothing: float = 0.0) -> jax.Array:
    """Softmax cross-entropy per example, [N]; `labels` int32 [N] or probabilities [N, classes]."""
    num_classes = logits.shape[-1]
    if labels.ndim == 1:
        labels = jax.nn.one_hot(labels, num_classes, dtype=logits.dtype)
    targets = labels * (1 - label_smoothing) + label_smoothing / num_classes
    return -jnp.sum(targets * jax.nn.log_softmax(logits), axis=-1)


def rank_of_label(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Number of classes scored above the true one, int32 [N]; 0 is a top-1 hit, < 5 a top-5 hit.

    Ties count against the model and so does NaN: a constant or broken output earns nothing.
    """
    truth = jnp.take_along_axis(logits, labels[:, None], axis=-1)
    others = jnp.arange(logits.shape[-1]) != labels[:, None]
    return jnp.sum(others & ~(logits < truth), axis=-1, dtype=jnp.int32)


def make_update(
    model: nn.Module,
    tx: optax.GradientTransformation,
    key: jax.Array,
    *,
    label_smoothing: float,
    ema_decay: float,
    accumulation_steps: int,
    freezing: Freezing = NOTHING_FROZEN,
) -> Callable[[TrainState, Batch], TrainState]:
    """Returns `update(state, batch) -> state`, one optimiser step on one global batch.

    The loss is the mean cross-entropy; weight decay is in `tx`. Randomness (dropout, stochastic depth) is
    `fold_in(key, step)`, so a step depends on nothing but the state and the batch. BatchNorm's moving statistics follow
    by a ramp of their own, see `statistics.moved`.

    Args:
      model: module with `apply(variables, images, train=True) -> logits` and `numerics`.
      tx: update rule of the parameters that are trained.
      key: base of the run's randomness.
      label_smoothing: share of the target spread over all classes.
      ema_decay: EMA of parameters and statistics with warm-up min(decay, (1 + n) / (10 + n)); 0 is off.
      accumulation_steps: microbatches per update. BatchNorm sees each microbatch alone.
      freezing: what is not trained. Only the rest is differentiated.
    """

    momentum, measured = model.numerics.bn_momentum, statistics.measuring(model)

    def loss_fn(
        trained: Any, params: Any, batch_stats: Any, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, jax.Array]]:
        variables = {"params": freezing.merged(params, trained), "batch_stats": batch_stats}
        logits, stats_of_batch = freezing.forward(measured, variables, batch["image"], key)
        loss = jnp.mean(cross_entropy(logits, batch["label"], label_smoothing))
        return loss, (stats_of_batch, logits)

    def gradients(state: TrainState, batch: Batch, key: jax.Array) -> tuple[Any, Any, jax.Array, jax.Array]:
        value_and_grad = jax.value_and_grad(loss_fn, has_aux=True)
        trained = freezing.trained(state.params)
        if accumulation_steps == 1:
            (loss, (stats, logits)), grads = value_and_grad(trained, state.params, state.batch_stats, batch, key)
            return grads, statistics.moved(state.batch_stats, stats, momentum, state.step), loss, logits

        def microbatch(carry, inputs):
            grads, stats, loss = carry
            batch, index = inputs
            (micro_loss, (micro_stats, logits)), micro_grads = value_and_grad(
                trained, state.params, stats, batch, jax.random.fold_in(key, index)
            )
            stats = statistics.moved(stats, micro_stats, momentum, state.step * accumulation_steps + index)
            grads = jax.tree.map(lambda a, b: a + b / accumulation_steps, grads, micro_grads)
            return (grads, stats, loss + micro_loss / accumulation_steps), logits

        # Strided microbatches keep each one evenly spread over the devices that hold the global batch.
        split = lambda x: x.reshape(-1, accumulation_steps, *x.shape[1:]).swapaxes(0, 1)  # noqa: E731
        zeros = jax.tree.map(jnp.zeros_like, trained)
        (grads, stats, loss), logits = jax.lax.scan(
            microbatch,
            (zeros, state.batch_stats, jnp.zeros((), jnp.float32)),
            (jax.tree.map(split, batch), jnp.arange(accumulation_steps)),
        )
        return grads, stats, loss, logits.swapaxes(0, 1).reshape(-1, logits.shape[-1])

    def update(state: TrainState, batch: Batch) -> TrainState:
        step_key = jax.random.fold_in(key, state.step)
        grads, batch_stats, loss, logits = gradients(state, batch, step_key)
        trained = freezing.trained(state.params)
        updates, opt_state = tx.update(grads, state.opt_state, trained)
        updates = _of_one_array(updates)
        params = freezing.merged(state.params, optax.apply_updates(trained, updates))
        ema = state.ema
        if ema_decay:
            ema = _ema_step(ema, as_vector({"params": params, "batch_stats": batch_stats}), state.step, ema_decay)
        return TrainState(
            step=state.step + 1,
            params=params,
            batch_stats=batch_stats,
            ema=ema,
            opt_state=opt_state,
            metrics=_add_metrics(state.metrics, state.step, loss, logits, batch["label"]),
        )

    return update


def _of_one_array(updates: Any) -> Any:
    """Returns the same updates; on an accelerator as parts of one array that nothing else is computed along with.

    XLA for GPUs makes one kernel of the additions to all parameters of one shape if they read the same array, but not
    if that array came together with others, as an update comes with its momentum.
    """

    def parts(updates: Any) -> Any:
        vector, unravel = ravel_pytree(updates)
        # A one that XLA does not know to be one, or it would undo this.
        vector, one = jax.lax.optimization_barrier((vector, jnp.ones((), vector.dtype)))
        return unravel(vector * one)

    return jax.lax.platform_dependent(updates, cpu=lambda updates: updates, default=parts)


def _ema_step(ema: jax.Array, new: jax.Array, step: jax.Array, ema_decay: float) -> jax.Array:
    decay = statistics.ramp(ema_decay, step)
    return (ema - (1 - decay) * (ema - new)).astype(ema.dtype)


def _add_metrics(
    metrics: dict[str, jax.Array], step: jax.Array, loss: jax.Array, logits: jax.Array, labels: jax.Array
) -> dict[str, jax.Array]:
    hard = labels if labels.ndim == 1 else jnp.argmax(labels, axis=-1)
    rank = rank_of_label(logits, hard)
    bad = ~jnp.isfinite(loss) & (metrics["first_bad_step"] < 0)
    return {
        "loss": metrics["loss"] + loss.astype(jnp.float32) * hard.size,
        "correct": metrics["correct"] + jnp.sum(rank == 0, dtype=jnp.int32),
        "top5_correct": metrics["top5_correct"] + jnp.sum(rank < TOP, dtype=jnp.int32),
        "count": metrics["count"] + hard.size,
        "first_bad_step": jnp.where(bad, step, metrics["first_bad_step"]),
    }


def make_eval_step(model: nn.Module) -> Callable[[Any, Batch], dict[str, jax.Array]]:
    """Returns `eval_step(variables, batch) -> sums` over the examples whose `mask` is True."""

    def eval_step(variables: Any, batch: Batch) -> dict[str, jax.Array]:
        logits = model.apply(variables, batch["image"], train=False)
        mask = batch["mask"]
        loss = cross_entropy(logits, batch["label"])
        rank = rank_of_label(logits, batch["label"])
        return {
            "loss": jnp.sum(jnp.where(mask, loss, 0.0)),
            "correct": jnp.sum(mask & (rank == 0), dtype=jnp.int32),
            "top5_correct": jnp.sum(mask & (rank < TOP), dtype=jnp.int32),
            "count": jnp.sum(mask, dtype=jnp.int32),
        }

    return eval_step
