"""Exporting a classifier as StableHLO: one file that `jax` (with `flatbuffers`) alone can run.

    from jax import export
    predict = export.deserialize(open("model.stablehlo", "rb").read()).call
    probabilities = predict(images)  # uint8 [N, side, side, 3], any N

The file holds the weights, the preprocessing and the model, lowered for every platform named. It is the
serialisation of `jax.export`, whose compatibility guarantees hold (years, between versions of JAX).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from effnet_jax.errors import UserError
from effnet_jax.inference.classifier import Classifier

PLATFORMS = ("cpu", "cuda", "tpu")
OUTPUTS = ("probabilities", "logits")


def natural_input_size(net: Classifier) -> int:
    """Returns the side of the smallest square image whose central crop is exactly what the model sees."""
    preprocess = net.preprocess
    side = preprocess.resolution
    while round(preprocess.crop_fraction * side) < preprocess.resolution:
        side += 1
    return side


def serialize(
    net: Classifier,
    input_size: int | None = None,
    output: str = "probabilities",
    platforms: Sequence[str] = PLATFORMS,
) -> bytes:
    """Exports uint8 images [N, input_size, input_size, C] -> float32 [N, classes], N symbolic.

    Args:
      net: the model.
      input_size: side of the images in pixels; None takes `natural_input_size`. They are cropped and
        resized like any others.
      output: "probabilities" or "logits".
      platforms: those the file will run on.

    Raises:
      UserError: an input size that is not positive.
    """
    side = natural_input_size(net) if input_size is None else input_size
    if side < 1:
        raise UserError(f"the input size must be positive, got {side}")
    variables = jax.tree.map(np.asarray, net.variables)

    def classify(images: jax.Array) -> jax.Array:
        logits = net.model.apply(variables, net.preprocess(images), train=False)
        return jax.nn.softmax(logits) if output == "probabilities" else logits

    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, side, side, net.preprocess.channels), jnp.uint8)
    exported = export.export(jax.jit(classify), platforms=platforms)(images)
    try:
        return bytes(exported.serialize())
    except ImportError as error:  # a dependency that JAX leaves out
        raise UserError(f"jax.export needs one more package: pip install flatbuffers ({error})") from error
