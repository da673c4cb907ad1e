"""The one exception type for mistakes a user can make and mend."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can put right.

    The message is one sentence that names what is wrong and says what to do. `cli` prints it
    on stderr and exits with code 2; every other exception keeps its traceback.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns ` (did you mean 'x'?)`, or an empty string where nothing known is near `name`."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""


class RunInterrupted(Exception):
    """A run was asked to stop and has saved itself; the message says how to go on."""
