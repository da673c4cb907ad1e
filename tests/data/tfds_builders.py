"""Small datasets made by TFDS's own builder, as its users have them, without TensorFlow."""

import contextlib
import io
import pathlib

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tensorboardX.record_writer import RecordWriter
from tensorflow_datasets.core import file_adapters

CLASS_NAMES = ("pink primrose", "globe thistle", "iris")


def pixels(split: str, index: int, shape: tuple[int | None, int | None, int]) -> np.ndarray:
    """Returns an image uint8 [H, W, C] that says which it is; where a side is not given, one of 24 to 40."""
    rng = np.random.default_rng([len(split), index])
    height, width = (side or int(rng.integers(24, 41)) for side in shape[:2])
    return rng.integers(0, 256, (height, width, shape[2]), dtype=np.uint8)


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(buffer, "PNG")
    return buffer.getvalue()


def make(
    data_dir: pathlib.Path,
    sizes: dict[str, int],
    *,
    shape: tuple[int | None, int | None, int] = (8, 8, 3),
    name: str = "tiny_flowers",
    config: str | None = None,
    version: str = "1.2.0",
    file_format: str = "array_record",
    keys: tuple[str, str] = ("image", "label"),
    supervised: bool = True,
    labels: dict[str, int] | None = None,
    more: dict | None = None,
    num_shards: int = 1,
) -> pathlib.Path:
    """Lets TFDS prepare a dataset; returns its folder.

    Args:
      data_dir: Of TFDS.
      sizes: Images by split; the label of an image is its index modulo the classes.
      shape: Of the images, None for sides that differ.
      name, config, version: Of the dataset.
      file_format: "array_record" or "tfrecord".
      keys: Names of the features.
      supervised: Whether TFDS is told which of them are input and label.
      labels: Splits whose labels are all the same.
      more: Further features of every example, with their values.
      num_shards: Files of each split.
    """
    image_key, label_key = keys
    features = {
        image_key: tfds.features.Image(shape=shape),
        label_key: tfds.features.ClassLabel(names=CLASS_NAMES),
        **{key: feature for key, (feature, _) in (more or {}).items()},
    }

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(version)
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config)] if config else []

        def _info(self):
            info = tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                supervised_keys=keys if supervised else None,
            )
            info.initialize_from_bucket = lambda: None  # as in data/sets/cifar.py
            return info

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(split, count) for split, count in sizes.items()}

        def _generate_examples(self, split, count):
            for index in range(count):
                label = (labels or {}).get(split, index % len(CLASS_NAMES))
                values = {key: value for key, (_, value) in (more or {}).items()}
                yield index, {image_key: png(pixels(split, index, shape)), label_key: label, **values}

    Builder.name = name
    tfds.disable_progress_bar()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setattr(file_adapters.TfRecordFileAdapter, "write_examples", classmethod(write_tfrecord))
        builder = Builder(data_dir=data_dir, file_format=file_format, **({"config": config} if config else {}))
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(try_download_gcs=False, num_shards=num_shards)
        )
    return pathlib.Path(builder.data_path)


def write_tfrecord(cls, path, iterator) -> None:
    """What TFDS does with TensorFlow, by the writer of tensorboardX."""
    writer = RecordWriter(str(path))
    for _, record in iterator:
        writer.write(record)
    writer.close()
