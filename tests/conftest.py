"""Every test runs on eight fake CPU devices, without a network and with caches of its own.

What tests share, so that the suite is fast:

- compiled programs: all processes, workers and those that tests start, keep them in one folder, also for the next time;
- here: `tiny_config`, `small_checkpoint` and `no_pictures`; further ones in the `conftest.py` of a folder;
- `tests/short.py`: networks of few blocks; `tests/checkpoints.py`: a checkpoint of one;
- `tests/search/studies.py`: runs that are pretended;
- `tests/forked.py`: runs a program in a process of its own that starts in milliseconds.
"""

import contextlib
import gc
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

import hypothesis
import pytest

from effnet_jax.process import processor, runtime, xla_flags

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Set before anything imports JAX: it reads these once.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUM_CPU_DEVICES"] = "8"
# Compiling is most of the time of these tests, and half of that is optimising. CI's training and notebook run optimised
# programs, and so do the tests that compute much (XLA_FLAGS= in the Makefile). JAX 0.10 has XLA's older emitters too,
# which take half of what the newer ones do. Loops are compiled as programs have them compiled; the width, XLA's own, is
# named so that programs that tests start add no other one, and find what was compiled here.
if "XLA_FLAGS" not in os.environ:
    quick = {"xla_backend_optimization_level": "0", "xla_cpu_use_fusion_emitters": "false"}
    xla_flags.add({**quick, **runtime.LOOPS_ARE_KERNELS, "xla_cpu_prefer_vector_width": "256"})
# One folder of compiled programs for this process and those that inherit the variable: the workers of pytest-xdist and
# whatever tests start. It stays for the next session, which compiles only what has changed: the name of a program is a
# digest of it, of XLA's version and flags. A processor with other instructions might not run them.
MOST_KEPT = 1 << 30  # bytes
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    COMPILED = ROOT / ".pytest_cache" / "compiled" / processor.digest()
    with contextlib.suppress(FileNotFoundError):
        if sum(path.stat().st_size for path in COMPILED.iterdir()) > MOST_KEPT:
            shutil.rmtree(COMPILED, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(COMPILED)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
gc.set_threshold(20_000, 10, 10)  # as `runtime.prepare_process` does

# What tests write lies in memory where that has room: SQLite waits for the disk at each of about a thousand commits.
IN_MEMORY, ROOM = pathlib.Path("/dev/shm"), 4 << 30  # bytes; a session writes 0.7 GB
if "PYTEST_DEBUG_TEMPROOT" not in os.environ and IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > ROOM:
    os.environ["PYTEST_DEBUG_TEMPROOT"] = str(IN_MEMORY)

# No test asserts a time.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="module", autouse=True)
def _little_to_search_for_garbage() -> None:
    """What was imported and compiled before is not looked through again; that took seconds in a long session."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _own_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps decoded data, compiled programs and temporary files of tests away from the user's."""
    os.environ["EFFNET_JAX_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    temporary = tmp_path_factory.mktemp("temporary")
    os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
    yield
    left = [path.name for path in temporary.iterdir() if path.name.endswith("tfds")]
    assert not left, f"TFDS left {left} in the temporary folder: see initialize_from_bucket in data/sets/cifar.py"


@pytest.fixture(scope="session", autouse=True)
def _short_loops() -> None:
    """See `short.shorten_loops`."""
    from tests import short

    short.shorten_loops()


@pytest.fixture
def tiny_config():
    """See `short.tiny_config`."""
    from tests import short

    return short.tiny_config()


@pytest.fixture(scope="module")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folder of a small checkpoint; see `tests.checkpoints`."""
    from tests.checkpoints import write_checkpoint

    folder = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(folder)
    return folder


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made but not drawn, which takes a second each: for tests of what is beside them."""
    from matplotlib.figure import Figure

    def save(figure: Figure, file, **_) -> None:
        if hasattr(file, "write"):
            file.write(b"not drawn")
        else:
            pathlib.Path(file).write_bytes(b"not drawn")

    monkeypatch.setattr(Figure, "savefig", save)
    monkeypatch.setattr(Figure, "draw_without_rendering", lambda figure: None)  # which measures them


@pytest.fixture
def as_on_an_accelerator(monkeypatch: pytest.MonkeyPatch):
    """Takes the formulations for accelerators, on the CPU."""
    import jax

    from effnet_jax.process import target

    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *arguments, default, **_: default(*arguments))
    jax.clear_caches()
    with target.tracing_for("cuda"):
        yield
    jax.clear_caches()
