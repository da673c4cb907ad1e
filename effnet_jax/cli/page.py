"""The page that `--help` prints: what a program does, an example, its own options with units and defaults."""

import importlib
import re
import shutil
import textwrap

from absl import flags

from effnet_jax import config_files
from effnet_jax.cli.options import CONFIG, Program
from effnet_jax.process import invocation

_MOST_COLUMNS = 100
_OPTION_COLUMNS = 27
# "PIXELS: Side of the images.", see `options`; also of the form HOST:PORT or PEER,... Around it stands what absl adds
# to the help of a choice and of an option that may be repeated.
_HELP = re.compile(
    r"(?:<.*?>: )?(?:(?P<value>[A-Z]+(?:[:,][A-Z.]+)*): )?(?P<text>.+?)(?:;\s+repeat this option .*)?", re.DOTALL
)


def of(name: str, program: Program) -> str:
    """Returns the page of a program."""
    columns = min(shutil.get_terminal_size((_MOST_COLUMNS, 24)).columns, _MOST_COLUMNS)
    lines = [*_paragraphs(documentation(name), columns), "", *_usage(name, program, columns), ""]
    for flag in own_flags(name):
        lines += _entry(f"--{_option(flag)}", _text_and_default(flag, program), columns)
        if flag.name == CONFIG:
            lines += _entry(f"--{CONFIG}.KEY=VALUE", _on_overrides(program), columns)
    return "\n".join([*lines, *_entry("-h, --help", "This page.", columns)])


def documentation(name: str) -> str:
    """Returns the docstring of a program, its examples called as this process was."""
    return _module(name).__doc__.strip().replace(f"python scripts/{name}.py", invocation.of_program(name))


def own_flags(name: str) -> list[flags.Flag]:
    """Returns the options that a program defines, those in common use among them, in their order in its module."""
    return list(flags.FLAGS.flags_by_module_dict()[_module(name).__name__])


def text_of(flag: str) -> str:
    """Returns the help of an option without the name of its value."""
    return _HELP.fullmatch(flags.FLAGS[flag].help)["text"]


def value_of(flag: flags.Flag) -> str:
    """Returns how the value of an option is called, "" for a switch."""
    if flag.boolean:
        return ""
    if isinstance(flag.parser, flags.EnumParser):
        return "|".join(flag.parser.enum_values)
    return _HELP.fullmatch(flag.help)["value"] or ""


def _module(name: str):
    return importlib.import_module(f"effnet_jax.programs.{name}")


def _usage(name: str, program: Program, columns: int) -> list[str]:
    first = program.first.name if program.first is not None else None
    words = ["usage:", invocation.of_program(name)]
    if first is not None:
        value = value_of(flags.FLAGS[first])
        words.append(value if first in [flag.name for flag in program.needed] else f"[{value}]")
    words += [program.rest] if program.rest else []
    words += [f"--{_option(flags.FLAGS[flag.name])}" for flag in program.needed if flag.name != first]
    return textwrap.wrap(" ".join([*words, "[options]"]), columns, subsequent_indent=" " * 4, break_on_hyphens=False)


def _option(flag: flags.Flag) -> str:
    if flag.boolean:
        return f"[no]{flag.name}" if flag.default else flag.name
    return f"{flag.name} {value_of(flag)}"


def _text_and_default(flag: flags.Flag, program: Program) -> str:
    text = text_of(flag.name)
    if isinstance(flag, flags.MultiFlag):
        text += " May be repeated."
    if flag.name in [needed.name for needed in program.needed]:
        first = program.first is not None and flag.name == program.first.name
        return f"{text} Needed{', and may be the first argument' if first else ''}."
    default = flag.default
    if flag.name == CONFIG and program.config:
        default = config_files.shown(program.config)
    if flag.boolean and default is not None:  # else the text says what follows
        default = "on" if default else "off"
    elif isinstance(default, float):
        default = f"{default:g}"
    elif isinstance(default, list):
        default = ",".join(map(str, default))
    return f"{text} Default: {default}." if default not in (None, "") else text


def _on_overrides(program: Program) -> str:
    keys = config_files.keys(config_files.find(program.config or "default"))
    example = next((key for key in keys if key.split(".")[-1] == "batch_size"), keys[0])
    text = f"Another value for a key of the config, such as {example}."
    return f"{text} All keys of a run, with their defaults: {config_files.shown('default')}."


def _paragraphs(text: str, columns: int) -> list[str]:
    """Lines of a text, filled anew; what is indented stays as it is."""
    lines = []
    for paragraph in text.split("\n\n"):
        is_example = paragraph.startswith(" ")
        lines += ["", *(paragraph.splitlines() if is_example else _wrapped(paragraph, columns))]
    return lines[1:]


def _entry(option: str, text: str, columns: int) -> list[str]:
    lines = _wrapped(text, columns - _OPTION_COLUMNS)
    if len(option) + 4 > _OPTION_COLUMNS:
        lines.insert(0, "")
    head = f"  {option}".ljust(_OPTION_COLUMNS)
    return [(head + lines[0]).rstrip(), *(" " * _OPTION_COLUMNS + line for line in lines[1:])]


def _wrapped(text: str, columns: int) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), max(columns, 40), break_on_hyphens=False, break_long_words=False)
