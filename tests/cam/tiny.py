"""The smallest model with the interface that the maps ask for; compiles in no time."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class Tiny(nn.Module):
    """Three convolutions, pooling, a classifier; the head map is a quarter of the image's side."""

    num_classes: int = 5
    dtype: str = "float32"

    def setup(self) -> None:
        conv = lambda filters, size, stride: nn.Conv(filters, (size, size), (stride, stride), dtype=self.dtype)  # noqa: E731
        self.stem, self.middle, self.head_conv = conv(9, 3, 2), conv(12, 3, 2), conv(24, 1, 1)
        self.linear = nn.Dense(self.num_classes)

    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        return self.head(self.features(images))

    def features(self, images: jax.Array, train: bool = False, layer: str = "head") -> jax.Array:
        return self._run(images.astype(self.dtype), 0, self._names.index(layer) + 1)

    def head(self, fmap: jax.Array, train: bool = False, layer: str = "head") -> jax.Array:
        last = self._run(fmap, self._names.index(layer) + 1, 3)
        return self.linear(last.mean((1, 2), dtype=jnp.float32))

    _names = ("stem", "middle", "head")

    def _run(self, x: jax.Array, start: int, stop: int) -> jax.Array:
        for convolution in (self.stem, self.middle, self.head_conv)[start:stop]:
            x = nn.silu(convolution(x))
        return x
