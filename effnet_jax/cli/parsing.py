"""From the command line to options and arguments; what is misspelt or missing is said in one line."""

import functools
import importlib
import math
import operator
import re
from collections.abc import Iterator, Sequence

from absl import flags

from effnet_jax import config_files
from effnet_jax.cli import page
from effnet_jax.cli.options import CONFIG, Program
from effnet_jax.errors import UserError, did_you_mean

_CONFIG = re.compile(rf"--?{CONFIG}")
_NO_VALUE = re.compile(r"Missing value for flag -*(\w+)")  # absl's words
# Python's words.
_NO_NUMBER = re.compile(r"flag (--[\w.]+)=(.*): (?:invalid literal for int|could not convert string to float)")
_UNSET = "none"
_OVERRIDE = re.compile(rf"--?(?:no)?{CONFIG}\.(.+)")


def load(name: str) -> Program:
    """Imports a program, which defines its options."""
    return importlib.import_module(f"effnet_jax.programs.{name}").PROGRAM


def parse(name: str, program: Program, argv: Sequence[str]) -> list[str]:
    """Sets the options of a program.

    Returns:
      The arguments that are no options.

    Raises:
      UserError: an unknown option or config key, or one that is needed and not there.
    """
    argv = list(argv)
    if has_config := CONFIG in flags.FLAGS:
        argv = _with_paths_of_configs(argv)
    by_default = has_config and program.config and not _chosen_config(argv)
    if by_default:
        argv.insert(0, f"--{CONFIG}={config_files.find(program.config)}")
    given = argv
    argv, unset = _without_unset(argv) if has_config else (argv, [])
    try:
        arguments = flags.FLAGS(["", *argv])[1:]
    except flags.UnrecognizedFlagError as error:
        if error.flagname.startswith(f"{CONFIG}."):
            _check_needed(program)
        raise UserError(_unknown_option(error.flagname, name, argv)) from error
    except flags.Error as error:
        if match := _NO_VALUE.match(str(error)):
            raise UserError(f"--{match[1]} is given without a value: {_as_phrase(page.text_of(match[1]))}") from error
        if match := _NO_NUMBER.match(str(error)):
            raise UserError(f"{match[1]} must be a number, not {match[2]!r}") from error
        raise
    except (KeyError, AttributeError) as error:  # ml_collections: an override of a key that is not there
        _check_overrides(given)
        raise error
    if unset:
        _unset(unset, _chosen_config(argv))
    if by_default:
        flags.FLAGS[CONFIG].using_default_value = True
    if program.first is not None and arguments and not flags.FLAGS[program.first.name].present:
        flags.FLAGS[program.first.name].parse(arguments.pop(0))
    _check_needed(program)
    _check_finite(name)
    return arguments


def _with_paths_of_configs(argv: Sequence[str]) -> list[str]:
    found = list(argv)
    for index, argument in enumerate(found):
        option, equals, value = argument.partition("=")
        if not _CONFIG.fullmatch(option):
            continue
        if equals:
            found[index] = f"{option}={config_files.find(value)}"
        elif index + 1 < len(found):
            found[index + 1] = config_files.find(found[index + 1])
    return found


def _without_unset(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the arguments without `--config.KEY=None`, and the keys of which that is the last word."""
    kept, unset, index = [], [], 0
    while index < len(argv):
        option, equals, value = argv[index].partition("=")
        apart = not equals and index + 1 < len(argv)
        match = _OVERRIDE.fullmatch(option)
        if match and (argv[index + 1] if apart else value).lower() == _UNSET:
            unset.append(match[1])
            index += 1 + apart
            continue
        if match and match[1] in unset:  # a value that is given later
            unset.remove(match[1])
        kept.append(argv[index])
        index += 1
    return kept, unset


def _unset(keys: Sequence[str], path: str) -> None:
    """Takes the value of keys of the config away.

    Raises:
      UserError: one is not in it, or always has a value.
    """
    known, optional = config_files.keys(path), config_files.optional_keys(path)
    for key in keys:
        if key not in known:
            raise UserError(f"unknown config key {key!r}{did_you_mean(key, known)}")
        if key not in optional:
            raise UserError(f"config.{key} always has a value, None is none of it; unset may be {', '.join(optional)}")
        *sections, name = key.split(".")
        functools.reduce(operator.getitem, sections, flags.FLAGS[CONFIG].value)[name] = None


def _check_needed(program: Program) -> None:
    missing = [flag.name for flag in program.needed if not flags.FLAGS[flag.name].present]
    if missing:
        raise UserError("; ".join(f"--{name} is needed: {_as_phrase(page.text_of(name))}" for name in missing))


def _check_finite(name: str) -> None:
    for flag in page.own_flags(name):
        if isinstance(flag.value, float) and not math.isfinite(flag.value):
            raise UserError(f"--{flag.name} must be a number that is neither infinite nor NaN, got {flag.value}")


def _as_phrase(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:].rstrip(".")


def _unknown_option(option: str, name: str, argv: Sequence[str]) -> str:
    own = ["help", *(flag.name for flag in page.own_flags(name))]
    # A key of the config that was given without "config.", by its whole name or the last part of it.
    keys = config_files.keys(_chosen_config(argv)) if _chosen_config(argv) else []
    if meant := [key for key in keys if option in (key, key.rpartition(".")[2])]:
        return f"unknown option --{option} (did you mean --{CONFIG}.{meant[0]}?)"
    near = did_you_mean(f"--{option}", [f"--{known}" for known in own]).replace("'", "")
    return f"unknown option --{option}{near}; --help shows all"


def _check_overrides(argv: Sequence[str]) -> None:
    """Raises a `UserError` if a key that is to be overridden is not in the config."""
    keys = config_files.keys(_chosen_config(argv))
    for option, _ in _options(argv):
        match = _OVERRIDE.fullmatch(option)
        if match and match[1] not in keys:
            raise UserError(f"unknown config key {match[1]!r}{did_you_mean(match[1], keys)}")


def _chosen_config(argv: Sequence[str]) -> str:
    """Returns the value of --config, "" if it is not given."""
    given = [value for option, value in _options(argv) if _CONFIG.fullmatch(option)]
    return given[-1] if given else ""


def _options(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yields options with their values; the next argument passes for the value of one without "="."""
    for argument, after in zip(argv, [*argv[1:], ""]):
        option, equals, value = argument.partition("=")
        if option.startswith("-"):
            yield option, value if equals else after
