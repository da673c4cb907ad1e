"""Any image classification dataset of TFDS by its name: "tfds:NAME", "tfds:NAME/CONFIG" or "tfds:NAME/CONFIG:VERSION".

What is known of it comes from what TFDS wrote beside the records. Its own splits are taken, as a folder's are: see
`splits.by_role`; one without labels, as some test splits are, is left out.
"""

import dataclasses
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

from effnet_jax.data.disk import cache, descriptions, files, records, shards
from effnet_jax.data.disk.descriptions import Prepared
from effnet_jax.data.sets import splits, tfds_sets
from effnet_jax.data.sets.registry import DatasetInfo
from effnet_jax.errors import UserError, did_you_mean

PREFIX = "tfds:"
RESIDENT_BYTES = 2**30  # larger ones stay on disk: they are held by the host and by each device

_NAME = re.compile(r"(?P<name>[A-Za-z]\w*)(/(?P<config>[\w.-]+))?(:(?P<version>\d+\.\d+\.\d+))?")
# Run in a process of its own, since TensorFlow would take memory from training, and without GPUs, which it would take.
_PREPARE = """
import sys
import tensorflow_datasets as tfds
name, data_dir, manual_dir = sys.argv[1:]
builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir or None))
"""


def is_tfds(name: str) -> bool:
    """Whether a dataset's name means any dataset of TFDS."""
    return name.startswith(PREFIX)


def find(name: str, data_dir: str, manual_dir: str) -> Prepared:
    """Returns the dataset as TFDS keeps it on disk, prepared by TFDS where it is missing and TensorFlow is there.

    Args:
      name: With the prefix; without a version the newest that is there, without a config the only one.
      data_dir, manual_dir: As in `datasets.load`.

    Returns:
      The dataset with its splits "train" and, where it has them, "validation" and "test".

    Raises:
      UserError: If the name is none of TFDS, the dataset is not there and cannot be prepared, has no training images,
        or is not one of images and classes.
    """
    match = _NAME.fullmatch(name.removeprefix(PREFIX))
    if match is None:
        raise UserError(f"{name} is no name of TFDS: write tfds:NAME, tfds:NAME/CONFIG or tfds:NAME/CONFIG:1.0.0")
    root = tfds_sets.data_root(data_dir)
    folder = _folder(root, **match.groupdict())
    if folder is None:
        if tfds_sets.is_mistyped(data_dir):
            raise UserError(f"dataset.data_dir={data_dir} does not exist: correct it, or make the folder first")
        _prepare(match["name"], match[0], root, manual_dir)
        folder = _folder(root, **match.groupdict())
        if folder is None:
            raise UserError(f"TFDS prepared {match[0]} but not in {root}: leave the version out, or choose another")
    prepared = descriptions.read(folder, match["name"])
    labelled = [split for split in prepared.shards if split == "train" or records.is_labelled(prepared, split)]
    roles = splits.by_role(labelled, str(folder))
    if "train" not in roles:
        raise UserError(f"{folder} has no split train but {', '.join(prepared.shards)}: choose another dataset")
    return dataclasses.replace(prepared, shards={role: prepared.shards[split] for role, split in roles.items()})


def streams(name: str, prepared: Prepared, streaming: bool | None) -> bool:
    """Whether the images stay on disk: unless they are small squares of one size, or `streaming` says so.

    Raises:
      UserError: If they are to be held decoded and cannot be.
    """
    height, width, _ = prepared.image_shape
    one_size = height is not None and height == width
    if streaming is False and not one_size:
        raise UserError(f"the images of {name} are not squares of one size: leave config.dataset.streaming unset")
    if streaming is not None:
        return streaming
    return not one_size or sum(prepared.num_records.values()) * height * width * 3 > RESIDENT_BYTES


