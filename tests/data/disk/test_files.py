"""What is said on stderr, and which errors of the system become sentences."""

import errno
import sys

import pytest

from effnet_jax.data.disk import files
from effnet_jax.errors import UserError


def test_progress_without_a_terminal_is_two_lines(capsys):
    with files.Progress("decoding", 2000, "images") as progress:
        for _ in range(2000):
            progress.advance(1)
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 2
    assert err.startswith("effnet_jax: decoding: 2,000 images ...\neffnet_jax: decoding: done in ")


def test_progress_on_a_terminal_rewrites_one_line(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with files.Progress("decoding", 2000, "images") as progress:
        for _ in range(2000):
            progress.advance(1)
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.count("\r") < 20 and "2,000/2,000 images" in err


def test_other_errors_pass(tmp_path):
    with pytest.raises(OSError, match="strange") as error, files.disk_errors(tmp_path, "x"):
        raise OSError(errno.EIO, "strange")
    assert not isinstance(error.value, UserError)
