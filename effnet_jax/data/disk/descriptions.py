"""What TFDS writes beside the records of a dataset: its features, class names, splits and files."""

import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from effnet_jax.errors import UserError

FORMATS = ("array_record", "tfrecord")

_SAMPLE_BYTES = 2**16
_FILE_NAMES = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A dataset as TFDS left it on disk.

    Attributes:
      folder: `<data_dir>/<name>/<version>`, or `<data_dir>/<name>/<config>/<version>`.
      record_format: One of `FORMATS`.
      shards: For each split, the files with the number of records that dataset_info.json states.
      class_names: By label; the numbers themselves where TFDS knows no names.
      image_feature, label_feature: What the records call an image and its label.
      image_shape: Height, width and channels; None where each image has its own.
    """

    folder: Path
    record_format: str
    shards: dict[str, tuple[tuple[Path, int], ...]]
    class_names: tuple[str, ...]
    image_feature: str
    label_feature: str
    image_shape: tuple[int | None, ...]

    @property
    def num_records(self) -> dict[str, int]:
        """Records by split, as stated."""
        return {split: sum(count for _, count in shards) for split, shards in self.shards.items()}


def versions(folder: Path) -> list[str]:
    """Returns the versions of a dataset that TFDS finished in `<data_dir>/<name>`, the newest first."""
    found = [
        path.parent.name
        for path in folder.glob("*/dataset_info.json")
        if re.fullmatch(r"\d+\.\d+\.\d+", path.parent.name)  # not TFDS's folders of half-made datasets
    ]
    return sorted(found, key=lambda version: tuple(map(int, version.split("."))), reverse=True)


def find(name: str, data_dir: Path, num_classes: int, test_split: str = "test") -> Prepared | None:
    """Returns what TFDS prepared of dataset `name` under `data_dir`: its newest version, or None.

    Its split `test_split` is called "test" here, and others than that and "train" are left out.

    Raises:
      UserError: If it is there but cannot be used, see `read`, or the classes are not `num_classes`.
    """
    found = versions(data_dir / name)
    if not found:
        return None
    prepared = read(data_dir / name / found[0], name)
    folder = prepared.folder
    if len(prepared.class_names) != num_classes:
        raise UserError(
            f"{folder} has {len(prepared.class_names)} classes where {name} has {num_classes}: {mend(folder)}"
        )
    if not {"train", test_split} <= prepared.shards.keys():
        raise UserError(f"{folder} lacks the split train or {test_split}: {mend(folder)}")
    shards = {"train": prepared.shards["train"], "test": prepared.shards[test_split]}
    return dataclasses.replace(prepared, shards=shards)


def read(folder: Path, name: str) -> Prepared:
    """Reads the description of an image classification dataset, with all splits as TFDS calls them.

    Args:
      folder: With features.json and dataset_info.json.
      name: What TFDS calls the dataset, without a config.

    Raises:
      UserError: If a file is missing or unreadable, the format is not one of `FORMATS`, or it is no dataset of one
        image and one label an example.
    """
    try:
        stated = json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))
        features = json.loads((folder / "features.json").read_text(encoding="utf-8"))["featuresDict"]["features"]
        # The format is written since TFDS 4.2; before, there was only TFRecord.
        record_format = stated.get("fileFormat", "tfrecord")
        shards = {split["name"]: _shards(folder, name, split, record_format) for split in stated["splits"]}
        image_feature, label_feature = _image_and_label(stated, features, folder)
        num_classes = int(features[label_feature]["classLabel"]["numClasses"])
        image_shape = _image_shape(features[image_feature]["image"], folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder} holds no readable TFDS dataset ({error!r}): {mend(folder)}") from error
    if record_format not in FORMATS:
        raise UserError(
            f"{folder} is in TFDS's format {record_format!r}, which cannot be read here: "
            "prepare it again with file_format='array_record'"
        )
    names_file = folder / f"{label_feature}.labels.txt"
    names = list(map(str, range(num_classes)))
    if names_file.is_file():
        names = [line.strip() for line in names_file.read_text(encoding="utf-8").splitlines() if line.strip()]
    if len(names) != num_classes:
        raise UserError(f"{names_file} names {len(names)} classes of {num_classes}: {mend(folder)}")
    return Prepared(folder, record_format, shards, tuple(names), image_feature, label_feature, image_shape)


def fingerprint(prepared: Prepared, salt: int) -> str:
    """Returns 16 hexadecimal digits that change when the dataset does, without reading all of it.

    Hashes TFDS's descriptions of it, and of each shard its size and its first and last 64 KiB.

    Args:
      prepared: From `find` or `read`.
      salt: Anything else that what is derived from the dataset depends on.

    Raises:
      UserError: If a shard is missing.
    """
    digest = hashlib.sha256(str(salt).encode())
    for file_name in ("dataset_info.json", "features.json"):
        digest.update((prepared.folder / file_name).read_bytes())
    digest.update("\n".join(prepared.class_names).encode())
    for shards in prepared.shards.values():
        for path, _ in shards:
            if not path.is_file():
                raise UserError(f"{path} is missing: {mend(prepared.folder)}")
            size = path.stat().st_size
            digest.update(str(size).encode())
            with open(path, "rb") as file:
                digest.update(file.read(_SAMPLE_BYTES))
                file.seek(max(size - _SAMPLE_BYTES, 0))
                digest.update(file.read())
    return digest.hexdigest()[:16]


def mend(folder: Path) -> str:
    """Returns what to do about a damaged dataset; ends a sentence."""
    return f"delete {folder} to have it prepared again, or set dataset.data_dir to another folder"


def _shards(folder: Path, name: str, split: dict[str, Any], record_format: str) -> tuple[tuple[Path, int], ...]:
    template, lengths = split.get("filepathTemplate", _FILE_NAMES), split["shardLengths"]
    return tuple(
        (
            folder
            / template.format(
                DATASET=name,
                SPLIT=split["name"],
                FILEFORMAT=record_format,
                SHARD_X_OF_Y=f"{index:05d}-of-{len(lengths):05d}",
            ),
            int(length),
        )
        for index, length in enumerate(lengths)
    )


def _image_and_label(stated: dict[str, Any], features: dict[str, Any], folder: Path) -> tuple[str, str]:
    """Returns the names of both: those that TFDS gives for supervised learning, else the only ones of their kind."""
    items = stated.get("supervisedKeys", {}).get("tuple", {}).get("items", [])
    keys = tuple(item.get("featureKey") for item in items)
    if len(keys) == 2 and "image" in features.get(keys[0], {}) and "classLabel" in features.get(keys[1], {}):
        return keys
    images, labels = ([key for key, value in features.items() if kind in value] for kind in ("image", "classLabel"))
    if len(images) != 1 or len(labels) != 1:
        raise UserError(
            f"{folder} is no dataset of one image and one class an example (it has {', '.join(sorted(features))}): "
            "choose another, or write its images into a folder a class and use folder:PATH"
        )
    return images[0], labels[0]


def _image_shape(image: dict[str, Any], folder: Path) -> tuple[int | None, ...]:
    sizes = [int(size) for size in image["shape"]["dimensions"]]
    if image.get("dtype", "uint8") != "uint8" or len(sizes) != 3 or sizes[2] not in (1, 3):
        raise UserError(
            f"the images of {folder} are of shape {sizes} and type {image.get('dtype')}; what can be read are images "
            "of 8 bits in 1 or 3 channels: choose another dataset"
        )
    return tuple(size if size > 0 else None for size in sizes)
