"""One device and eight compute the same step: BatchNorm is global-batch BatchNorm."""

import dataclasses
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import effnet_jax
from effnet_jax.models.layers import BatchNorm, Numerics
from effnet_jax.process import sharding
from effnet_jax.training.state import create_state
from effnet_jax.training.step import make_update
from tests.checkpoints import random_variables
from tests.short import networks_of, two_blocks

short_networks = networks_of(two_blocks)


class OneBatchNorm(nn.Module):
    """The least that has statistics, for what needs no whole network."""

    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, x, train):
        x = BatchNorm(self.numerics, swish=True)(x, train)
        return nn.Dense(10)(x.reshape(x.shape[0], -1))


def efficientnet():
    return effnet_jax.create_model(
        "efficientnet_b0",
        num_classes=10,
        width_multiplier=0.05,
        stem_stride=1,
        stage_strides=(1, 2, 1, 2, 1, 1, 1),
    )


def whole_batch():
    images = np.asarray(jax.random.normal(jax.random.key(1), (16, 8, 8, 3))) * 2 + 1
    images[:8] *= 3  # shards differ, so statistics of a shard alone would show
    return {"image": images, "label": np.arange(16, dtype=np.int32) % 10}


def one_step(model, device_count, accumulation_steps=1, batch=None):
    """Loss, gradients and statistics of one plain step: parameters move by the gradient itself."""
    mesh = sharding.data_mesh(jax.devices()[:device_count])
    tx = optax.sgd(1.0)
    batch = whole_batch() if batch is None else batch
    count = len(batch["label"])
    if isinstance(model, OneBatchNorm):
        variables = jax.jit(lambda: model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False))()
    else:
        variables = random_variables(model.architecture, 10)
    state = sharding.put_replicated(jax.tree.map(np.asarray, create_state(variables, tx, ema=False)), mesh)
    batch = jax.device_put(batch, sharding.batch_sharded(mesh))
    update = make_update(
        model,
        tx,
        jax.random.key(2),
        label_smoothing=0.1,
        ema_decay=0.0,
        accumulation_steps=accumulation_steps,
    )
    out = jax.jit(update, out_shardings=sharding.replicated(mesh))(state, batch)
    gradients = jax.tree.map(lambda before, after: np.asarray(before) - np.asarray(after), state.params, out.params)
    return jax.tree.map(np.asarray, (out.metrics["loss"] / count, gradients, out.batch_stats))


def assert_same(one, eight):
    np.testing.assert_allclose(eight[0], one[0], rtol=1e-5)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(one[1]))
    for a, b in zip(jax.tree.leaves(one[1]), jax.tree.leaves(eight[1])):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-5 * largest)
    for a, b in zip(jax.tree.leaves(one[2]), jax.tree.leaves(eight[2])):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5)


def test_eight_devices_equal_one():
    assert jax.device_count() == 8
    assert_same(one_step(efficientnet(), 1), one_step(efficientnet(), 8))


def test_eight_devices_equal_one_with_accumulation():
    one = one_step(OneBatchNorm(), 1, accumulation_steps=2)
    assert_same(one, one_step(OneBatchNorm(), 8, accumulation_steps=2))


def test_statistics_of_each_shard_alone_would_show():
    """The control: what the tests above would see if BatchNorm were local to a device."""
    shards = [jax.tree.map(lambda a, s=s: a[s : s + 8], whole_batch()) for s in (0, 8)]
    losses = [one_step(OneBatchNorm(), 1, batch=shard)[0] for shard in shards]
    assert abs(np.mean(losses) - one_step(OneBatchNorm(), 1)[0]) > 1e-3


def test_with_statistics_of_each_device_it_is_the_mean_of_what_they_compute_alone():
    model = OneBatchNorm(Numerics(bn_group="device"))
    shards = [jax.tree.map(lambda a, s=s: a[s : s + 2], whole_batch()) for s in range(0, 16, 2)]
    alone = [one_step(OneBatchNorm(), 1, batch=shard) for shard in shards]
    assert_same(jax.tree.map(lambda *results: np.mean(results, axis=0), *alone), one_step(model, 8))


def test_a_whole_network_with_statistics_of_each_device():
    """Expansions, whose statistics come from inputs and kernel, are grouped like the others."""
    model = efficientnet()
    grouped = model.clone(numerics=dataclasses.replace(model.numerics, bn_group="device"), stochastic_depth_rate=0.0)
    images = jnp.asarray(whole_batch()["image"])
    variables = grouped.init(jax.random.key(0), images[:1], train=False)
    apply = jax.jit(
        lambda model, x: model.apply(variables, x, train=True, mutable=["batch_stats"])[0], static_argnums=0
    )
    whole = apply(grouped.clone(dropout_rate=0.0), images)
    alone = model.clone(stochastic_depth_rate=0.0, dropout_rate=0.0)
    by_two = [apply(alone, images[start : start + 2]) for start in range(0, 16, 2)]
    np.testing.assert_allclose(whole, np.concatenate(by_two), atol=1e-5)
    assert np.abs(apply(alone, images) - whole).max() > 1e-3


def test_with_statistics_of_each_device_they_wait_for_each_other_at_the_end_alone():
    model = OneBatchNorm(Numerics(bn_group="device"))
    images = jax.ShapeDtypeStruct((16, 8, 8, 3), jnp.float32, sharding=sharding.batch_sharded(sharding.data_mesh()))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False))
    variables = sharding.abstract_replicated(variables, sharding.data_mesh())
    loss = lambda v, x: (model.apply(v, x, train=True, mutable=["batch_stats"])[0] ** 2).sum(1)  # noqa: E731
    forward = jax.jit(loss).lower(variables, images).compile().as_text()
    assert not re.findall(r" all-\w+\(", forward)
