"""How residual and dense blocks end: values, gradients, and that a CPU writes it before anything reads it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effnet_jax.ops import fast, plain


def arrays(dtype=jnp.float32):
    x, shortcut = jax.random.normal(jax.random.key(0), (2, 3, 4, 4, 5), dtype)
    return x.at[0, 0].set(0), shortcut.at[0, 0].set(0)  # sums of exactly zero, whose gradient is zero


def of(ops, name):
    """A function of an operation with its gradients, and gradients of its gradients."""

    def value(x, y):
        return jnp.sum(jnp.sin(getattr(ops, name)(x, y)))

    def gradients_squared(x, y):
        return sum(jnp.sum(g**2) for g in jax.grad(value, argnums=(0, 1))(x, y))

    return [jax.jit(jax.value_and_grad(f, argnums=(0, 1))) for f in (value, gradients_squared)]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(("name", "channels"), [("add_relu", 5), ("append_channels", 2)])
def test_equals_the_plain_operation_with_gradients(name, channels, dtype):
    x, y = arrays(dtype)
    for ours, theirs in zip(of(fast, name), of(plain, name)):
        for a, b in zip(*(jax.tree.leaves(f(x, y[..., :channels])) for f in (ours, theirs))):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a.astype(jnp.float32), b.astype(jnp.float32), rtol=1e-6)


def sums(ops, x, branch):
    return ops.add_relu(x * branch, x)


def concatenations(ops, x, branch):
    return ops.append_channels(x, branch * jnp.max(x, axis=-1, keepdims=True))


def most_read(block, ops):
    """The most arrays that one loop of a program reads, of a chain of eight blocks and its gradients."""

    def chain(x, branches):
        for branch in branches:
            x = block(ops, x, branch)
        return jnp.sum(x)

    x = jnp.ones((2, 8, 8, 16))
    compiled = jax.jit(jax.grad(chain, argnums=(0, 1))).lower(x, [x] * 8).compile().as_text()
    loops = [line for line in compiled.splitlines() if line.startswith("%") and "fused" in line and line.endswith("{")]
    return max(line.count("param_") for line in loops)


@pytest.mark.parametrize("block", [sums, concatenations])
def test_no_loop_of_a_cpu_reads_the_branches_of_many_blocks(block):
    assert most_read(block, fast) <= 4
    assert most_read(block, plain) > 4, "XLA no longer computes the ends of blocks again: ops/blocks.py may go"