def load(name: str, prepared: Prepared, cache_root: Path, held_out_fraction: float, validates: bool) -> splits.Dataset:
    """Loads a dataset that does not stream; arguments as in `datasets.load` and `splits.hold_out`.

    It is normalised as a folder is, by the statistics of its training images.

    Raises:
      UserError: If it is damaged, the cache cannot be written, or a split would lack a class.
    """
    from effnet_jax.data.sets import folder  # needs Pillow

    place = cache_root / f"{cache_name(name)}-{descriptions.fingerprint(prepared, cache.FORMAT)}"
    cached = cache.read_or_make(place, lambda: _decode(name, prepared), f"decoding {prepared.folder} again")
    mean, std = folder.statistics(cached.splits["train"][0])
    present = {split: splits.Split(*arrays) for split, arrays in cached.splits.items()}
    held_out = splits.hold_out(name, present, len(cached.class_names), held_out_fraction, validates)
    facts = DatasetInfo(
        name=name,
        num_classes=len(cached.class_names),
        image_size=prepared.image_shape[:2],
        split_sizes={"train": len(present["train"].labels), "test": len(held_out["test"].labels)},
        mean=mean,
        std=std,
    )
    return splits.Dataset(facts, cached.class_names, held_out)


def cache_name(name: str) -> str:
    """Returns the name of a dataset as that of a folder begins."""
    return re.sub(r"[^\w.]+", "-", name)


def _decode(name: str, prepared: Prepared) -> cache.Cached:
    """Decodes every split; train is put in the order from which any held-out part is a prefix."""
    sizes = prepared.num_records
    with files.Progress(f"decoding {name}, once", sum(sizes.values()), "images") as progress:
        decoded = {split: records.decode(prepared, split, prepared.image_shape[:2], progress) for split in sizes}
    images, labels = decoded["train"]
    order = splits.stratified_order(labels)
    decoded["train"] = (images[order], labels[order])
    return cache.Cached(prepared.class_names, decoded, str(prepared.folder))


def _folder(root: Path, name: str, config: str | None, version: str | None) -> Path | None:
    """Returns the folder of a dataset that is prepared, or None."""
    base = root / name / config if config else root / name
    if config is None and not descriptions.versions(base) and base.is_dir():
        configs = sorted(path.name for path in base.iterdir() if descriptions.versions(path))
        if len(configs) > 1:
            raise UserError(f"{base} holds {', '.join(configs)}: choose one as tfds:{name}/{configs[0]}")
        base = base / configs[0] if configs else base
    there = descriptions.versions(base)
    if version is None:
        return base / there[0] if there else None
    return base / version if version in there else None


def _prepare(name: str, full_name: str, root: Path, manual_dir: str) -> None:
    """Lets TFDS prepare a dataset, in a process of its own.

    Raises:
      UserError: If TFDS does not know it, TensorFlow is missing, or it fails.
    """
    import tensorflow_datasets as tfds

    known = tfds.list_builders(with_community_datasets=False)
    if name not in known:
        raise UserError(
            f"{full_name} is not in {root}, and TFDS knows no dataset {name!r}{did_you_mean(name, known)}: correct the "
            "name, or set dataset.data_dir to the folder in which you prepared it"
        )
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(
            f"{full_name} is not in {root}, and TFDS needs TensorFlow to prepare it, which is not installed: run "
            f"python -c \"import tensorflow_datasets as tfds; tfds.builder('{full_name}', data_dir='{root}', "
            "file_format='array_record').download_and_prepare()\" where it is, and copy the folder here if that is "
            "another machine"
        )
    command = [sys.executable, "-c", _PREPARE, full_name, str(root), manual_dir]
    with files.disk_errors(root, shards.WAY_OUT), shards.preparing(root / name):
        files.say(f"preparing {full_name} in {root} by TFDS, once ...")
        # stdout belongs to results
        done = subprocess.run(command, stdout=sys.stderr.fileno(), env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    if done.returncode:
        raise UserError(
            f"TFDS could not prepare {full_name}, for the reason that it gave above: mend it and start again"
        )
