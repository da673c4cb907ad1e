"""How fast each parameter learns: factors of the learning rate by regular expressions over parameter names."""

import math
import re
from collections.abc import Sequence
from typing import Any

import jax
import optax
from flax.traverse_util import flatten_dict

from effnet_jax.errors import UserError
from effnet_jax.training.freezing import Path

KEY = "config.optimizer.learning_rate_factors"
MAX_NAMES_SHOWN = 3


def learning_rate_factors(rules: Sequence[tuple[str, float]], params: Any) -> dict[Path, float]:
    """Returns the factor of each parameter; 0 freezes it.

    Args:
      rules: (regular expression, factor) pairs. An expression means the parameters whose whole name, such as
        "stage1_block1/expand_conv/kernel", it matches; each parameter must be meant exactly once.
      params: nested dict of parameters, or of their shapes.

    Raises:
      UserError: what is no such pair; an expression that matches nothing; a parameter that none matches or
        more than one; nothing left to train.
    """
    compiled = [_compiled(rule) for rule in rules]
    names = {"/".join(path): path for path in flatten_dict(params)}
    matches = {name: [rule for rule in compiled if rule[0].fullmatch(name)] for name in names}
    for pattern, _ in compiled:
        if not any(pattern.fullmatch(name) for name in names):
            raise UserError(
                f"{KEY}: {pattern.pattern!r} matches no parameter; a whole name is, for instance, {next(iter(names))!r}"
            )
    uncovered = [name for name, found in matches.items() if not found]
    if uncovered:
        raise UserError(
            f"{KEY}: {len(uncovered)} parameters are matched by no expression ({_shown(uncovered)}); add one for them, "
            "with the factor 1.0 to train them and 0.0 to freeze them"
        )
    for name, found in matches.items():
        if len(found) > 1:
            first, second = (pattern.pattern for pattern, _ in found[:2])
            raise UserError(f"{KEY}: {first!r} and {second!r} both match {name}; make them exclude each other")
    factors = {names[name]: factor for name, ((_, factor),) in matches.items()}
    if not any(factors.values()):
        raise UserError(f"{KEY} freezes every parameter: give some a factor above 0")
    return factors


def scaled(tx: optax.GradientTransformation, factors: dict[Path, float]) -> optax.GradientTransformation:
    """Returns `tx` with each parameter's update, and so its learning rate, multiplied by its factor."""
    if set(factors.values()) <= {0.0, 1.0}:  # those of factor 0 never reach the optimiser
        return tx

    def scale(updates: Any, params: Any) -> Any:
        del params
        by_path = lambda path, update: update * factors[tuple(key.key for key in path)]  # noqa: E731
        return jax.tree_util.tree_map_with_path(by_path, updates)

    return optax.chain(tx, optax.stateless(scale))


def _compiled(rule: Any) -> tuple[re.Pattern[str], float]:
    if not isinstance(rule, tuple | list) or len(rule) != 2 or not isinstance(rule[0], str):
        raise UserError(f"{KEY} is a tuple of (regular expression, factor) pairs; {rule!r} is no pair")
    pattern, factor = rule
    if not isinstance(factor, int | float) or not 0 <= factor < math.inf:
        raise UserError(f"{KEY}: the factor of {pattern!r} must be a number of at least 0, not {factor!r}")
    try:
        return re.compile(pattern), float(factor)
    except re.error as error:
        raise UserError(f"{KEY}: {pattern!r} is no regular expression ({error})") from error


def _shown(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > MAX_NAMES_SHOWN else ""
    return ", ".join(names[:MAX_NAMES_SHOWN]) + more
