"""How many photographs a core turns into training crops, beside other loaders on the same files and crops."""

import dataclasses
import importlib.metadata
import importlib.util
import io
import itertools
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from effnet_jax.benchmark.case import OURS
from effnet_jax.data.decode import crops, image_files
from effnet_jax.data.decode import decoded as decoded_images
from effnet_jax.data.decode.encoded import EncodedSplit, FileStore, Reading

CACHED = f"{OURS}, decoded cache"
BATCH_SIZE = 32
# As many examples as Grain shuffles without effort: its cipher of so many bits searches in vain in a shorter list.
LIST_LENGTH = 2**16
CROPS_AN_IMAGE = 16  # that the others are given, drawn by our rule
CROP = crops.RandomCrop((0.08, 1.0), (3 / 4, 4 / 3))
OUR_PACKAGES = ("pillow", "simplejpeg", "grain")
PEERS = {"torchvision": "torchvision", "tf.data": "tensorflow"}  # and the package of each


@dataclasses.dataclass(frozen=True)
class Row:
    """One loader; without figures where it is not installed.

    Attributes:
      implementation: its name.
      rates: images/s of one core, by round.
      ours_is_faster_by: median over the rounds.
      cached_is_faster_by: the same for ours from its decoded cache.
    """

    implementation: str
    rates: tuple[float, ...]
    ours_is_faster_by: float | None
    cached_is_faster_by: float | None


def measure(folder: str | None, side: int, rounds: int, round_seconds: float) -> dict[str, Any]:
    """Times loaders in turns, all on one and the same core.

    Args:
      folder: of photographs; None for the two that come with scikit-learn.
      side: of the crops, in pixels.
      rounds: turns of each loader.
      round_seconds: length of a turn, about.

    Returns:
      "source": the folder's name; "images": number of files; "pixels": their mean width times height; "side";
      "versions" of packages; "rows" as dictionaries of `Row`.

    Raises:
      UserError: there is no image in the folder.
    """
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    source = pathlib.Path(folder) if folder else _examples()
    files = image_files.find_images([source])
    sizes = [_size(file) for file in files]
    rng = np.random.default_rng(0)
    boxes = [(file, CROP.draw(*size, rng)) for file, size in zip(files, sizes) for _ in range(CROPS_AN_IMAGE)]
    boxes = [boxes[index] for index in rng.permutation(len(boxes))]
    encoded = _split(files, side)
    peers = {
        name: make
        for name, make in (("torchvision", _torchvision), ("tf.data", _tf_data))
        if importlib.util.find_spec(PEERS[name])
    }
    with tempfile.TemporaryDirectory() as cache:
        decoded = decoded_images.keep({"train": encoded}, pathlib.Path(cache, "decoded"), "photographs")["train"]
        batches = {OURS: _ours(encoded), CACHED: _ours(decoded)}
        batches |= {name: make(boxes, side) for name, make in peers.items()}
        for stream in batches.values():
            next(stream)
        rates = {name: [] for name in batches}
        for _ in range(rounds):
            for name, stream in batches.items():
                rates[name].append(_rate(stream, round_seconds))
    rows = [_row(name, rates) for name in (OURS, CACHED, *PEERS)]
    pixels = statistics.mean(height * width for height, width in sizes)
    packages = (*OUR_PACKAGES, *(PEERS[name] for name in peers))
    return {
        "source": source.name if folder else "scikit-learn",
        "images": len(files),
        "pixels": pixels,
        "side": side,
        "versions": {package: _version(package) for package in packages},
        "rows": [dataclasses.asdict(row) for row in rows],
    }


def _examples() -> pathlib.Path:
    return pathlib.Path(importlib.util.find_spec("sklearn.datasets").submodule_search_locations[0], "images")


def _version(package: str) -> str:
    """Of whichever distribution brings the package: TensorFlow has several."""
    (distribution, *_) = importlib.metadata.packages_distributions().get(package, [package])
    return importlib.metadata.version(distribution)


def _row(name: str, rates: dict[str, list[float]]) -> Row:
    if name not in rates:
        return Row(name, (), None, None)
    ratios = [
        statistics.median(ours / theirs for ours, theirs in zip(rates[kind], rates[name])) for kind in (OURS, CACHED)
    ]
    return Row(name, tuple(rates[name]), *ratios)


def _rate(stream: Iterator[Any], seconds: float) -> float:
    started, count = time.perf_counter(), 0
    while not count or time.perf_counter() - started < seconds:
        next(stream)
        count += BATCH_SIZE
    return count / (time.perf_counter() - started)


def _size(file: pathlib.Path) -> tuple[int, int]:
    with Image.open(file) as image:
        return image.height, image.width


def _split(files: Sequence[pathlib.Path], side: int) -> EncodedSplit:
    reading = Reading(side, side, 0.875, CROP, num_workers=0)
    store = FileStore(pathlib.Path("/"), tuple(str(file.absolute().relative_to("/")) for file in files))
    return EncodedSplit(store, np.arange(len(files)), np.zeros(len(files), np.int32), reading)


def _ours(split: EncodedSplit) -> Iterator[Any]:
    """What a worker process of a streamed run does."""
    from effnet_jax.data.device.streamed import training_batches

    repeated = split.part(np.tile(np.arange(len(split)), -(-LIST_LENGTH // len(split))))
    batches = training_batches(repeated, 0, BATCH_SIZE)
    return (batches[number] for number in itertools.count())  # no threads of Grain's


def _torchvision(boxes: Sequence[tuple[pathlib.Path, crops.Box]], side: int) -> Iterator[Any]:
    """A DataLoader over torchvision's loader of files and its crop, resized and as a uint8 tensor."""
    from effnet_jax.benchmark.torch_models import provide_torchvision_operators

    provide_torchvision_operators()
    import torch
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as F

    torch.set_num_threads(1)

    class Crops(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(boxes)

        def __getitem__(self, index: int):
            file, box = boxes[index]
            image = Image.open(io.BytesIO(file.read_bytes())).convert("RGB")
            size, mode = [side, side], InterpolationMode.BICUBIC
            image = F.resized_crop(image, box.top, box.left, box.height, box.width, size, mode, antialias=True)
            return F.pil_to_tensor(image), 0

    while True:
        yield from torch.utils.data.DataLoader(Crops(), batch_size=BATCH_SIZE, drop_last=True)


def _tf_data(boxes: Sequence[tuple[pathlib.Path, crops.Box]], side: int) -> Iterator[Any]:
    """The authors' pipeline on one thread: the crop is decoded alone, and resized without antialiasing."""
    import tensorflow as tf

    def load(file, box):
        image = tf.io.decode_and_crop_jpeg(tf.io.read_file(file), box, channels=3)
        image = tf.image.resize(image, (side, side), tf.image.ResizeMethod.BICUBIC)
        return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)

    files = [str(file) for file, _ in boxes]
    windows = [(box.top, box.left, box.height, box.width) for _, box in boxes]
    dataset = tf.data.Dataset.from_tensor_slices((files, windows)).repeat().map(load).batch(BATCH_SIZE)
    options = tf.data.Options()
    options.threading.private_threadpool_size = options.threading.max_intra_op_parallelism = 1
    return iter(dataset.with_options(options))
