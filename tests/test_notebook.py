"""The notebooks as they are stored: run from top to bottom, without errors, small. .ci/run executes them."""

import ast
import importlib
import pathlib
import re

import nbformat
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MOST_BYTES = 300_000


def test_there_are_two():
    assert [path.name for path in NOTEBOOKS] == ["compound_scaling.ipynb", "your_own_photographs.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_stored_outputs_are_those_of_one_run_from_the_top(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    warned = [output.text for output in outputs if output.get("name") == "stderr"]
    assert not [text for text in warned if not text.startswith("effnet_jax: ")], "a warning, or a progress bar"
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert path.stat().st_size < MOST_BYTES
    assert str(pathlib.Path.home()) + "/" not in path.read_text(), "a path of the machine it ran on"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_what_it_imports_of_this_project_is_still_there(path):
    """Running a notebook takes a minute; a module that has moved shows at once."""
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    lines = "\n".join(line for cell in cells for line in cell.splitlines() if line[:1] not in ("%", "!"))
    wanted = [node for node in ast.walk(ast.parse(lines)) if isinstance(node, ast.ImportFrom)]
    wanted = [node for node in wanted if node.module.partition(".")[0] in ("effnet_jax", "configs")]
    assert wanted
    for node in wanted:
        module = importlib.import_module(node.module)
        for name in node.names:
            if not hasattr(module, name.name):
                importlib.import_module(f"{node.module}.{name.name}")


def test_the_package_draws_without_pyplot():
    """Choosing a backend for pyplot would turn off the figures of the notebook that called us."""
    files = sorted((ROOT / "effnet_jax").rglob("*.py"))
    assert [str(path) for path in files if re.search(r"pyplot|matplotlib\.use", path.read_text())] == []
