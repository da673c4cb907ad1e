"""What every model's plain-Python description offers: named layers, sizes of maps, exact counts (no JAX)."""

import abc

from effnet_jax.architecture.counting import Counts
from effnet_jax.errors import UserError, did_you_mean

HEAD = "head"  # the layer whose map is pooled and classified
IN_CHANNELS = 3  # of an image, where nothing else is said


class Architecture(abc.ABC):
    """A network as a chain of named layers, then pooling and a classifier.

    Attributes:
      in_channels: channels of an image.
      head_filters: channels of the head map.
      aliases: other names of layers; "stage3" is the last block of stage 3.
      residual_ends: the residual blocks with the prefix of their branch's last convolution and BatchNorm. Where
        that convolution, and that BatchNorm's scale and bias, are zero the block is the identity.
    """

    in_channels: int
    head_filters: int
    aliases: dict[str, str]
    residual_ends: dict[str, str]

    @property
    @abc.abstractmethod
    def layer_names(self) -> tuple[str, ...]:
        """Names of the feature maps in order; the last one is the head map."""

    @abc.abstractmethod
    def count(self, resolution: int, num_classes: int) -> Counts:
        """Counts parameters, BatchNorm statistics and MACs for square inputs of `resolution` pixels.

        Convolutions, squeeze-and-excitation and the classifier are counted; BatchNorm, activations and
        pooling are not, as in the paper's Table 2.
        """

    def final_map(self, resolution: int) -> int:
        """Side in pixels of the head map for a square input of `resolution` pixels."""
        head, _ = self.count(resolution, num_classes=1).layers[-2:]
        return head.output_size

    def resolve_layer(self, name: str) -> str:
        """Returns the layer that `name` stands for; see `aliases`.

        Raises:
          UserError: there is no such layer.
        """
        if name in self.layer_names:
            return name
        if name in self.aliases:
            return self.aliases[name]
        known = [*self.layer_names, *self.aliases]
        raise UserError(f"no layer {name!r}{did_you_mean(name, known)}; the layers are {', '.join(known)}")


def check_in_channels(in_channels: int) -> None:
    """Raises a `UserError` where no image could have that many channels."""
    if in_channels < 1:
        raise UserError(f"in_channels is the number of channels of an image, at least 1, not {in_channels}")
