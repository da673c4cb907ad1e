"""Who works in a folder: a lock that says who holds it, and that no dead process keeps. Imports no JAX.

On one machine the system's lock (flock) decides: it goes with the process that holds it. A network file system may keep
it from other machines, or keep it for a machine that crashed. So the holder also writes down who it is and beats: it
raises a number every `BEAT_SECONDS`. Whoever finds the record of another machine watches whether that goes on.
"""

import contextlib
import dataclasses
import enum
import errno
import fcntl
import functools
import json
import os
import pathlib
import platform
import sys
import threading
import time
import uuid
from collections.abc import Iterator

from effnet_jax.errors import UserError

BEAT_SECONDS = 10.0
GRACE_SECONDS = 60.0  # a holder on another machine that has been silent for so long is taken for dead
POLL_SECONDS = 0.5
FILE = ".lock"  # in the folder that is held
_RECORD_BYTES = 512  # written over in one piece
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class Held(UserError):
    """Another process holds the lock."""


class _System(enum.Enum):
    """What the system says of a lock that is asked for."""

    GIVEN, REFUSED, KNOWS_NO_LOCKS = range(3)


@dataclasses.dataclass(frozen=True)
class Holder:
    """What a lock file says.

    Attributes:
      id: of this holding.
      process: its number.
      host: where it runs.
      kernel: the same for all processes that the system's lock surely keeps apart.
      since: when it took the lock.
      beat: grows while it lives.
    """

    id: str
    process: int
    host: str
    kernel: str
    since: str
    beat: int

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, since {self.since},"

    @property
    def is_here(self) -> bool:
        """Whether it runs, or ran, on this machine since that was last started."""
        return self.kernel == _kernel()


class Lock:
    """A lock that this process holds; see `hold`."""

    def __init__(self, path: pathlib.Path, descriptor: int):
        self._path, self._descriptor = path, descriptor
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        self._holder = Holder(uuid.uuid4().hex, os.getpid(), platform.node(), _kernel(), since, 0)
        self._lost_to: Holder | None = None
        self._write()

    def check(self) -> None:
        """Call it before writing what the lock protects.

        Raises:
          Held: another machine has taken the lock over, because it saw no sign of this process for a minute.
        """
        with contextlib.suppress(OSError):  # a file system that is away: the write that follows will say so
            self._look()
        if self._lost_to is not None:
            raise Held(
                f"{self._lost_to} has taken {self._path.parent} over, since this process showed no sign of life for "
                f"{GRACE_SECONDS:g} s: nothing more is written here"
            )

    def beat(self) -> None:
        """Shows that this process lives, and looks whether the lock is still its own."""
        self._look()
        if self._lost_to is None:
            self._holder = dataclasses.replace(self._holder, beat=self._holder.beat + 1)
            self._write()

    def close(self) -> None:
        """Gives the lock back; the file goes."""
        with contextlib.suppress(OSError):
            found = read(self._path)
            if found is not None and found.id == self._holder.id:
                self._path.unlink()
        os.close(self._descriptor)

    def _look(self) -> None:
        found = read(self._path)
        if found is not None and found.id != self._holder.id:
            self._lost_to = found

    def _write(self) -> None:
        text = json.dumps(dataclasses.asdict(self._holder)).ljust(_RECORD_BYTES - 1) + "\n"
        os.pwrite(self._descriptor, text.encode(), 0)
        os.fsync(self._descriptor)


@contextlib.contextmanager
def hold(path: pathlib.Path, doing: str, way_out: str = "", *, wait: bool = False) -> Iterator[Lock]:
    """Holds the lock `path` in the block; what a dead process left does not hinder.

    Args:
      path: the lock file; its folder is there.
      doing: what the holder does, for the others: "training in runs/a".
      way_out: what they may do beside waiting: "choose another --workdir".
      wait: wait for another holder, and say so, in place of the error.

    Raises:
      Held: another process holds it.
      OSError: the file cannot be written.
    """
    lock, over = _taken(path, doing, way_out, wait), threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):  # a file system that is away may be there at the next beat
                lock.beat()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield lock
    finally:
        over.set()
        thread.join()
        lock.close()


