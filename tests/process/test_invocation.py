"""What a result says of its command can be typed again."""

import pathlib
import sys

import pytest

from effnet_jax.process import environment, invocation

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("argv", "command", "program"),
    [
        (
            [str(ROOT / "scripts/train.py"), "--config", "a b.py"],
            "python scripts/train.py --config 'a b.py'",
            "python scripts/train.py",
        ),
        (["../mine.py", "--x=1"], "python mine.py --x=1", "python mine.py"),
        (
            [str(ROOT / "effnet_jax/__main__.py"), "train", "--x=1"],
            "python -m effnet_jax train --x=1",
            "python -m effnet_jax train",
        ),
        (["/usr/bin/effnet-jax", "train", "--x=1"], "effnet-jax train --x=1", "effnet-jax train"),
    ],
)
def test_each_way_to_call_a_program(argv, command, program, monkeypatch):
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.chdir(ROOT / "docs")
    assert environment.command() == command
    assert invocation.of_program("train") == program
