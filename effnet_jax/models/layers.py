"""Layers of EfficientNet as Flax Linen modules; feature maps are [N, H, W, C].

Compute happens in `Numerics.dtype`; parameters, BatchNorm statistics, squeeze-and-excitation pooling
and logits are kept in float32 (float64 when that is the compute dtype).
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from effnet_jax.architecture import scaling
from effnet_jax.errors import UserError
from effnet_jax.ops import fast, plain
from effnet_jax.process import target

Padding = Literal["SAME", "SYMMETRIC"]
OPERATIONS = {"fast": fast, "plain": plain}
GLOBAL, BY_DEVICE = BN_GROUPS = ("global", "device")
FACTOR, SHIFT = "factor", "shift"  # what is left of a BatchNorm that `folding.fold` has folded


@dataclasses.dataclass(frozen=True)
class Numerics:
    """What every layer of one network shares.

    Attributes:
      dtype: compute dtype, "float32", "bfloat16" or "float64".
      padding: "SAME" (TensorFlow) or "SYMMETRIC" (PyTorch); they differ at stride 2 on even sizes.
      bn_momentum: share of the old moving statistics kept at each step.
      bn_epsilon: added to the variance inside the root.
      bn_group: whose statistics a BatchNorm takes in training: "global", those of the whole batch, or "device", those
        of the part that each device has, which no device waits for.
      ops: "fast", with formulations and gradients of our own, or "plain", XLA's alone; see `ops.plain`.
    """

    dtype: str = "float32"
    padding: Padding = "SAME"
    bn_momentum: float = 0.99
    bn_epsilon: float = 1e-3
    ops: str = "fast"
    bn_group: str = GLOBAL

    @property
    def operations(self) -> ModuleType:
        """The functions that layers are made of."""
        return OPERATIONS[self.ops]

    @property
    def compute_dtype(self) -> jnp.dtype:
        return jnp.dtype(self.dtype)

    @property
    def param_dtype(self) -> jnp.dtype:
        return jnp.promote_types(self.compute_dtype, jnp.float32)


def conv_init(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
    """N(0, 2 / (k_h k_w out)), untruncated: the authors' convolution initialiser."""
    k_h, k_w, _, out = shape
    return jax.random.normal(key, shape, dtype) * jnp.sqrt(2.0 / (k_h * k_w * out)).astype(dtype)


def depthwise_init(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
    """N(0, 2 / (k_h k_w)): each output sees one channel, so the fan-out has no factor C.

    The authors' depthwise kernels are (k, k, C, 1) and get this from the rule above; ours are (k, k, 1, C),
    where the same rule would make them sqrt(C) too small.
    """
    k_h, k_w, _, _ = shape
    return jax.random.normal(key, shape, dtype) * jnp.sqrt(2.0 / (k_h * k_w)).astype(dtype)


# U(-1/sqrt(classes), 1/sqrt(classes))
dense_init = nn.initializers.variance_scaling(1.0 / 3.0, "fan_out", "uniform")
# U(-1/sqrt(features), 1/sqrt(features)): PyTorch's
torch_dense_init = nn.initializers.variance_scaling(1.0 / 3.0, "fan_in", "uniform")


class BatchNorm(nn.Module):
    """Batch normalisation over N, H, W with float32 statistics, on request followed by swish.

    Under `jax.jit` with the batch sharded over devices the statistics are those of the global batch. With
    `Numerics.bn_group` "device" each device normalises its own part, and the moving statistics follow their mean.
    The moving variance is the biased one, as in Flax and in the authors' TPU code. With `swish` the two are
    one operation that keeps neither the normalised values nor their sigmoid for the backward pass.
    Folded (see `folding`), it adds a shift and has no statistics.
    """

    numerics: Numerics
    swish: bool = False
    of_product: bool = False  # of a matrix product, before pooling

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, factors: tuple[jax.Array, jax.Array] | None = None) -> jax.Array:
        """Normalises `x`; with `factors`, inputs and kernel of the 1x1 convolution that made it, in fewer passes."""
        channels, dtype, ops = x.shape[-1], self.numerics.param_dtype, self.numerics.operations
        if self.has_variable("params", SHIFT):
            y = _folded(self.variables["params"], x, train)
            return ops.swish(y) if self.swish else y
        scale = self.param("scale", nn.initializers.ones_init(), (channels,), dtype)
        bias = self.param("bias", nn.initializers.zeros_init(), (channels,), dtype)
        moving_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), dtype)
        moving_var = self.variable("batch_stats", "var", jnp.ones, (channels,), dtype)
        if not train:
            y = ops.normalize(x, moving_mean.value, moving_var.value, scale, bias, self.numerics.bn_epsilon)
            return ops.swish(y) if self.swish else y
        arrays = x, scale, bias
        if self.swish and factors:
            arrays, operation = (*factors, scale, bias), ops.pointwise_batch_norm_swish
        elif self.swish:
            operation = ops.batch_norm_swish_of_product if self.of_product else ops.batch_norm_swish
        else:
            operation = ops.batch_norm
        operation = functools.partial(operation, eps=self.numerics.bn_epsilon)
        y, mean, var = _by_device(operation, *arrays) if self.numerics.bn_group == BY_DEVICE else operation(*arrays)
        if not self.is_initializing():
            keep = self.numerics.bn_momentum
            moving_mean.value = keep * moving_mean.value + (1 - keep) * mean
            moving_var.value = keep * moving_var.value + (1 - keep) * var
        return y


