"""The database of a study: SQLite in the workdir, or one that several machines share."""

import pathlib
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

import optuna
import sqlalchemy.exc
from optuna.storages.journal import JournalFileBackend

from effnet_jax.errors import UserError

CONNECT_SECONDS = 6  # so that, imports included, an unreachable server is named within ten
OPEN_SECONDS, AGAIN_SECONDS = 4.0, 0.3  # for a connection that was dropped
PATIENT_SECONDS = 120.0  # for a server that starts up, or tables that another worker just makes
RESTARTING = "the database system is"  # "starting up", "shutting down", "in recovery mode"
RETRY_SECONDS, RETRIES = 5.0, 120  # a server that comes back within ten minutes has interrupted nothing
_LOST = (
    optuna.exceptions.StorageInternalError,
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
)
JOURNAL = "journal:"
_MOUNTS = pathlib.Path("/proc/mounts")
_NETWORK = (
    "nfs", "nfs4", "cifs", "smb3", "lustre", "ceph", "fuse.ceph-fuse", "fuse.glusterfs", "fuse.sshfs", "beegfs", "gpfs",
)  # fmt: skip
T = TypeVar("T")


def open_storage(url: str, workdir: pathlib.Path) -> optuna.storages.BaseStorage:
    """Opens, and on first use makes, the database.

    Args:
      url: as SQLAlchemy has it, or "journal:FILE", which is Optuna's journal, a file that is safe on NFS; empty for
        SQLite in `workdir`/study.db. SQLite relies on locks that network file systems do not keep: a line says so.
      workdir: the study's folder.

    Raises:
      UserError: there is no such kind of database, or it cannot be reached.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if url.startswith(JOURNAL):
        return _journal(pathlib.Path(url.removeprefix(JOURNAL)).expanduser())
    kind = network_file_system(workdir)
    if not url and kind:
        print(
            f"storage   SQLite is not safe for several workers on a network file system ({kind}): give "
            f"--storage=postgresql://host/name or --storage={JOURNAL}FILE, or a --workdir on a disk of this machine",
            flush=True,
        )
    url = url or f"sqlite:///{workdir / 'study.db'}"
    # The driver that SQLAlchemy takes for "postgresql" depends on its version.
    with_driver = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url)
    sqlite = url.startswith("sqlite")
    arguments = {"timeout": 60} if sqlite else {"connect_timeout": CONNECT_SECONDS}
    try:
        return _opened(with_driver, {"connect_args": arguments, "pool_pre_ping": True})
    except ImportError as error:
        raise UserError(
            f"the storage {_shown(url)} needs a driver that is not installed; PostgreSQL: pip install 'psycopg[binary]'"
        ) from error
    except sqlalchemy.exc.ArgumentError as error:
        raise UserError(f"--storage={url} is no database URL such as postgresql://user@host/name") from error
    except (sqlalchemy.exc.SQLAlchemyError, *_LOST) as error:
        raise UserError(
            f"the storage {_shown(url)} cannot be reached or used ({_first_line(error)}); start it or mend --storage"
        ) from error


def network_file_system(folder: pathlib.Path) -> str | None:
    """Returns the kind of the network file system that a folder is on, such as "nfs4"; None where it is on none."""
    try:
        mounts = [line.split()[1:3] for line in _MOUNTS.read_text().splitlines()]
    except OSError:
        return None
    around = [(len(place), kind) for place, kind in mounts if folder.resolve().is_relative_to(place)]
    kind = max(around, default=(0, ""))[1]
    return kind if kind in _NETWORK else None


def _journal(path: pathlib.Path) -> optuna.storages.JournalStorage:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    except OSError as error:
        raise UserError(f"the journal {path} cannot be written ({error.strerror}); mend --storage") from error


def _opened(url: str, engine_kwargs: dict[str, Any]) -> optuna.storages.RDBStorage:
    """Opens the storage, again while that may help.

    Of workers that start together each but one finds tables that were not there a moment ago; a server that
    restarts drops or refuses connections, and then says that it is starting. A file that cannot be opened stays so.
    """
    started = time.monotonic()
    while True:
        try:
            return optuna.storages.RDBStorage(url, engine_kwargs=engine_kwargs)
        except (sqlalchemy.exc.DBAPIError, *_LOST) as error:
            made_elsewhere = isinstance(error, sqlalchemy.exc.IntegrityError) or "already exists" in str(error)
            dropped = isinstance(error, _LOST) and not url.startswith("sqlite")
            under_way = made_elsewhere or RESTARTING in str(error.__cause__ or error)
            patience = PATIENT_SECONDS if under_way else OPEN_SECONDS
            if not (made_elsewhere or dropped) or time.monotonic() - started > patience:
                raise
        time.sleep(AGAIN_SECONDS)


def persistent(action: Callable[[], T]) -> T:
    """Returns what `action` returns; while the storage is away it is tried again.

    Raises:
      UserError: the storage did not come back.
    """
    for attempt in range(RETRIES):
        try:
            return action()
        except _LOST as error:
            if attempt == 0:
                print(f"storage   away ({_first_line(error)}); trying again every {RETRY_SECONDS:g} s", flush=True)
            last = error
        time.sleep(RETRY_SECONDS)
    raise UserError(
        f"the storage did not come back ({_first_line(last)}); the runs are safe, the same command goes on"
    ) from last


def _shown(url: str) -> str:
    """The URL without what stands before the host, which may be a password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _first_line(error: BaseException) -> str:
    return (str(error.__cause__ or error).strip() or type(error).__name__).splitlines()[0]
