"""Records: the small files of a finished run, kept in the repository, that stand for the run on any machine."""

import json
import pathlib
import shlex
import shutil

import ml_collections

from effnet_jax import config as config_lib
from effnet_jax.process.atomic import write_json

RESULTS = "results.json"
FILES = ("config.json", "metrics.jsonl", RESULTS)
# Where a run lay is no part of its record.
_PLACES = ("workdir", "records", "storage", *config_lib.LOCATION_KEYS)


def find(record: pathlib.Path, config: ml_collections.ConfigDict) -> pathlib.Path | None:
    """Returns the folder with the record of that run, if there is one.

    That is `record`, or one of any name in another study's `<study>/runs` beside it: studies may share a run.
    """
    if _is_of(record, config):
        return record
    others = sorted(record.absolute().parents[2].glob(f"*/{record.parent.name}/*/{RESULTS}"))
    return next((results.parent for results in others if _is_of(results.parent, config)), None)


def _is_of(record: pathlib.Path, config: ml_collections.ConfigDict) -> bool:
    return (record / RESULTS).exists() and not config_lib.changed_keys(config_lib.read(record / "config.json"), config)


def take(record: pathlib.Path, config: ml_collections.ConfigDict, folder: pathlib.Path) -> list[str]:
    """Makes `folder` that of a finished run, as the record says, unless a run is there already.

    Args:
      record: folder of the record, which need not be there; see `find`.
      config: of the run that is wanted.
      folder: of that run.

    Returns:
      "key: old -> new" for what differs where the record is of another config; such a record is not taken.
    """
    if (folder / "config.json").exists():
        return []
    if found := find(record, config):
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:  # the results last: they are what says that the run is finished
            shutil.copyfile(found / name, folder / name)
    elif (record / RESULTS).exists():
        return config_lib.changed_keys(config_lib.read(record / "config.json"), config)
    return []


def not_taken(record: pathlib.Path, changed: list[str]) -> str:
    """Returns a line about a record that `take` left alone, and what differs."""
    return f"records   {record} is of another config, not taken: {'; '.join(changed[:3])}"


def keep(folder: pathlib.Path, record: pathlib.Path) -> bool:
    """Writes the record of the finished run in `folder`; one that is there is left as it is.

    Returns:
      Whether it was written.
    """
    if record.exists():
        return False
    partial = record.with_name(record.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(folder / name, partial / name)
    results = json.loads((partial / RESULTS).read_text())
    write_json(partial / RESULTS, results | {"command": without_places(results["command"])})
    partial.rename(record)
    return True


def without_places(command: str) -> str:
    """Returns a command line without the options that say where things lie."""
    kept, skip = [], False
    for word in shlex.split(command):
        option, equals, _ = word.lstrip("-").partition("=")
        if skip:
            skip = False
        elif word.startswith("--") and option.removeprefix("config.").removeprefix("train.") in _PLACES:
            skip = not equals  # then its value is the next word
        else:
            kept.append(word)
    return shlex.join(kept)
