"""Every model by name: what was published of it, and its description (no JAX)."""

import dataclasses
import re
from collections.abc import Sequence

from effnet_jax.architecture import baselines, scaling
from effnet_jax.architecture.description import IN_CHANNELS, Architecture
from effnet_jax.errors import UserError, did_you_mean

MODELS = (*scaling.FAMILY, *baselines.NAMES)
TENSORFLOW, PYTORCH = ("SAME", 1e-3), ("SYMMETRIC", 1e-5)  # padding and BatchNorm epsilon

# As other libraries write names: "efficientnet-b0", "EfficientNetB0", "tf_efficientnet_b0_ns", "timm/resnet50.a1_in1k".
_ELSEWHERE = re.compile(
    r"(?P<timm>timm/)?(?P<tf>tf_)?(?P<model>[a-z0-9_-]+?)(?:_(?:aa|ap|ns|ns_475))?(?P<tag>\.[^@]+)?(?:@.+)?", re.I
)


@dataclasses.dataclass(frozen=True)
class Published:
    """What a model's authors, or for the baselines torchvision, used with it.

    Attributes:
      resolution: input side in pixels.
      dropout_rate: before the classifier.
      stochastic_depth_rate: of the last block.
      padding: "SAME" (TensorFlow) or "SYMMETRIC" (PyTorch).
      bn_epsilon: of every BatchNorm.
    """

    resolution: int
    dropout_rate: float
    stochastic_depth_rate: float
    padding: str
    bn_epsilon: float


def published(name: str) -> Published:
    """Returns the settings of `name`.

    Raises:
      UserError: no model has that name.
    """
    if name in scaling.FAMILY:
        variant = scaling.FAMILY[name]
        return Published(variant.resolution, variant.dropout_rate, 0.2, *TENSORFLOW)
    if name in baselines.NAMES:
        return Published(baselines.RESOLUTION, 0.0, 0.0, *PYTORCH)
    advice = _named_elsewhere(name) or f"{did_you_mean(name, MODELS)}; the models are {', '.join(MODELS)}"
    raise UserError(f"unknown model {name!r}{advice}")


def _named_elsewhere(name: str) -> str:
    """Returns what to write for a model as another library names it, or an empty string.

    A wrong padding or epsilon changes no shape and passes unseen, so both are said.
    """
    match = _ELSEWHERE.fullmatch(name)
    spellings = {_letters(known): known for known in MODELS} | {_letters(known[-2:]): known for known in scaling.FAMILY}
    model = spellings.get(_letters(match["model"])) if match else None
    if model is None:
        return ""
    trained_by_timm = not match["tf"] and (match["timm"] or match["tag"])
    padding, epsilon = PYTORCH if trained_by_timm or model in baselines.NAMES else TENSORFLOW
    default = ", the defaults" if (padding, epsilon) == (published(model).padding, published(model).bn_epsilon) else ""
    weights = name if match["timm"] else f"timm/{name}"
    pretrained = f"; its weights: pretrained={weights!r}, or init_from in a config" if match["tag"] else ""
    return f": write {model!r}, with padding={padding!r} and bn_epsilon={epsilon:g}{default}{pretrained}"


def _letters(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def relative_resolution(name: str, baseline: str) -> float:
    """Returns the published resolution of `name` as a multiple of that of `baseline`.

    Raises:
      UserError: no model has such a name.
    """
    return published(name).resolution / published(baseline).resolution


def architecture(
    name: str,
    width_multiplier: float = 1.0,
    depth_multiplier: float = 1.0,
    stem_stride: int = scaling.B0_STEM_STRIDE,
    stage_strides: Sequence[int] | None = None,
    in_channels: int = IN_CHANNELS,
) -> Architecture:
    """Returns the description of `name`.

    Args:
      name: one of `MODELS`.
      width_multiplier, depth_multiplier: on top of the named model's own; see `scaling.architecture` and
        `baselines.baseline`.
      stem_stride: 1 for small images; see there, too.
      stage_strides: EfficientNet only; None for the published ones.
      in_channels: channels of an image.

    Raises:
      UserError: an unknown name, impossible numbers, or an option that this kind of model has not.
    """
    published(name)
    if name in baselines.NAMES:
        refuse_options(name, ["stage_strides"] if stage_strides is not None else [])
        return baselines.baseline(name, stem_stride, width_multiplier, depth_multiplier, in_channels)
    variant = scaling.FAMILY[name]
    return scaling.architecture(
        variant.width_multiplier * width_multiplier,
        variant.depth_multiplier * depth_multiplier,
        stem_stride,
        scaling.B0_STAGE_STRIDES if stage_strides is None else stage_strides,
        in_channels,
    )


def refuse_options(name: str, options: Sequence[str]) -> None:
    """Raises a `UserError` that names the options, if there are any, which `name` has not."""
    if options:
        raise UserError(f"{name} has no {' and no '.join(options)}; leave it at its default: EfficientNets have it")
