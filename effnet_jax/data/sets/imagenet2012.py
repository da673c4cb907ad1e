"""ImageNet as its users download it: ILSVRC2012_img_train.tar, an archive of an archive a class, and ..._val.tar."""

import dataclasses
import functools
import importlib.resources
import tarfile
from collections.abc import Iterator
from pathlib import Path

from effnet_jax.data.disk import shards
from effnet_jax.data.sets import registry
from effnet_jax.errors import UserError

TRAIN, VALIDATION = ARCHIVES = ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar")
# WordNet ids in the order of the labels, and those of the validation images in the order of their names.
_CLASSES, _VALIDATION_CLASSES = "labels.txt", "validation_labels.txt"


def make(data_dir: Path, manual_dir: str) -> None:
    """Writes `<data_dir>/imagenet2012/5.1.0/` from the user's archives.

    Args:
      data_dir: Made where it is missing.
      manual_dir: Folder with both archives under their own names.

    Raises:
      UserError: If they are not there or damaged, or `data_dir` cannot be written or has no room. Nothing that looks
        whole is left then, and the next call goes on from what is.
    """
    folder = Path(manual_dir).expanduser() if manual_dir else None
    missing = [name for name in ARCHIVES if folder is None or not (folder / name).is_file()]
    if missing:
        where = f"{folder} lacks {' and '.join(missing)}" if folder else "dataset.manual_dir is not set"
        raise UserError(
            f"imagenet2012 is not in {data_dir} and only you can download it ({where}): register at "
            f"https://image-net.org/download-images, put {TRAIN} and {VALIDATION} (no other file is needed) "
            "into a folder and set dataset.manual_dir, or --manual_dir of scripts/prepare_data.py, to it"
        )
    shards.import_tfds("imagenet2012")
    shards.write(_Packed.open(folder), data_dir)


@dataclasses.dataclass(frozen=True)
class _Packed:
    """Both archives; see `shards.Collection`."""

    origin: Path
    class_names: tuple[str, ...]
    validation_classes: tuple[str, ...]
    num_bytes: int
    fingerprint: str
    name = "imagenet2012"
    version = "5.1.0"
    id_feature = "file_name"

    @classmethod
    def open(cls, folder: Path) -> "_Packed":
        num_bytes = sum((folder / name).stat().st_size for name in ARCHIVES)
        return cls(folder, _lines(_CLASSES), _lines(_VALIDATION_CLASSES), num_bytes, f"{folder} {num_bytes}")

    @property
    def sizes(self) -> dict[str, int]:
        """The official ones: to count would be to seek through all archives."""
        sizes = registry.info(self.name).split_sizes
        return {"train": sizes["train"], "validation": sizes["test"]}

    def photographs(self) -> Iterator[shards.Photograph]:
        labels = {name: label for label, name in enumerate(self.class_names)}
        with shards.reading(self.origin / TRAIN), tarfile.open(self.origin / TRAIN, "r:") as tar:
            for archive in tar:
                label = labels[archive.name.removesuffix(".tar")]
                with tarfile.open(fileobj=tar.extractfile(archive), mode="r:") as class_tar:
                    for member in class_tar:
                        read = functools.partial(self._read, class_tar, member)
                        yield shards.Photograph("train", member.name, label, read)
        with shards.reading(self.origin / VALIDATION), tarfile.open(self.origin / VALIDATION, "r:") as tar:
            for member in tar:
                # ILSVRC2012_val_00000001.JPEG, ..._00050000.JPEG
                number = int(member.name.removesuffix(".JPEG").rpartition("_")[2])
                label = labels[self.validation_classes[number - 1]]
                yield shards.Photograph("validation", member.name, label, functools.partial(self._read, tar, member))

    def _read(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
        with shards.reading(self.origin):
            return tar.extractfile(member).read()


def _lines(file_name: str) -> tuple[str, ...]:
    """Reads a list that ships with TFDS."""
    folder = importlib.resources.files("tensorflow_datasets") / "datasets" / "imagenet2012"
    return tuple((folder / file_name).read_text().split())
