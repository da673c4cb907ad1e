"""Makes TFDS datasets of CIFAR-10 and CIFAR-100 from the original archives, without TensorFlow.

TFDS's own builders need TensorFlow to open the archive. Those here differ only in that: features, version,
keys and layout are TFDS's, and `tfds.builder(name, data_dir=...)` reads the result.
"""

import contextlib
import dataclasses
import io
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from effnet_jax.data.disk import download, files, shards

# Room for the archive, and for the ArrayRecord files made from it: each is below 200 MiB.
_ROOM_BYTES = 200 * 2**20
_CIFAR_URL = "https://www.cs.toronto.edu/~kriz/"


@dataclasses.dataclass(frozen=True)
class Archive(download.Download):
    """An original archive of the CIFAR family: the "binary version", which holds no pickles.

    Attributes:
      url, sha256: See `Download`.
      folder: Top folder inside the archive.
      split_files: Image files by split, in order. A record is one byte per entry of `label_files`, then
        3072 bytes of red, green and blue planes of 32x32.
      label_files: Files with one class name a line, by feature, in the order of the bytes in a record.
    """

    folder: str
    split_files: dict[str, tuple[str, ...]]
    label_files: dict[str, str]


ARCHIVES = {
    "cifar10": Archive(
        url=_CIFAR_URL + "cifar-10-binary.tar.gz",
        sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        folder="cifar-10-batches-bin",
        split_files={
            "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
            "test": ("test_batch.bin",),
        },
        label_files={"label": "batches.meta.txt"},
    ),
    "cifar100": Archive(
        url=_CIFAR_URL + "cifar-100-binary.tar.gz",
        sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        folder="cifar-100-binary",
        split_files={"train": ("train.bin",), "test": ("test.bin",)},
        label_files={"coarse_label": "coarse_label_names.txt", "label": "fine_label_names.txt"},
    ),
}


def prepare(name: str, data_dir: Path, manual_dir: str) -> None:
    """Writes `<data_dir>/<name>/<version>/` from the user's archive, or from a downloaded one.

    Args:
      name: A key of `ARCHIVES`.
      data_dir: Made where it is missing. A downloaded archive stays in its folder "downloads".
      manual_dir: Folder with the original archive under its original name; empty to download.

    Raises:
      UserError: If the archive is not there or damaged, the network does not answer, `data_dir` cannot be
        written or has no room, or TFDS is not installed. Nothing that looks whole is left then.
    """
    archive = ARCHIVES[name]
    shards.import_tfds(name)  # before a long download
    if manual_dir:
        path = download.manual(archive, Path(manual_dir).expanduser())
    files.make_room(data_dir, _ROOM_BYTES if manual_dir else 2 * _ROOM_BYTES, shards.WAY_OUT)
    with files.disk_errors(data_dir, shards.WAY_OUT):
        if not manual_dir:
            path = download.downloaded(name, archive, data_dir)
        _build(name, archive, path, data_dir)


def _build(name: str, archive: Archive, path: Path, data_dir: Path) -> None:
    """Runs TFDS's machinery over the archive; another process that finishes first is as good as this one."""
    tfds = shards.import_tfds(name)
    from tensorflow_datasets.image_classification import cifar

    parent = {"cifar10": cifar.Cifar10, "cifar100": cifar.Cifar100}[name]
    features = tuple(archive.label_files)
    members = _read_members(archive, path)
    records = {}
    for split, file_names in archive.split_files.items():
        content = b"".join(members[file_name] for file_name in file_names)
        records[split] = np.frombuffer(content, np.uint8).reshape(-1, len(features) + 3 * 32 * 32)
    num_images = sum(map(len, records.values()))
    progress = files.Progress(f"preparing {name} in {data_dir}, once", num_images, "images")

    # Not registered: the class that TFDS knows by this name stays its own.
    class Builder(parent, skip_registration=True):
        def _info(self):
            info = super()._info()
            # TFDS would look on its server for what is known of this data set, and leave an empty temporary folder.
            info.initialize_from_bucket = lambda: None
            return info

        def _split_generators(self, dl_manager):
            for feature, file_name in archive.label_files.items():
                self.info.features[feature].names = members[file_name].decode().split()
            return {split: _examples(split, records[split], features, progress) for split in records}

    Builder.name = name
    tfds.disable_progress_bar()
    # TFDS reports on stdout, which belongs to results, and wants a folder for downloads although it has none.
    with (
        contextlib.redirect_stdout(io.StringIO()),
        tempfile.TemporaryDirectory() as unused,
        progress,
        files.array_record_errors(),
    ):
        builder = Builder(data_dir=data_dir, file_format="array_record")
        try:
            builder.download_and_prepare(
                download_dir=unused, download_config=tfds.download.DownloadConfig(try_download_gcs=False)
            )
        except OSError:
            if not (Path(builder.data_path) / "dataset_info.json").is_file():
                raise


def _read_members(archive: Archive, path: Path) -> dict[str, bytes]:
    """Returns the files of the archive by their names without its top folder."""
    with tarfile.open(path, "r:gz") as tar:
        return {
            member.name.removeprefix(archive.folder + "/"): tar.extractfile(member).read()
            for member in tar
            if member.isfile()
        }


def _examples(
    split: str, records: np.ndarray, label_features: tuple[str, ...], progress: files.Progress
) -> Iterator[tuple[int, dict]]:
    """Yields the rows of `records` (uint8 [N, labels + 3072]) with the keys and ids that TFDS gives them.

    Images are given as PNG bytes, since TFDS encodes arrays with TensorFlow.
    """
    from PIL import Image

    for index, record in enumerate(records):
        labels, pixels = np.split(record, [len(label_features)])
        image = io.BytesIO()
        Image.fromarray(pixels.reshape(3, 32, 32).transpose(1, 2, 0)).save(image, format="PNG")
        example = dict(zip(label_features, labels.tolist()))
        yield index, example | {"id": f"{split}_{index:05d}", "image": image.getvalue()}
        progress.advance(1)
