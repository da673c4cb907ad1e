"""Every program, whatever it does: its help, what it needs, what is misspelt, and the three ways to call it."""

import ast
import functools
import pathlib
import subprocess
import sys

import pytest

from effnet_jax import cam, config_files, programs
from tests import forked

ROOT = pathlib.Path(__file__).resolve().parents[1]
WITH_CONFIGS = ("train", "grid_search", "scaling_study", "results", "batch_norm_statistics", "benchmark")
WITH_CHECKPOINT = {
    "evaluate": (),
    "cam": (),
    "export": ("--output=model.stablehlo",),
    "export_weights": ("--output=model.safetensors",),
    "predict": ("image.png",),
}

# Runs in a process of its own, since a process has the options of one program.
ABOUT = """
import sys
from effnet_jax.cli import page, parsing
name = sys.argv[1]
program = parsing.load(name)
"""
DESCRIBE = (
    ABOUT
    + """
print(program.config)
print(*(flag.name for flag in program.needed))
print(*(f"{flag.name}={'switch' if flag.boolean else page.value_of(flag)}" for flag in page.own_flags(name)), sep="\\n")
"""
)
MISSPELL = (
    ABOUT
    + """
from effnet_jax.errors import UserError
for flag in page.own_flags(name):
    middle = len(flag.name) // 2
    misspelt = flag.name[:middle] + flag.name[middle] + flag.name[middle:]
    try:
        parsing.parse(name, program, [f"--{misspelt}=1"])
    except UserError as error:
        print(flag.name, error, sep="\\t")
"""
)
WITHOUT_JAX = """
import runpy, sys
script = sys.argv.pop(1)
try:
    runpy.run_path(script, run_name="__main__")
except SystemExit as ended:
    assert ended.code == 0
assert "jax" not in sys.modules, "help waits for JAX"
"""


@functools.cache
def described(name):
    """A program's default config, the options it needs, and all with what their values are called."""
    config, needed, *options = forked.run("-c", DESCRIBE, name).stdout.split("\n")
    return config, needed.split(), dict(option.split("=") for option in options if option)


def script(name, *arguments):
    return forked.run(f"scripts/{name}.py", *arguments)


def error_of(done):
    assert done.returncode == 2, done.stderr
    assert done.stdout == "" and done.stderr.count("\n") == 1 and done.stderr.startswith("error: "), done.stderr
    return done.stderr.strip()


def entries(lines):
    """Options with what is said of them, each in one line."""
    found = []
    for line in lines:
        if line.startswith("  -"):
            found.append(" ".join(line.split()))
        elif line.startswith(" " * 20):
            found[-1] += " " + line.strip()
    return found


def first_line(path):
    return ast.get_docstring(ast.parse(path.read_text())).splitlines()[0]


def test_each_program_has_a_script_and_each_script_is_a_program():
    modules = sorted(path.stem for path in (ROOT / "effnet_jax/programs").glob("*.py") if path.stem != "__init__")
    scripts = sorted(path.stem for path in (ROOT / "scripts").glob("*.py"))
    assert modules == scripts == sorted(programs.NAMES)
    for name in programs.NAMES:
        assert first_line(ROOT / f"scripts/{name}.py") == first_line(ROOT / f"effnet_jax/programs/{name}.py")


@pytest.mark.parametrize("name", programs.NAMES)
def test_help_says_what_it_does_with_an_example_and_every_option(name):
    done = forked.run("-c", WITHOUT_JAX, f"scripts/{name}.py", "--help")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout == script(name, "-h").stdout
    said = done.stdout.splitlines()
    assert said[0] == first_line(ROOT / f"effnet_jax/programs/{name}.py")
    assert said[2].startswith(f"    python scripts/{name}.py")
    options = {entry.split()[0]: entry for entry in entries(said)}
    for option, value in described(name)[2].items():
        entry = options.pop(f"--{option}", "") or options.pop(f"--[no]{option}", "")
        assert value, f"--{option} says not what its value is called, which is its unit"
        assert value == "switch" or entry.startswith(f"--{option} {value} "), entry
        assert entry.count("Default: ") + entry.count("Needed") == 1, entry
        for words in ("repeat this option", "<", ".."):  # absl's own, and marks of sentences put together
            assert words not in entry.replace("<name", "").replace("...", ""), entry
    assert options.keys() <= {"-h,", "--config.KEY=VALUE"}, "options of others"
    assert ("--config.KEY=VALUE" in options) == (name in WITH_CONFIGS)


