"""Where a run's weights come from: initialisation, or a checkpoint given by `config.init_from`."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from effnet_jax.errors import UserError
from effnet_jax.training import checkpoint
from effnet_jax.training.state import init_variables

CLASSIFIER = "classifier"
MAX_NAMES_SHOWN = 5


def initial_variables(
    model: nn.Module, key: jax.Array, resolution: int, init_from: str
) -> Callable[[], dict[str, Any]]:
    """Returns a function, good inside `jax.jit`, that makes the variables of step 0.

    With `init_from` they are a checkpoint's, except that a classifier of another width starts anew.

    Raises:
      UserError: no checkpoint there, or one whose other variables do not all fit the model.
    """
    fresh = functools.partial(init_variables, model, key, resolution)
    if not init_from:
        return fresh
    loaded = flatten_dict(checkpoint.load(init_from).variables)
    expected = flatten_dict(jax.eval_shape(fresh))
    problems = [f"missing {_name(path)}" for path in expected.keys() - loaded.keys()]
    problems += [f"unexpected {_name(path)}" for path in loaded.keys() - expected.keys()]
    replaced = set()
    for path in expected.keys() & loaded.keys():
        if loaded[path].shape != expected[path].shape:
            if CLASSIFIER in path:
                replaced.add(path)
            else:
                problems.append(f"{_name(path)} {loaded[path].shape} for {expected[path].shape}")
    if problems:
        shown = "; ".join(sorted(problems)[:MAX_NAMES_SHOWN])
        raise UserError(
            f"config.init_from={init_from} is of another model: {len(problems)} variables do not fit "
            f"({shown}); set config.model to the checkpoint's model"
        )
    if replaced:  # kernel and bias go together even where only one shape differs
        replaced = {path for path in expected if CLASSIFIER in path}

    def variables() -> dict[str, Any]:
        made = flatten_dict(fresh())
        return unflatten_dict({path: made[path] if path in replaced else loaded[path] for path in made})

    return variables


def _name(path: tuple[str, ...]) -> str:
    return "/".join(path)
