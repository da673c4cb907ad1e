"""The classes of a data set beside those of a network: they are the same where their names are."""

from collections.abc import Sequence

import numpy as np

from effnet_jax.errors import UserError

_MAX_NAMES_SHOWN = 5
UNKNOWN = -1


def matched(known: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """Returns for each wanted name its index among the known ones, int32, or `UNKNOWN`.

    Capitals do not count, and neither does what stands between words: "Persian cat" is "persian_cat".

    Raises:
      UserError: none of them is known.
    """
    index = {_plain(name): number for number, name in reversed(list(enumerate(known)))}
    found = np.array([index.get(_plain(name), UNKNOWN) for name in wanted], np.int32)
    if (found == UNKNOWN).all():
        raise UserError(
            f"the network knows none of the classes of this data set: it tells {in_short(known)} apart, and the data "
            f"set has {in_short(wanted)}"
        )
    return found


def in_short(names: Sequence[str]) -> str:
    """Returns the first few names, and how many there are."""
    shown = ", ".join(names[:_MAX_NAMES_SHOWN])
    return shown if len(names) <= _MAX_NAMES_SHOWN else f"{shown}, ... ({len(names)})"


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
