"""Models by name, with weights where they are wanted."""

import pathlib
from typing import Any

from effnet_jax.models import registry
from effnet_jax.models.chain import ChainClassifier
from effnet_jax.training.transfer import Origin

_NUMERICS = ("padding", "bn_epsilon")  # wrong ones change no shape and pass unseen: they go with the weights


def create_model(
    name: str, num_classes: int = 1000, *, pretrained: str | pathlib.Path | None = None, **options: Any
) -> ChainClassifier | tuple[ChainClassifier, dict[str, Any]]:
    """Builds a model, and its variables where it starts from weights.

        model = effnet_jax.create_model("efficientnet_b0", num_classes=100)
        model, variables = effnet_jax.create_model("efficientnet_b0", 20, pretrained="timm/efficientnet_b0.ra_in1k")

    Args:
      name: "efficientnet_b0" ... "efficientnet_b7" (also "_b8", "_l2"), "resnet50", "resnet152", "densenet201".
      num_classes: width of the classifier.
      pretrained: weights to start with, anything that `effnet_jax.load` takes: "timm/efficientnet_b0.ra_in1k", a
        checkpoint. Their padding and epsilon come along. A classifier of another number of classes starts at zero, and
        the stem is adapted to `in_channels`.
      options: see `models.registry.create_model`: `stem_stride`, `in_channels`, `ops`, ...

    Returns:
      A `flax.linen.Module`; see `ChainClassifier` for its methods. With `pretrained`, that and its variables.

    Raises:
      UserError: unknown name, impossible options, or weights that cannot be had or do not fit.
    """
    if pretrained is None:
        return registry.create_model(name, num_classes, **options)
    origin = Origin.load(str(pretrained))
    options |= origin.completed({key: options.get(key) for key in _NUMERICS})
    model = registry.create_model(name, num_classes, **options)
    scaled = {key: options.get(key, 1.0) for key in ("width_multiplier", "depth_multiplier")}
    return model, origin.start(model, {"name": name, **scaled})
