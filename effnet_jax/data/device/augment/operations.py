"""The operations by name and number, and one that is chosen by number at run time."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from effnet_jax.data.device.augment import colour, geometric
from effnet_jax.process import target

Operation = Callable[[jax.Array, jax.Array], jax.Array]  # uint8 [H, W, 3], magnitude float32 [] -> uint8 [H, W, 3]

# The magnitude is in the operation's own unit; those without one ignore it.
OPERATIONS: dict[str, Operation] = {
    "identity": lambda image, _: image,
    "shear_x": geometric.shear_x,
    "shear_y": geometric.shear_y,
    "translate_x": geometric.translate_x,
    "translate_y": geometric.translate_y,
    "rotate": geometric.rotate,
    "brightness": colour.brightness,
    "color": colour.color,
    "contrast": colour.contrast,
    "sharpness": colour.sharpness,
    "posterize": colour.posterize,
    "solarize": colour.solarize,
    "auto_contrast": lambda image, _: colour.auto_contrast(image),
    "equalize": lambda image, _: colour.equalize(image),
    "invert": lambda image, _: colour.invert(image),
}
NAMES = tuple(OPERATIONS)


def apply_each(images: jax.Array, chosen: jax.Array, magnitudes: jax.Array) -> jax.Array:
    """Applies to each image its own operations, one after the other.

    On a CPU image after image, so that only what was chosen is computed; elsewhere all operations are
    computed for all images at once and the right one is picked, which keeps wide hardware busy.

    Args:
      images: uint8 [N, H, W, 3].
      chosen: int32 [N, L], positions in `NAMES`.
      magnitudes: float32 [N, L].

    Returns:
      uint8 [N, H, W, 3].
    """
    branches = list(OPERATIONS.values())

    def apply(arguments: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        image, chosen, magnitudes = arguments
        for layer in range(chosen.shape[0]):
            image = jax.lax.switch(chosen[layer], branches, image, magnitudes[layer])
        return image

    arguments = (images, chosen, magnitudes.astype(jnp.float32))
    return jax.lax.map(apply, arguments) if target.is_cpu() else jax.vmap(apply)(arguments)
