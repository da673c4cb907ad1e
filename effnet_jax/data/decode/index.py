"""Where each image of a prepared dataset is and what its label is, found once and kept in the cache."""

from pathlib import Path

import numpy as np

from effnet_jax.data.decode.encoded import EncodedSplit, Reading, RecordStore
from effnet_jax.data.disk import cache, descriptions, files, records
from effnet_jax.data.disk.descriptions import Prepared


def of_records(name: str, prepared: Prepared, cache_root: Path, reading: Reading) -> dict[str, EncodedSplit]:
    """Returns the splits of a dataset that TFDS prepared, its images ordered by their ids.

    Labels stand beside the images in the records, so that all is read once, the first time.

    Args:
      name: What configs call it.
      prepared: The dataset on disk.
      cache_root: Folder of all caches.
      reading: How images are to be cut.

    Raises:
      UserError: If it is damaged, or the index cannot be written.
    """
    folder = cache_root / f"index-{name}-{descriptions.fingerprint(prepared, cache.FORMAT)}"

    def make() -> cache.Cached:
        with files.Progress(f"indexing {name}, once", sum(prepared.num_records.values()), "images") as progress:
            splits = {split: _numbers_and_labels(prepared, split, progress) for split in prepared.shards}
        return cache.Cached(prepared.class_names, splits, str(prepared.folder))

    cached = cache.read_or_make(folder, make, f"indexing {prepared.folder} again")
    return {
        split: EncodedSplit(RecordStore(prepared, split), numbers, labels, reading)
        for split, (numbers, labels) in cached.splits.items()
    }


def _numbers_and_labels(prepared: Prepared, split: str, progress: files.Progress) -> cache.Arrays:
    """Returns numbers as `RecordStore` has them, int64 [N], and labels, int32 [N]."""
    ids, labels, numbers, start = [], [], [], 0
    for path, stated in prepared.shards[split]:
        for example in records.examples(prepared, path, stated):
            ids.append(example.id)
            labels.append(example.label)
            numbers.append(start + example.position)
            progress.advance(1)
        start += path.stat().st_size if prepared.record_format == "tfrecord" else stated
    # Sorting is stable: where there are no ids, the order of the records stays.
    order = np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int64)
    return np.array(numbers, np.int64)[order], np.array(labels, np.int32)[order]
