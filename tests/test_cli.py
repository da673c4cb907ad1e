"""What a person sees who gets something wrong: one line on stderr, exit code 2, nothing lost."""

import errno
import os
import pathlib
import subprocess
import sys
import types

import pytest

from configs import quickstart
from effnet_jax.cli import exits, parsing
from effnet_jax.errors import UserError
from tests import forked

ROOT = pathlib.Path(__file__).resolve().parents[1]


def error_of(script, *arguments):
    """Runs a script that must refuse, and returns its one line."""
    done = forked.run(f"scripts/{script}", *arguments, with_jax=True)
    lines = done.stderr.splitlines()
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    return lines[0]


QUICKSTART = ("--config", "configs/quickstart.py")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["--config.optimiser.name=sgd"], "did you mean 'optimizer.name'"),
        (["--config.batch_sizes=3"], "did you mean 'batch_size'"),
        (["--config.batch_size=many"], "--config.batch_size must be a number, not 'many'"),
        (["--config.optimizer.learning_rate=fast"], "--config.optimizer.learning_rate must be a number, not 'fast'"),
        (["--config.batch_size=-4"], "batch_size"),
        (["--config.model.name=efficientnet-b0"], "write 'efficientnet_b0', with padding='SAME'"),
        (["--config.dataset.name=digit"], "did you mean 'digits'"),
        (["--config.model.num_classes=100"], "has 10 classes"),
        (["--config.batch_size=5000"], "larger than the training split"),
        (["--config.batch_size=20"], "8 devices"),
        (["--config.model.stage_strides=(2,2,2,2,2,2,2)"], "1x1"),
        (["--config.batch_size=None"], "config.batch_size always has a value"),
        (["--config.batch=None"], "did you mean 'batch_size'"),
        (["--config.num_train_steps", "none", "--config.batch_size=-4"], "batch_size must be positive"),
        (["--config.optimizer.learning_rate=nan"], "config.optimizer.learning_rate must be a number"),
        (["--confg=x"], "did you mean --config?"),
        (["--batch_size=64"], "did you mean --config.batch_size?"),
        (["--learning_rate=0.1"], "did you mean --config.optimizer.learning_rate?"),
        (["surplus"], "surplus"),
    ],
)
def test_train_refuses(overrides, expected, tmp_path):
    line = error_of("train.py", *QUICKSTART, "--workdir", tmp_path / "run", *overrides)
    assert expected in line
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").iterdir()), "the folder stays free"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_no_name_of_a_file_or_class_ends_a_program(encoding):
    """Nor a file name that is no text: its bytes come out as they went in."""
    code = r"from effnet_jax.cli import start; start._print_anything(); print('k\xe4tzchen \u732b'); print('\udce4')"
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert second == b"\xe4"
    assert first.decode("unicode_escape" if encoding == "ascii" else encoding).startswith("kätzchen ")


def test_a_key_is_unset_where_that_is_the_last_word():
    given = ["--config=a", "--config.x=1", "--config.x=None", "--config.y=none", "--config.y", "2", "--z", "none"]
    assert parsing._without_unset(given) == (["--config=a", "--config.x=1", "--config.y", "2", "--z", "none"], ["x"])


def test_an_unset_key_has_no_value(monkeypatch):
    config = quickstart.get_config()
    config.num_train_steps = 3
    monkeypatch.setattr(parsing.flags, "FLAGS", {"config": types.SimpleNamespace(value=config)})
    parsing._unset(["num_train_steps"], "configs/quickstart.py")
    assert config.num_train_steps is None


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError(), "error: out of memory (MemoryError); take fewer or smaller images"),
        (RuntimeError("RESOURCE_EXHAUSTED: allocating 9 bytes.\nmore"), "error: out of memory (allocating 9 bytes);"),
        (OSError(errno.ENOSPC, "No space left", "a.npy"), "error: the disk is full (a.npy); free some space"),
        (UserError("do this"), "error: do this"),
    ],
)
def test_what_ends_any_program_in_one_line(error, line, capsys):
    def main():
        raise error

    with pytest.raises(SystemExit) as ended:
        exits.execute(main)
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.startswith(line) and said.count("\n") == 1


def test_ctrl_c_is_no_traceback(capsys):
    def main():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        exits.execute(main)
    assert ended.value.code == 130 and capsys.readouterr().err == "error: stopped by Ctrl-C\n"


def test_a_mistake_of_ours_keeps_its_traceback():
    def main():
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        exits.execute(main)


def test_options_are_finite():
    line = error_of("summarize.py", "--model=efficientnet_b0", "--width_multiplier=nan")
    assert "--width_multiplier must be a number that is neither infinite nor NaN" in line


def test_train_needs_a_config_that_exists(tmp_path):
    assert "--config is needed: " in error_of("train.py")
    assert "--config is needed: " in error_of("train.py", "--config.batch_size=8")
    assert "nowhere.py" in error_of("train.py", "--config", tmp_path / "nowhere.py")
    assert "README.md is no config" in error_of("train.py", "--config", "README.md")
    (tmp_path / "other.py").write_text("")
    assert "defines no get_config()" in error_of("train.py", "--config", tmp_path / "other.py")
    assert "did you mean 'quickstart'" in error_of("train.py", "--config", "quickstrat")


def test_unwritable_workdir(tmp_path):
    (tmp_path / "file").write_text("")
    line = error_of("train.py", *QUICKSTART, "--workdir", tmp_path / "file/run")
    assert "cannot write to the workdir" in line


def test_evaluate_refuses_what_is_no_checkpoint(tmp_path):
    assert "does not exist" in error_of("evaluate.py", "--checkpoint", tmp_path / "nowhere")
    assert "no checkpoint in" in error_of("evaluate.py", "--checkpoint", tmp_path)
    assert "split" in error_of("evaluate.py", "--checkpoint", tmp_path, "--split", "tests")


def test_what_a_command_needs_is_said():
    assert error_of("evaluate.py").startswith("error: --checkpoint is needed: a run's workdir")
    assert error_of("export.py", "runs/q") == "error: --output is needed: file to write"
