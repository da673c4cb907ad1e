"""Where each image of a prepared dataset is and what its label is, found once and kept in the cache."""

from pathlib import Path

import numpy as np

from effnet_jax.data.decode.encoded import EncodedSplit, Reading, RecordStore
from effnet_jax.data.disk import cache, files, records
from effnet_jax.errors import UserError


def of_records(name: str, prepared: records.Prepared, cache_root: Path, reading: Reading) -> dict[str, EncodedSplit]:
    """Returns the splits of a dataset that TFDS prepared, its images ordered by their ids.

    Labels stand beside the images in the records, so that all is read once, the first time.

    Args:
      name: What configs call it.
      prepared: The dataset on disk.
      cache_root: Folder of all caches.
      reading: How images are to be cut.

    Raises:
      UserError: If it is damaged, is in a format that knows no random access, or the index cannot be written.
    """
    if prepared.record_format != "array_record":
        raise UserError(
            f"{prepared.folder} is in the format {prepared.record_format}, which cannot be read in random order: "
            "prepare it again with file_format='array_record', or set dataset.data_dir to another folder"
        )
    folder = cache_root / f"index-{name}-{records.fingerprint(prepared, cache.FORMAT)}"

    def make() -> cache.Cached:
        with files.Progress(f"indexing {name}, once", sum(prepared.num_records.values()), "images") as progress:
            splits = {split: _numbers_and_labels(prepared, split, progress) for split in prepared.shards}
        return cache.Cached(prepared.class_names, splits, str(prepared.folder))

    cached = cache.read_or_make(folder, make, f"indexing {prepared.folder} again")
    return {
        split: EncodedSplit(RecordStore(tuple(path for path, _ in prepared.shards[split])), numbers, labels, reading)
        for split, (numbers, labels) in cached.splits.items()
    }


def _numbers_and_labels(prepared: records.Prepared, split: str, progress: files.Progress) -> cache.Arrays:
    ids, labels = [], []
    for path, stated in prepared.shards[split]:
        for example in records.examples(prepared, path, stated):
            ids.append(example.id)
            labels.append(example.label)
            progress.advance(1)
    # Sorting is stable: where there are no ids, the order of the records stays.
    numbers = np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int64)
    return numbers, np.array(labels, np.int32)[numbers]
