"""Methods by name, with one way to call them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from effnet_jax.cam import inputs, methods, score
from effnet_jax.errors import UserError, did_you_mean


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to make maps.

    Attributes:
      name: what flags and tables call it.
      function: (model, variables, images, targets, [layer], raw=) -> maps.
      at_input: it explains pixels and takes no layer.
    """

    name: str
    function: Callable[..., jax.Array]
    at_input: bool = False

    def __call__(
        self, model: nn.Module, variables: Any, images: jax.Array, targets: Any, layer: str | None, *, raw: bool = False
    ) -> jax.Array:
        """Returns maps as `methods` describes them.

        Raises:
          UserError: the method does not apply to `layer`.
        """
        if self.at_input and layer is not None:
            raise UserError(f"{self.name} explains the pixels themselves and takes no layer such as {layer!r}")
        arguments = () if self.at_input else (layer,)
        return self.function(model, variables, images, targets, *arguments, raw=raw)


METHODS = {
    method.name: method
    for method in (
        Method("cam", methods.cam),
        Method("grad_cam", methods.grad_cam),
        Method("grad_cam_plus_plus", methods.grad_cam_plus_plus),
        Method("xgrad_cam", methods.xgrad_cam),
        Method("hires_cam", methods.hires_cam),
        Method("layer_cam", methods.layer_cam),
        Method("eigen_cam", methods.eigen_cam),
        Method("score_cam", score.score_cam),
        Method("input_gradients", inputs.input_gradients, at_input=True),
        Method("integrated_gradients", inputs.integrated_gradients, at_input=True),
    )
}


def find(name: str) -> Method:
    """Returns the method called `name`; "Grad-CAM" is "grad_cam".

    Raises:
      UserError: there is none.
    """
    plain = name.strip().lower().replace("++", "_plus_plus").replace("-", "_")
    if plain not in METHODS:
        raise UserError(f"no method {name!r}{did_you_mean(plain, METHODS)}; there are {', '.join(METHODS)}")
    return METHODS[plain]