@pytest.mark.parametrize("name", programs.NAMES)
def test_what_is_needed_is_named(name):
    needed = described(name)[1]
    if needed:
        said = error_of(script(name))
        assert [f"--{option} is needed: " in said for option in needed] == [True] * len(needed)


@pytest.mark.parametrize("name", programs.NAMES)
def test_an_option_without_its_value_is_named(name):
    option = next(option for option, value in described(name)[2].items() if value != "switch")
    said = error_of(script(name, f"--{option}"))
    assert f"--{option} is given without a value: " in said


@pytest.mark.parametrize("name", programs.NAMES)
def test_a_misspelt_option_brings_the_nearest_one(name):
    lines = forked.run("-c", MISSPELL, name).stdout.splitlines()
    assert len(lines) == len(described(name)[2])
    for option, said in (line.split("\t") for line in lines):
        assert f"(did you mean --{option}?)" in said
    assert "unknown option --hlep (did you mean --help?)" in error_of(script(name, "--hlep"))


@pytest.mark.parametrize("name", WITH_CONFIGS)
def test_a_misspelt_key_of_a_config_brings_the_nearest_one(name):
    default = described(name)[0]
    key = config_files.keys(config_files.find(default or "quickstart"))[-1]
    said = error_of(script(name, *([] if default else ["--config=quickstart"]), f"--config.{key}s=1"))
    assert f"unknown config key '{key}s' (did you mean '{key}'?)" in said


@pytest.mark.parametrize("name", WITH_CHECKPOINT)
def test_the_checkpoint_may_be_the_first_argument(name, tmp_path):
    said = error_of(script(name, tmp_path / "nowhere", *WITH_CHECKPOINT[name]))
    assert "there is no checkpoint at" in said and "nowhere" in said
    assert said == error_of(script(name, *WITH_CHECKPOINT[name], f"--checkpoint={tmp_path / 'nowhere'}"))


def test_a_second_checkpoint_is_an_image_or_refused():
    assert "unexpected argument 'b'" in error_of(script("evaluate", "a", "b"))
    assert "no image was given" in error_of(script("predict", "a"))


def test_help_of_maps_names_every_method():
    assert f"{', '.join(cam.METHODS)}. Default" in " ".join(script("cam", "-h").stdout.split())


@pytest.mark.parametrize("name", programs.NAMES)
def test_as_a_module_it_is_the_same_program_from_anywhere(name, tmp_path):
    done = forked.run("-m", "effnet_jax", name.replace("_", "-"), "--help", cwd=tmp_path)
    here = script(name, "--help").stdout.replace(f"python scripts/{name}.py", f"python -m effnet_jax {name}")
    assert done.stdout.split() == here.split()


def test_as_a_module_it_finds_configs_from_anywhere(tmp_path):
    for config in ("quickstart", "configs/quickstart.py"):
        command = ("-m", "effnet_jax", "train", "--config", config, "--config.batch_size=-4")
        assert "batch_size must be positive" in error_of(forked.run(*command, cwd=tmp_path))


def test_without_a_program_all_are_listed(tmp_path):
    listed = forked.run("-m", "effnet_jax", "--help").stdout
    for name in programs.NAMES:
        assert f"  {name:<23}{first_line(ROOT / f'effnet_jax/programs/{name}.py')}\n" in listed
    command = [sys.executable, "-m", "effnet_jax"]  # as a shell starts it
    assert "name a program: train, " in error_of(subprocess.run(command, capture_output=True, text=True, cwd=ROOT))
    assert "did you mean 'train'" in error_of(forked.run("-m", "effnet_jax", "trian"))
    assert forked.run("-m", "effnet_jax", "--version").stdout.startswith("effnet_jax ")
