"""Whether a file's tensors are those of a model, and if not, whose they are."""

import dataclasses
import re
from collections.abc import Sequence

from effnet_jax.architecture import catalog
from effnet_jax.architecture.description import Architecture
from effnet_jax.pretrained.registry import SOURCES
from effnet_jax.pretrained.sources import Source, Tensors
from effnet_jax.pretrained.variables import CLASSIFIER, Variable, variables

# Another model is named only where it explains nearly everything: this share of the mismatches may be left.
_MAX_UNEXPLAINED = 0.1


@dataclasses.dataclass(frozen=True)
class Match:
    """A file's tensors beside a model's variables, all under the source's names.

    Attributes:
      num_classes: width of the classifier, the file's own where it has one.
      in_channels: channels of an image, by the file's stem where it has one.
      expected: the model's variables by their name in the source.
      found: the file's tensors that fit.
      missing: names that the file lacks.
      unexpected: names that the model lacks.
      misshaped: name, shape in the file, shape wanted.
    """

    num_classes: int
    in_channels: int
    expected: dict[str, Variable]
    found: Tensors
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshaped: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    @property
    def problems(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.misshaped)

    @property
    def lacks_only_the_classifier(self) -> bool:
        """Whether the whole classifier is missing and nothing else is wrong."""
        classifier = {name for name, variable in self.expected.items() if variable.layer == CLASSIFIER}
        return self.problems == len(self.missing) and set(self.missing) == classifier

    def without(self, allowed: tuple[str, ...]) -> "Match":
        """Returns the match without the missing names that are allowed to be."""
        return dataclasses.replace(self, missing=tuple(n for n in self.missing if n not in allowed))

    def describe(self, names_shown: int) -> str:
        """Lists the problems in one line, up to `names_shown` of each kind by name."""
        misshaped = [f"{name} {has} for {wanted}" for name, has, wanted in self.misshaped]
        kinds = (
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("of another shape", misshaped),
        )
        return "; ".join(f"{len(names)} {kind} ({_some(names, names_shown)})" for kind, names in kinds if names)


def match(source: Source, model: str, tensors: Tensors, num_classes: int) -> Match:
    """Compares tensors with the variables of `model` ("efficientnet_b0", ...) under the names of `source`.

    Args:
      source: whose names and layout.
      model: name in our catalog.
      tensors: all of a file.
      num_classes: width of the classifier where the file has none.
    """
    arch = catalog.architecture(model)
    tensors = {
        name: array for name, array in source.rename(tensors, arch).items() if not re.search(source.ignored, name)
    }
    bias = source.layers(arch)[CLASSIFIER] + source.layout.leaves["bias"]
    if bias in tensors and tensors[bias].ndim == 1:
        num_classes = len(tensors[bias])
    in_channels = _in_channels(source, arch, tensors)
    expected = source.names(arch, variables(catalog.architecture(model, in_channels=in_channels), num_classes))
    shapes = {name: source.layout.file_shape(variable) for name, variable in expected.items()}
    present = [name for name in expected if name in tensors]
    return Match(
        num_classes=num_classes,
        in_channels=in_channels,
        expected=expected,
        found={name: tensors[name] for name in present if tensors[name].shape == shapes[name]},
        missing=tuple(name for name in expected if name not in tensors),
        unexpected=tuple(sorted(name for name in tensors if name not in expected)),
        misshaped=tuple(
            (name, tensors[name].shape, shapes[name]) for name in present if tensors[name].shape != shapes[name]
        ),
    )


def looks_like(tensors: Tensors, asked: Match) -> tuple[str, str] | None:
    """Returns the source and the model that the tensors fit far better than those asked for, if there is one."""
    candidates = [
        (match(source, model, tensors, asked.num_classes).problems, source.name, model)
        for source in SOURCES.values()
        for model in source.models
    ]
    problems, source_name, model = min(candidates)
    return None if problems > _MAX_UNEXPLAINED * asked.problems else (source_name, model)


def _in_channels(source: Source, arch: Architecture, tensors: Tensors) -> int:
    stem = variables(arch, 1)[0]
    (name,) = source.names(arch, [stem])
    if name not in tensors or tensors[name].ndim != len(stem.shape):
        return arch.in_channels
    return max(source.layout.from_file(stem, tensors[name]).shape[2], 1)


def _some(names: Sequence[str], shown: int) -> str:
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")
