"""Finding a model's tensors among what training scripts save with them, and under which names."""

import dataclasses
import re
from typing import Any

from effnet_jax.errors import UserError

_AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema")
_RAW = ("state_dict", "model_state_dict", "model", "net")
_INSIDE = ("state_dict", "module", "model")  # where an entry keeps its tensors, if not in itself
# Of wrappers: data parallel, what people call the network in a Lightning module, torch.compile.
_PREFIXES = re.compile(r"^(?:module\.|model\.|net\.|backbone\.|_orig_mod\.)+")
_COUNTER = "n_averaged"  # that PyTorch's AveragedModel saves with the averages


class NoStateDict(UserError):
    """Nothing in a file looks like a model's tensors."""


@dataclasses.dataclass(frozen=True)
class Held:
    """What was taken of a file.

    Attributes:
      tensors: by name.
      ema: whether they are moving averages.
      other: whether the file holds the other of the two as well.
    """

    tensors: dict[str, Any]
    ema: bool
    other: bool


def unwrap(content: Any, weights: str, kind: type) -> Held:
    """Takes one state_dict of what a training script has saved.

    Args:
      content: a state_dict, or a dictionary that holds one, or raw and averaged ones, among other things.
      weights: "raw", "ema", or "selected" for the averages where there are any, as they evaluate better.
      kind: the class of a tensor.

    Raises:
      UserError: there is none, or not of these weights.
    """
    averaged, raw = (_first(content, keys, kind) for keys in (_AVERAGED, _RAW))
    raw = raw or ({} if averaged else _tensors(content, kind))
    if not averaged and not raw:
        raise NoStateDict("it holds no state_dict")
    ema = weights == "ema" or (weights == "selected" and bool(averaged))
    taken = averaged if ema else raw
    if not taken:
        held, asked = ("raw", "averaged") if ema else ("averaged", "raw")
        raise UserError(f"it holds {held} weights and no {asked} ones; leave out the choice of {weights}")
    return Held(without_prefixes(taken), ema, bool(averaged) and bool(raw))


def without_prefixes(tensors: dict[str, Any]) -> dict[str, Any]:
    """Returns tensors under the names that the model itself gives them.

    Where two would get one name all are left as they are, for the importer to refuse.
    """
    named = {_PREFIXES.sub("", name): name for name in tensors}
    if len(named) < len(tensors):
        return tensors
    return {short: tensors[name] for short, name in named.items()}


def _first(content: Any, keys: tuple[str, ...], kind: type) -> dict[str, Any]:
    """Returns the tensors of the first of the entries `keys` that holds any."""
    for key in keys:
        entry = content.get(key) if isinstance(content, dict) else None
        found = _tensors(entry, kind) or _tensors_inside(entry, kind)
        if found:
            return found
    return {}


def _tensors_inside(entry: Any, kind: type) -> dict[str, Any]:
    return _first(entry, _INSIDE, kind) if isinstance(entry, dict) else {}


def _tensors(entry: Any, kind: type) -> dict[str, Any]:
    if not isinstance(entry, dict):
        return {}
    return {str(name): value for name, value in entry.items() if isinstance(value, kind) and name != _COUNTER}
