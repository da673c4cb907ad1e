"""What the site shows beside the pages in docs/: results/, every option of a config, the help of every program."""

import ast
import io
import pathlib
import re
import subprocess
import sys
import tokenize

from mkdocs.structure.files import File, Files

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHOWN = (".md", ".png", ".json", ".txt")


def on_files(files: Files, config) -> Files:
    """Adds results/ as it is, and the two pages that are made of the code."""
    for path in sorted((ROOT / "results").rglob("*")):
        if path.suffix in SHOWN and "runs" not in path.parts:
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    files.append(File.generated(config, "options.md", content=options()))
    files.append(File.generated(config, "programs.md", content=programs()))
    return files


def on_page_markdown(markdown: str, page, config, files) -> str:
    """Pages in docs/ name results/ as they lie in the repository, beside docs/; on the site they lie below."""
    return markdown.replace("](../results/", "](results/")


def options() -> str:
    """Returns the page of all options: configs/default.py as tables, its comments beside each default."""
    source = (ROOT / "configs/default.py").read_text()
    comments = {
        token.start[0]: (token.string.lstrip("# "), token.line.lstrip().startswith("#"))
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    (function,) = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))
    groups: dict[str, list[str]] = {"": []}
    for node in function.body:
        if not isinstance(node, ast.Assign):
            continue
        owner, _, key = ast.unparse(node.targets[0]).partition(".")
        if owner == "config" and "ConfigDict" in ast.unparse(node.value):
            groups.setdefault(key, [])
            continue
        if not key:
            continue
        above, line = [], node.lineno - 1
        while comments.get(line, ("", False))[1]:
            above.insert(0, comments[line][0])
            line -= 1
        said = " ".join([*above, comments.get(node.end_lineno, ("", False))[0]]).strip()
        group = "" if owner == "config" else owner
        value = re.sub(r"placeholder\(\w+\)", "unset", ast.unparse(node.value))
        option = f"{group}.{key}" if group else key
        groups[group].append(f"| `{option}` | `{value}` | {said.replace('|', '/')} |")
    parts = [
        "# Every option",
        "The keys of a config with their defaults, made from `configs/default.py`. On the command line an option is "
        "`--config.KEY=VALUE`, for example `--config.optimizer.learning_rate=0.01`.",
    ]
    for group, rows in groups.items():
        parts.append(f"## {group or 'The run'}")
        parts.append("\n".join(["| option | default | |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def programs() -> str:
    """Returns the page of all programs: what `--help` prints of each."""
    parts = ["# Every program", "What `--help` prints. Installed, `effnet-jax NAME` is `python scripts/NAME.py`."]
    for script in sorted((ROOT / "scripts").glob("*.py")):
        command = [sys.executable, str(script), "--help"]
        page = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
        parts.append(f"## {script.stem}\n\n```text\n{page.rstrip()}\n```")
    return "\n\n".join(parts) + "\n"
