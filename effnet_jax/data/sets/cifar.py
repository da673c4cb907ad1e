"""Makes TFDS datasets of CIFAR-10 and CIFAR-100 from the original archives, without TensorFlow.

TFDS's own builders need TensorFlow to open the archive. Those here differ only in that: features, version,
keys and layout are TFDS's, and `tfds.builder(name, data_dir=...)` reads the result.
"""

import contextlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from effnet_jax.data.disk import download, files, shards
from effnet_jax.data.sets import cifar_archives

# Room for the archive, and for the ArrayRecord files made from it: each is below 200 MiB.
_ROOM_BYTES = 200 * 2**20


def prepare(name: str, data_dir: Path, manual_dir: str) -> None:
    """Writes `<data_dir>/<name>/<version>/` from the user's archive, or from a downloaded one.

    Args:
      name: "cifar10" or "cifar100".
      data_dir: Made where it is missing. A downloaded archive stays in its folder "downloads".
      manual_dir: Folder with an original archive, see `cifar_archives.manual`; empty to download.

    Raises:
      UserError: If the archive is not there or damaged, the network does not answer, `data_dir` cannot be
        written or has no room, or TFDS is not installed. Nothing that looks whole is left then.
    """
    shards.import_tfds(name)  # before a long download
    if manual_dir:
        copy = cifar_archives.manual(name, Path(manual_dir).expanduser().absolute())
    files.make_room(data_dir, _ROOM_BYTES if manual_dir else 2 * _ROOM_BYTES, shards.WAY_OUT)
    with files.disk_errors(data_dir, shards.WAY_OUT):
        if not manual_dir:
            archive = cifar_archives.BINARY[name]
            copy = cifar_archives.Copy(archive, download.downloaded(name, archive, data_dir))
        _build(name, copy.read(), data_dir)


def _build(name: str, content: cifar_archives.Content, data_dir: Path) -> None:
    """Runs TFDS's machinery over the images, where no other process has done so in the meantime."""
    tfds = shards.import_tfds(name)
    from tensorflow_datasets.image_classification import cifar

    parent = {"cifar10": cifar.Cifar10, "cifar100": cifar.Cifar100}[name]
    features, records = tuple(content.class_names), content.records
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
            for feature, names in content.class_names.items():
                self.info.features[feature].names = names
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
        with shards.preparing(data_dir / name):
            builder.download_and_prepare(
                download_dir=unused, download_config=tfds.download.DownloadConfig(try_download_gcs=False)
            )


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