@contextlib.contextmanager
def hold_folder(folder: pathlib.Path, doing: str, option: str, *, wait: bool = False) -> Iterator[Lock]:
    """`hold` for a folder that results go to; it is made where it is missing.

    Args:
      folder: the folder.
      doing: what happens there, before its name: "training in".
      option: the option that names it: "--workdir".
      wait: as in `hold`.

    Raises:
      Held: another process holds it.
      UserError: it cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            doing, way_out = f"{doing} {folder}", f"choose another {option}"
            lock = stack.enter_context(hold(folder / FILE, doing, way_out, wait=wait))
        except OSError as error:
            name = option.lstrip("-")
            raise UserError(
                f"cannot write to the {name} {folder} ({error.strerror}); choose another {option}"
            ) from error
        yield lock


@contextlib.contextmanager
def locked(path: pathlib.Path) -> Iterator[None]:
    """Holds a lock for moments: whoever wants it waits. It keeps apart the processes of one machine."""
    with path.open("w") as file:
        with contextlib.suppress(OSError):  # of file systems that know no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def take(path: pathlib.Path) -> Lock | None:
    """Takes a lock that does not beat, until it is closed or its process dies; None if one of this machine has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, answer = _asked_for(path)
    if answer is not _System.REFUSED:
        return Lock(path, descriptor)
    os.close(descriptor)
    return None


def is_free(path: pathlib.Path) -> bool | None:
    """Whether nobody holds the lock `path`; None where that is unknown, since its holder was on another machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, answer = _asked_for(path)
    found = read(path)
    os.close(descriptor)
    if answer is _System.GIVEN:
        return True if found is None or found.is_here else None
    return False if answer is _System.REFUSED else None


def read(path: pathlib.Path) -> Holder | None:
    """Returns what a lock file says; None where there is none, or nothing in it."""
    try:
        return Holder(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _taken(path: pathlib.Path, doing: str, way_out: str, wait: bool) -> Lock:
    said = False
    while True:
        holder = _attempt(path, doing)
        if isinstance(holder, Lock):
            return holder
        if not wait:
            raise Held(f"{holder} is {doing}: wait until it ends{', or ' * bool(way_out)}{way_out}")
        if not said:
            _say(f"{holder} is {doing}; waiting for it")
            said = True
        time.sleep(POLL_SECONDS)


def _attempt(path: pathlib.Path, doing: str) -> Lock | Holder:
    """Returns the lock, or who holds it."""
    while True:
        descriptor, answer = _asked_for(path)
        found = read(path)
        if answer is _System.GIVEN and (found is None or found.is_here):
            return Lock(path, descriptor)
        if answer is _System.KNOWS_NO_LOCKS and found is None:
            return Lock(path, descriptor)
        if answer is _System.REFUSED and found is not None and found.is_here:
            os.close(descriptor)
            return found
        later = _watched(path, found, doing)
        if later == found and answer is not _System.REFUSED:
            return Lock(path, descriptor)
        os.close(descriptor)
        if later == found:  # a lock that the file system keeps for a machine that is gone
            path.unlink(missing_ok=True)
        elif later is not None:
            return later


def _watched(path: pathlib.Path, seen: Holder | None, doing: str) -> Holder | None:
    """Returns what the file says as soon as that is something else, and in any case after a while."""
    start = time.monotonic()
    if seen is not None:
        _say(f"{seen} was {doing}; waiting up to {GRACE_SECONDS:g} s for a sign that it still is")
    while (found := read(path)) == seen and time.monotonic() - start < GRACE_SECONDS:
        time.sleep(POLL_SECONDS)
    return found


def _asked_for(path: pathlib.Path) -> tuple[int, _System]:
    """Opens the file and asks for its lock, which goes when the descriptor is closed."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return descriptor, _System.KNOWS_NO_LOCKS if error.errno in _UNSUPPORTED else _System.REFUSED
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(path), os.fstat(descriptor)):
                return descriptor, _System.GIVEN
        os.close(descriptor)  # its holder has removed the file in the meantime


@functools.cache
def _kernel() -> str:
    """Returns what tells this running kernel from all others: containers of one machine share it."""
    try:
        return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node()


def _say(message: str) -> None:
    print(f"effnet_jax: {message}", file=sys.stderr, flush=True)
