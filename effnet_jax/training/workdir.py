"""The folder of a run: who it belongs to, and writing into it without leaving halves."""

import contextlib
import pathlib
import shutil
from collections.abc import Iterator

import ml_collections

from effnet_jax import config as config_lib
from effnet_jax.errors import UserError
from effnet_jax.process import atomic, distributed, memory
from effnet_jax.process import lock as lock_lib
from effnet_jax.training import checkpoint

# What a run writes; --overwrite removes these and nothing else.
CONFIG, RESULTS = "config.json", "results.json"
OWN_FILES = (CONFIG, "metrics.jsonl", RESULTS, "curves.png")
OWN_FOLDERS = (checkpoint.FOLDER, "tensorboard")
MAX_KEYS_SHOWN = 6


@contextlib.contextmanager
def held(workdir: pathlib.Path, config: ml_collections.ConfigDict, overwrite: bool) -> Iterator[lock_lib.Lock | None]:
    """A block in which no other run, of one process or several, works in `workdir`, which is checked; see `check`.

    Where memory is too little for a run that has saved nothing yet, the folder is left free for another config.

    Gives the lock to the first of several processes, which holds it for all.

    Raises:
      UserError: another process trains there, or what `check` raises.
    """
    with contextlib.ExitStack() as stack:
        lock = None
        with distributed.agreed():
            if distributed.is_first():
                lock = stack.enter_context(lock_lib.hold_folder(workdir, "training in", "--workdir"))
        check(workdir, config, overwrite)
        try:
            yield lock
        except memory.TooLittle:
            if lock is not None and not is_begun(workdir):
                _drop(workdir)
            raise


def is_begun(workdir: pathlib.Path) -> bool:
    """Whether there is a checkpoint to go on from."""
    return any((workdir / checkpoint.FOLDER).glob("[0-9]*"))


def check(workdir: pathlib.Path, config: ml_collections.ConfigDict, overwrite: bool) -> None:
    """Checks that `workdir` can be the folder of a run of `config`, and drops what `overwrite` allows.

    Nothing claims the folder yet (see `claim`): a start that fails early leaves it free. Of several processes the first
    alone writes; the others make sure that they see its files.

    A run may change where its data lie, how often it speaks, validates and saves, and how long it trains.

    Raises:
      UserError: it cannot be written, it holds a run of another config and `overwrite` is off, or processes do not
        share it.
    """
    probe = workdir / ".writable"
    try:
        with distributed.agreed():
            if distributed.is_first():
                _check_alone(workdir, probe, config, overwrite)
        with distributed.agreed():
            if not probe.exists():
                raise UserError(
                    f"the workdir {workdir} is not that of process 0; choose a --workdir that all hosts share"
                )
    finally:
        if distributed.is_first():
            with contextlib.suppress(OSError):
                probe.unlink()


def _check_alone(
    workdir: pathlib.Path, probe: pathlib.Path, config: ml_collections.ConfigDict, overwrite: bool
) -> None:
    probe.write_text("")
    if overwrite:
        _drop(workdir)
    stored = workdir / CONFIG
    if stored.exists():
        changes = config_lib.changed_mathematics(config_lib.read(stored), config)
        if changes:
            more = f" and {len(changes) - MAX_KEYS_SHOWN} more" if len(changes) > MAX_KEYS_SHOWN else ""
            raise UserError(
                f"{workdir} holds a run of another config ({'; '.join(changes[:MAX_KEYS_SHOWN])}{more}); "
                f"choose another --workdir, where --resume_from {workdir} goes on from it, or drop it with --overwrite"
            )
    elif any((workdir / name).exists() for name in (*OWN_FILES, *OWN_FOLDERS)):
        raise UserError(
            f"{workdir} holds parts of a run but no config.json; choose another --workdir, "
            "or drop them with --overwrite"
        )


def changed_length(workdir: pathlib.Path, config: ml_collections.ConfigDict) -> list[str]:
    """Lists "key: old -> new" where the run in `workdir` is to train for longer or shorter; see `check`."""
    stored = workdir / CONFIG
    return config_lib.changed_length(config_lib.read(stored), config) if stored.exists() else []


def claim(workdir: pathlib.Path, config: ml_collections.ConfigDict) -> None:
    """Makes `workdir` the folder of a run of `config`; what a shorter run of it came to is no longer its result."""
    if distributed.is_first():
        (workdir / RESULTS).unlink(missing_ok=True)
        atomic.write_json(workdir / CONFIG, config_lib.as_json(config))


def _drop(workdir: pathlib.Path) -> None:
    for name in OWN_FILES:
        (workdir / name).unlink(missing_ok=True)
    for name in OWN_FOLDERS:
        shutil.rmtree(workdir / name, ignore_errors=True)
