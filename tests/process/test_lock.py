"""A lock that names its holder; no dead process keeps it, here or on another machine."""

import contextlib
import errno
import fcntl
import os
import pathlib
import platform
import signal
import subprocess
import sys
import threading
import time

import pytest

from effnet_jax.errors import UserError
from effnet_jax.process import lock

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOLD = """
import pathlib, sys, time
from effnet_jax.process import lock
with lock.hold(pathlib.Path(sys.argv[1]), "training"):
    print("held", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def another_process(path):
    """Holds the lock `path` from another process, which is killed at the end."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.lock"


@pytest.fixture
def quick(monkeypatch):
    """Beats and looks a hundred times as often."""
    for name in ("BEAT_SECONDS", "GRACE_SECONDS", "POLL_SECONDS"):
        monkeypatch.setattr(lock, name, getattr(lock, name) / 100)


@pytest.fixture
def elsewhere(monkeypatch):
    """A block in which this process passes for one on another machine."""

    @contextlib.contextmanager
    def block():
        with monkeypatch.context() as patch:
            patch.setattr(lock, "_kernel", lambda: "another kernel")
            patch.setattr(platform, "node", lambda: "elsewhere")
            yield

    return block


@pytest.fixture(params=[None, errno.ENOSYS], ids=["locks of one machine", "no locks"])
def network_file_system(request, monkeypatch):
    """A file system whose locks do not keep machines apart."""

    def flock(descriptor, operation):
        if request.param:
            raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)


def test_the_second_is_told_who_holds_it_and_since_when(path):
    with another_process(path) as process:
        with pytest.raises(lock.Held) as error, lock.hold(path, "training in here", "choose another --workdir"):
            pass
        assert lock.is_free(path) is False and lock.take(path) is None
    assert str(error.value).startswith(f"process {process.pid} on {platform.node()}, since 20")
    assert str(error.value).endswith("UTC, is training in here: wait until it ends, or choose another --workdir")


def test_a_killed_process_keeps_nothing(path, monkeypatch):
    monkeypatch.setattr(lock, "_watched", None)  # nobody waits
    with another_process(path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert lock.read(path).process == process.pid and lock.is_free(path)
        with lock.hold(path, "training"):
            assert lock.read(path).process == os.getpid()
    assert not path.exists()


def test_a_process_may_hold_it_but_once(path):
    with lock.hold(path, "training"):
        with pytest.raises(lock.Held, match=f"process {os.getpid()} "), lock.hold(path, "training"):
            pass
        assert path.exists()
    with lock.hold(path, "training"):
        pass


def test_who_may_wait_does(path, capsys, quick):
    with contextlib.ExitStack() as first:
        first.enter_context(lock.hold(path, "decoding"))
        threading.Timer(0.2, first.close).start()
        with lock.hold(path, "decoding", wait=True):
            pass
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].endswith("is decoding; waiting for it")


def test_one_that_lives_on_another_machine_is_seen_by_its_beats(path, quick, elsewhere, network_file_system):
    with elsewhere():
        first = lock.hold(path, "training")
        first.__enter__()
    assert lock.is_free(path) is None
    with pytest.raises(lock.Held, match="on elsewhere, since"), lock.hold(path, "training"):
        pass
    first.__exit__(None, None, None)
    with lock.hold(path, "training"):
        pass


def test_one_that_died_on_another_machine_is_waited_for_but_once(path, capsys, quick, elsewhere, network_file_system):
    with elsewhere():
        dead = lock.take(path)  # which does not beat
    with lock.hold(path, "training") as held:
        assert lock.read(path).host == platform.node()
        with pytest.raises(lock.Held, match=rf"process {os.getpid()} on .* has taken {path.parent} over"):
            dead.check()  # it was only asleep, and writes before its next beat
        dead.beat()
        held.check()
        dead.close()
        assert path.exists()
    assert "was training; waiting up to 0.6 s for a sign that it still is" in capsys.readouterr().err


def test_a_lock_that_a_file_system_keeps_for_a_dead_machine(path, quick, elsewhere):
    with elsewhere():
        dead = lock.take(path)
    with lock.hold(path, "training") as held:
        with pytest.raises(lock.Held):
            dead.check()
        dead.beat()
        held.check()


def test_one_that_ends_while_it_is_watched(path, quick, elsewhere, monkeypatch):
    monkeypatch.setattr(lock, "GRACE_SECONDS", 60.0)
    with elsewhere():
        other = lock.take(path)
    threading.Timer(0.2, other.close).start()
    start = time.monotonic()
    with lock.hold(path, "training"):
        assert time.monotonic() - start < 30


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    unwritable = lock.hold_folder(tmp_path / "file/x", "drawing into", "--output")
    with pytest.raises(UserError, match=r"cannot write to the output .*; choose another --output"), unwritable:
        pass