# Functions and not methods: who intercepts a BatchNorm's methods, as measuring and freezing do, means the call alone.


def _by_device(operation: Callable, x: jax.Array, *others: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns what an operation gives on each device by itself: `y`, and the means of means and of variances."""
    mesh = target.mesh()
    if mesh.size == 1 or x.shape[0] % mesh.size:
        return operation(x, *others)

    def on_one(*arrays: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        y, mean, var = operation(*arrays)
        return y, mean[None], var[None]

    split, whole = PartitionSpec(mesh.axis_names), PartitionSpec()
    specs = (split, *[whole] * len(others))
    y, mean, var = jax.shard_map(on_one, mesh=mesh, in_specs=specs, out_specs=split, check_vma=False)(x, *others)
    return y, mean.mean(0), var.mean(0)


def _folded(left: Mapping[str, jax.Array], x: jax.Array, train: bool) -> jax.Array:
    """What a folded BatchNorm does; `left` are its parameters."""
    if train:
        raise UserError(
            "this network's BatchNorms are folded into its convolutions, so it cannot be trained: load it with "
            "effnet_jax.load(..., fold=False)"
        )
    y = x.astype(left[SHIFT].dtype)
    if FACTOR in left:
        y = y * left[FACTOR]
    return (y + left[SHIFT]).astype(x.dtype)


class Conv(nn.Module):
    """Dense convolution without bias; 1x1 as a matrix product, where `gates` [N, Cin] may scale the inputs."""

    filters: int
    kernel_size: int
    stride: int
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array, gates: jax.Array | None = None) -> jax.Array:
        k, ops = self.kernel_size, self.numerics.operations
        shape = (k, k, x.shape[-1], self.filters)
        kernel = self.param("kernel", conv_init, shape, self.numerics.param_dtype)
        if gates is not None:
            return ops.gated_pointwise_conv(x, gates, kernel)
        if k == 1 and self.stride == 1:
            return ops.pointwise_conv(x, kernel)
        return ops.dense_conv(x, kernel.astype(x.dtype), self.stride, self.numerics.padding)


class DepthwiseConv(nn.Module):
    """Depthwise convolution without bias."""

    kernel_size: int
    stride: int
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel_size, self.kernel_size, 1, x.shape[-1])
        kernel = self.param("kernel", depthwise_init, shape, self.numerics.param_dtype)
        return self.numerics.operations.depthwise_conv(x, kernel.astype(x.dtype), self.stride, self.numerics.padding)


class ConvBNSwish(nn.Module):
    """Convolution, BatchNorm, swish: the stem and the head."""

    filters: int
    kernel_size: int
    stride: int
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = Conv(self.filters, self.kernel_size, self.stride, self.numerics, name="conv")(x)
        of_product = self.kernel_size == self.stride == 1
        return BatchNorm(self.numerics, swish=True, of_product=of_product, name="bn")(x, train)


class SqueezeExcite(nn.Module):
    """Channel gates [N, C] from globally pooled features (Hu et al. 2018), in float32."""

    reduced_filters: int
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels, dtype = x.shape[-1], self.numerics.param_dtype
        dense = lambda filters, name: nn.Dense(  # noqa: E731
            filters, dtype=dtype, param_dtype=dtype, kernel_init=_dense_as_conv_init, name=name
        )
        pooled = jnp.mean(x, axis=(1, 2), dtype=dtype)
        return nn.sigmoid(dense(channels, "expand")(nn.silu(dense(self.reduced_filters, "reduce")(pooled))))


def _dense_as_conv_init(key: jax.Array, shape: tuple[int, int], dtype: jnp.dtype) -> jax.Array:
    """`conv_init` for a 1x1 convolution stored as a matrix [in, out]."""
    return conv_init(key, (1, 1, *shape), dtype)[0, 0]


class StochasticDepth(nn.Module):
    """Drops a residual branch per sample, scaled by 1/p to keep its expectation (Huang et al. 2016)."""

    survival_probability: float

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        if not train or self.survival_probability >= 1:
            return x
        keep = jax.random.bernoulli(self.make_rng("dropout"), self.survival_probability, (x.shape[0], 1, 1, 1))
        return jnp.where(keep, x / self.survival_probability, 0).astype(x.dtype)


class MBConv(nn.Module):
    """Inverted residual bottleneck with squeeze-and-excitation (paper Table 1; Sandler et al. 2018).

    expand 1x1 -> depthwise kxk -> squeeze-and-excitation -> project 1x1 (linear), with BatchNorm after
    each convolution and a residual connection where the shapes allow it.
    """

    block: scaling.Block
    survival_probability: float
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        block, numerics = self.block, self.numerics
        inputs = x
        if block.expand_ratio > 1:
            conv = Conv(block.expanded_filters, 1, 1, numerics, name="expand_conv")
            x = conv(inputs)
            factors = inputs, conv.get_variable("params", "kernel")
            x = BatchNorm(numerics, swish=True, name="expand_bn")(x, train, factors)
        x = DepthwiseConv(block.kernel_size, block.stride, numerics, name="depthwise_conv")(x)
        x = BatchNorm(numerics, swish=True, name="depthwise_bn")(x, train)
        gates = SqueezeExcite(block.se_filters, numerics, name="se")(x)
        x = Conv(block.out_filters, 1, 1, numerics, name="project_conv")(x, gates)
        x = BatchNorm(numerics, name="project_bn")(x, train)
        if block.residual:
            x = inputs + StochasticDepth(self.survival_probability)(x, train)
        return x
