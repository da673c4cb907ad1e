"""What everything here that writes to disk needs: words on stderr, room, and errors a person can read."""

import contextlib
import errno
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from effnet_jax.errors import UserError


def say(message: str) -> None:
    """Prints one line on stderr; stdout belongs to results."""
    print(f"effnet_jax: {message}", file=sys.stderr, flush=True)


class Progress:
    """One line on stderr that counts up on a terminal; elsewhere a line at the start and one at the end."""

    def __init__(self, label: str, total: int, unit: str):
        """Args: what is being done, how many units it takes, and their name ("images")."""
        self._label, self._total, self._unit = label, total, unit
        self._done, self._start, self._shown = 0, time.monotonic(), 0.0
        self._live = sys.stderr.isatty()

    def __enter__(self) -> "Progress":
        if not self._live:
            say(f"{self._label}: {self._total:,} {self._unit} ...")
        return self

    def __exit__(self, error_type, error, traceback) -> None:
        if self._live:
            print(file=sys.stderr)
        elif error is None:
            say(f"{self._label}: done in {time.monotonic() - self._start:.1f} s")

    def advance(self, count: int) -> None:
        """Counts `count` more units."""
        self._done += count
        now = time.monotonic()
        if self._live and (now - self._shown > 0.1 or self._done == self._total):
            self._shown = now
            text = f"{self._label}: {self._done:,}/{self._total:,} {self._unit}, {now - self._start:.0f} s"
            print(f"\reffnet_jax: {text}", end="", file=sys.stderr, flush=True)


@contextlib.contextmanager
def disk_errors(folder: Path, way_out: str) -> Iterator[None]:
    """Turns a full disk and a folder that may not be written into a `UserError`.

    Args:
      folder: Where the block writes.
      way_out: What the user can do about a folder that may not be written; ends the sentence.

    Raises:
      UserError: In place of an OSError of these kinds. Every other error passes unchanged.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"the disk is full while writing {folder}: free some space, or {way_out}") from error
        if error.errno in (
            errno.EACCES,
            errno.EPERM,
            errno.EROFS,
            errno.ENOTDIR,
            errno.EEXIST,
            errno.ENOTEMPTY,
        ):
            raise UserError(f"cannot write {folder} ({error.strerror}): {way_out}") from error
        raise


@contextlib.contextmanager
def array_record_errors() -> Iterator[None]:
    """Gives a full disk its number back: the writer of ArrayRecord reports what the system said in words only."""
    try:
        yield
    except RuntimeError as error:
        for code in (errno.ENOSPC, errno.EDQUOT):
            if os.strerror(code) in str(error):
                raise OSError(code, os.strerror(code)) from error
        raise


def make_room(folder: Path, num_bytes: int, way_out: str) -> None:
    """Makes `folder` and sees that it can be written and has room, before minutes of work are spent on it.

    Args:
      folder: Made with its parents where it is missing.
      num_bytes: About how much will be written.
      way_out: As in `disk_errors`.

    Raises:
      UserError: If it cannot be written or lacks the room.
    """
    with disk_errors(folder, way_out):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        raise UserError(
            f"{folder} has {free / 2**20:.0f} MiB free and {num_bytes / 2**20:.0f} MiB are needed: "
            f"free some space, or {way_out}"
        )


def sync_folder(folder: Path) -> None:
    """Makes renames and new names in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
