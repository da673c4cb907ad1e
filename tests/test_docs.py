"""What README.md and docs/ say can be done: their Python runs, their commands and files are there."""

import functools
import importlib
import json
import pathlib
import re
import shlex

import numpy as np
import pytest
from PIL import Image

import effnet_jax
from effnet_jax import config
from tests import forked

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
MADE_BY_THE_SITE = ("options.md", "programs.md")
# Runs the Python of several pages, each in a namespace of its own, and says where one begins. New networks are slivers.
RUN = """
import sys, json, effnet_jax
whole = effnet_jax.create_model
sliver = {"width_multiplier": 0.25, "depth_multiplier": 0.25}
effnet_jax.create_model = lambda *args, **options: whole(*args, **sliver | options)
for page, source in json.load(open(sys.argv[1])):
    print("===", page, flush=True)
    exec(compile(source, page, "exec"), {"__name__": "__main__"})
"""


def blocks(page, language):
    return [source for found, source in FENCE.findall(page.read_text()) if found == language]


def commands(page):
    """The command lines of a page that call a program, as words."""
    for block in blocks(page, ""):
        for line in block.replace("\\\n", " ").splitlines():
            line = re.sub(r"#.*|^\$ |^srun ", "", line)
            if line.startswith(("python scripts/", "python -m effnet_jax ", "effnet-jax ")):
                yield shlex.split(line)


def program_of(words):
    """Of "python scripts/NAME.py ...", "python -m effnet_jax NAME ..." or "effnet-jax NAME ..."."""
    if words[1].startswith("scripts/"):
        return pathlib.Path(words[1]).stem
    return words[3] if words[0] == "python" else words[1]


@functools.cache
def help_of(program):
    return forked.run(f"scripts/{program}.py", "--help").stdout


@functools.cache
def keys_of(name):
    """The options of a config; of a search or a study with those of its runs."""
    module = importlib.import_module("configs." + pathlib.Path(name).stem.partition(".")[0])
    return set(config.flatten(module.get_config()))


ALL = [pytest.param(words, id=f"{page.name}: {' '.join(words)[:60]}") for page in PAGES for words in commands(page)]


@pytest.mark.parametrize("words", ALL)
def test_a_command_has_a_program_and_its_options(words):
    program = program_of(words)
    options = [word for word in words if word.startswith("--")]
    used = next((words[index + 1] for index, word in enumerate(words) if word == "--config"), None)
    if used:
        file = pathlib.Path(used.partition(":")[0])
        assert (ROOT / "configs" / file.with_suffix(".py").name).exists(), f"{used} is no config"
    for option in options:
        name = option.partition("=")[0]
        if name.startswith("--config."):
            assert name.removeprefix("--config.") in keys_of(used or program), f"{name} is no option of {used}"
        else:
            shown = help_of(program).replace("--[no]", "--no")
            assert re.search(rf"{name}\b|{name.replace('--', '--no', 1)}\b", shown), f"{program} has no {name}"


def test_the_python_runs_and_prints_what_the_readme_says(tmp_path):
    pages = [(page.name, "\n".join(blocks(page, "python"))) for page in PAGES if blocks(page, "python")]
    assert {"README.md", "predict.md", "maps.md"} <= {name for name, _ in pages}
    (tmp_path / "pages.json").write_text(json.dumps(pages))
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    for name in ("cat.jpg", "dog.png"):
        Image.fromarray(noise).save(tmp_path / name)
    done = forked.run("-c", RUN, "pages.json", with_jax=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    printed = dict(part.split("\n", 1) for part in done.stdout.split("=== ")[1:])
    said = blocks(ROOT / "README.md", "text")[0]
    assert as_words(printed["README.md"]) == as_words(said), "put what it prints now into README.md"


def as_words(text):
    """Text with its percentages rounded to tens: they differ by a point from one processor to the next."""
    return re.sub(r"(\d+) %", lambda match: f"{round(int(match[1]), -1)} %", text).split()


def test_every_link_to_a_file_leads_somewhere():
    for page in [*PAGES, *(ROOT / "results").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
            if not target.startswith("http") and target not in MADE_BY_THE_SITE:
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


def test_the_readme_is_a_door_and_no_manual():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_citation_names_the_version():
    assert f"\nversion: {effnet_jax.__version__}\n" in (ROOT / "CITATION.cff").read_text()
