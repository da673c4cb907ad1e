"""What a program takes: itself in a few words, and the options that several of them share.

The help of an option begins with the name of its value, which is its unit where it has one: "PIXELS: Side of the
images." `page` sets the two apart.
"""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from effnet_jax import config_files
from effnet_jax.cli import exits
from effnet_jax.errors import UserError
from effnet_jax.process import cluster

flags.disclaim_key_flags()  # what is defined here belongs to the program that asks for it

CONFIG = "config"
CHECKPOINT = (
    "CHECKPOINT: A run's workdir, its checkpoints folder, one step of it, a file of export_weights --to effnet_jax, or "
    "the name of a model that comes with the package or, timm/MODEL.TAG, of weights on the Hugging Face Hub."
)
ANOTHER_DATA_DIR = "FOLDER: Prepared TFDS data. Default: as in the run's config."
WHICH_WEIGHTS = "Which weights; selected: whichever did better on validation, raw or their moving averages (ema)."


@dataclasses.dataclass(frozen=True)
class Program:
    """What a program takes, told at the end of its module; the module's docstring says what it does.

    Attributes:
      main: is given the arguments that are no options, and returns an exit code, or None for 0.
      needed: options that must be given.
      first: the one of them that may also be the first argument.
      rest: the arguments it takes beside options, as its help shows them.
      config: name of the config that `--config` means where it is not given.
    """

    main: Callable[[list[str]], int | None]
    needed: tuple[flags.FlagHolder, ...] = ()
    first: flags.FlagHolder | None = None
    rest: str = ""
    config: str = ""


def checkpoint(several: bool = False, needed: bool = True) -> flags.FlagHolder:
    """Defines `--checkpoint`; `several` lets it be repeated."""
    if several:
        return flags.DEFINE_multi_string("checkpoint", None, f"{CHECKPOINT.rstrip('.')}; several are compared.")
    return flags.DEFINE_string("checkpoint", None, CHECKPOINT if needed else f"{CHECKPOINT} Default: none.")


def weights() -> flags.FlagHolder:
    """Defines `--weights`."""
    return flags.DEFINE_enum("weights", "selected", ["selected", "raw", "ema"], WHICH_WEIGHTS)


def data_dir() -> flags.FlagHolder:
    """Defines `--data_dir` of programs that read a checkpoint, whose config says where its data lie."""
    return flags.DEFINE_string("data_dir", None, ANOTHER_DATA_DIR)


def config(what: str, default: str = "") -> flags.FlagHolder:
    """Defines `--config`, and `--config.KEY=VALUE` for every key of it.

    Args:
      what: the file says, such as "What to train".
      default: what stands in for it where it is not given; empty where it is needed or the program names a config.
    """
    config_files.make_importable()
    text = f"CONFIG: {what}: a config file, or the name of one in configs/."
    return config_flags.DEFINE_config_file(CONFIG, None, f"{text} Default: {default}." if default else text)


def loaded(flag: flags.FlagHolder) -> ml_collections.ConfigDict:
    """Returns the config of a `--config` flag.

    Raises:
      UserError: the file cannot be read.
    """
    try:
        flag.value.keys()
    except OSError as error:  # ml_collections keeps the error of loading until the first use
        raise UserError(f"the config file cannot be loaded: {error.__cause__ or error}") from error
    return flag.value


def workdir(flag: flags.FlagHolder, config: flags.FlagHolder) -> pathlib.Path:
    """Returns the folder of a run or a study: what its flag says, else runs/<name of the config file>."""
    return pathlib.Path(flag.value or f"runs/{_stem(config)}")


def _stem(config: flags.FlagHolder) -> str:
    file, _, argument = flags.FLAGS[config.name].config_filename.partition(":")
    return "_".join(filter(None, (pathlib.Path(file).stem, argument)))


class StudyFlags:
    """The flags of a program that works on a study, made where it defines its flags; `config` is its `--config`."""

    def __init__(self, config: flags.FlagHolder) -> None:
        self._config = config
        self._workdir = flags.DEFINE_string(
            "workdir", None, "FOLDER: Folder of the study. Default: runs/<name of the config>."
        )
        self._storage = flags.DEFINE_string(
            "storage",
            "",
            "URL: Of an Optuna storage: postgresql://host/name, or journal:FILE. Default: SQLite in the workdir.",
        )
        self._records = flags.DEFINE_string(
            "records",
            None,
            "FOLDER: Records of finished runs. Default: results/<name of the config>/runs; empty: none.",
        )
        self._retry = flags.DEFINE_bool("retry_failed", False, "Try again what failed in earlier starts.")

    @property
    def workdir(self) -> pathlib.Path:
        """The folder of the study."""
        return workdir(self._workdir, self._config)

    @property
    def options(self) -> dict[str, Any]:
        """What `search.grid_search.search` and `study.scaling_study.run` take beside config and folder."""
        records = self._records.value
        if records is None:
            records = pathlib.Path("results") / _stem(self._config) / "runs"
        return {
            "storage_url": self._storage.value,
            "records": pathlib.Path(records) if records else None,
            "retry_failed": self._retry.value,
        }


class ClusterFlags:
    """The flags by which a process joins others; made where a program defines its flags."""

    def __init__(self) -> None:
        self._distributed = flags.DEFINE_bool(
            "distributed",
            None,
            "One of several processes, which JAX finds by itself on SLURM, Open MPI, Kubernetes and TPU pods. Default: "
            "on where srun, mpirun or Kubernetes with TPUs has started several.",
        )
        self._address = flags.DEFINE_string(
            "coordinator_address", None, "HOST:PORT: Where process 0 listens. Default: one process alone."
        )
        self._num_processes = flags.DEFINE_integer(
            "num_processes", None, "N: How many processes there are. Default: as --distributed finds them."
        )
        self._process_id = flags.DEFINE_integer(
            "process_id", None, "N: Which of them this is, from 0. Default: as --distributed finds it."
        )
        self._seconds = flags.DEFINE_float("join_seconds", 300, "SECONDS: How long to wait for the others.", 0)

    @contextlib.contextmanager
    def joined(self) -> Iterator[None]:
        """A block in which this process is one of several, where the flags or a cluster say so; see `distributed`.

        What a user can mend, also in another of the processes, ends this one at once.
        """
        by_hand = (self._address.value, self._num_processes.value, self._process_id.value)
        if by_hand == (None, None, None) and not self._is_wanted():
            yield
            return
        from effnet_jax.process import distributed

        try:
            distributed.join(*by_hand, self._seconds.value)
        except UserError as error:
            exits.end(str(error))
        with distributed.failing_together(exits.end):
            yield

    def _is_wanted(self) -> bool:
        if self._distributed.value is None:
            return cluster.find(os.environ) is not None
        return self._distributed.value


def refuse(arguments: list[str]) -> None:
    """Raises a `UserError` where a program that takes options alone was given something else."""
    if arguments:
        raise UserError(f"unexpected argument {arguments[0]!r}; options are given as --name=value")
