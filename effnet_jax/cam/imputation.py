"""Filling removed pixels from their neighbours, so that the hole's outline does not give the class away."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

# Rong et al. 2022, section 4.2: direct neighbours weigh 1/6, diagonal ones 1/12.
_NEIGHBOURS = (
    *(((dy, dx), 1 / 6) for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))),
    *(((dy, dx), 1 / 12) for dy, dx in ((1, 1), (1, -1), (-1, 1), (-1, -1))),
)
_TOLERANCE = 1e-5  # of the residual


def impute(images: jax.Array, missing: jax.Array, iterations: int | None = None) -> jax.Array:
    """Replaces missing pixels by the weighted mean of their neighbours, missing ones included.

    The linear system of noisy linear imputation (ROAD, Rong et al. 2022) without the noise, by conjugate gradients on
    the device: the system is symmetric and positive definite once a pixel is known. Where the images are split over
    devices, each solves for its own: asking all of them after each step whether any is unfinished would cost more.

    Args:
      images: float [N, H, W, C].
      missing: bool [N, H, W]; in each image at least one pixel is there.
      iterations: steps at most; None takes three times the longer side, enough for a hole of nearly the whole image.

    Returns:
      [N, H, W, C], the known pixels untouched.
    """
    sharding = jnp.asarray(images).sharding
    return _solver(sharding.mesh if isinstance(sharding, NamedSharding) else None, iterations)(images, missing)


@functools.lru_cache(maxsize=8)
def _solver(mesh: Mesh | None, iterations: int | None) -> Callable[[jax.Array, jax.Array], jax.Array]:
    solve = functools.partial(_solve, iterations)
    if mesh is not None:
        split = PartitionSpec(mesh.axis_names)
        solve = jax.shard_map(solve, mesh=mesh, in_specs=(split, split), out_specs=split)
    return jax.jit(solve)


def _solve(iterations: int | None, images: jax.Array, missing: jax.Array) -> jax.Array:
    hole = missing[..., None].astype(images.dtype)
    diagonal = _neighbour_sum(jnp.ones_like(hole))  # less at the border
    known = images * (1 - hole)
    matrix = lambda x: hole * (diagonal * x - _neighbour_sum(x))  # noqa: E731
    dot = lambda a, b: (a * b).sum((1, 2), keepdims=True)  # noqa: E731

    guess = hole * known.sum((1, 2), keepdims=True) / (1 - hole).sum((1, 2), keepdims=True)
    residual = hole * _neighbour_sum(known) - matrix(guess)

    enough = (_TOLERANCE**2) * dot(residual, residual)
    at_most = iterations or 3 * max(images.shape[1:3])

    def unsolved(state):
        count, *_, size = state
        return (count < at_most) & jnp.any(size > enough)

    def step(state):
        count, x, residual, direction, size = state
        product = matrix(direction)
        length = _ratio(size, dot(direction, product))
        residual = residual - length * product
        new_size = dot(residual, residual)
        new_direction = residual + _ratio(new_size, size) * direction
        return count + 1, x + length * direction, residual, new_direction, new_size

    start = (0, guess, residual, residual, dot(residual, residual))
    _, filled, *_ = jax.lax.while_loop(unsolved, step, start)
    return known + hole * filled


def _ratio(a: jax.Array, b: jax.Array) -> jax.Array:
    """a / b, and 0 once the solution is reached and both vanish."""
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 0)


def _neighbour_sum(x: jax.Array) -> jax.Array:
    """Weighted sum of the eight neighbours of each pixel of [N, H, W, C]; outside the image there are none."""
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = lambda dy, dx: padded[:, 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]  # noqa: E731
    return sum(weight * shifted(*offset) for offset, weight in _NEIGHBOURS)
