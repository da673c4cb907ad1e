"""What a dataset is made of, image by image and undecoded: for looking at the data itself, not for training."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from effnet_jax.data.decode import images
from effnet_jax.data.disk import descriptions, records
from effnet_jax.data.sets import any_tfds, digits, folder_layout, registry, tfds_sets
from effnet_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Entry:
    """One image.

    Attributes:
      name: Unique in its split: TFDS's id, or the path inside a folder.
      label: Index of its class.
      content: The image encoded, its file, or its pixels uint8 [H, W, 3]; or why there is none: then the entry
        stands for all that was left in a damaged file of records.
    """

    name: str
    label: int
    content: bytes | Path | np.ndarray | UserError

    def pixels(self) -> np.ndarray:
        """Decodes it to uint8 [H, W, 3].

        Raises:
          UnreadableImageError: It cannot be decoded.
        """
        if isinstance(self.content, Path):
            return images.read_image(self.content)
        if isinstance(self.content, bytes):
            return images.decode_image(self.content, self.name)
        if isinstance(self.content, UserError):
            raise images.UnreadableImageError(str(self.content))
        return self.content


@dataclasses.dataclass(frozen=True)
class Source:
    """A dataset before it is decoded.

    Attributes:
      name: What configs call it.
      class_names: By label.
      facts: What is known about it; None for a folder and for "tfds:NAME".
      sizes: Number of images by split, as the dataset itself has them: nothing is held out.
      left_out: Lines on files of a folder that are not taken and on classes without images; else empty.
    """

    name: str
    class_names: tuple[str, ...]
    facts: registry.DatasetInfo | None
    sizes: dict[str, int]
    _content: descriptions.Prepared | folder_layout.Layout | dict
    left_out: str = ""

    def entries(self, split: str) -> Iterator[Entry]:
        """Yields the images of a split, in the order in which they are stored."""
        if isinstance(self._content, folder_layout.Layout):
            for path, label in self._content.splits[split]:
                yield Entry(str(path.relative_to(self._content.path)), label, path)
        elif isinstance(self._content, descriptions.Prepared):
            index = 0
            for path, stated in self._content.shards[split]:
                try:
                    for example in records.examples(self._content, path, stated):
                        yield Entry(example.id or f"{split}_{index:05d}", example.label, example.image)
                        index += 1
                except UserError as error:
                    yield Entry(path.name, 0, error)
        else:
            for index, (image, label) in enumerate(zip(*self._content[split])):
                yield Entry(f"{split}_{index:05d}", int(label), image)


def find(name: str, data_dir: str = "", manual_dir: str = "") -> Source:
    """Opens dataset `name`, preparing it first where that is needed; arguments as in `datasets.load`.

    Raises:
      UserError: If it is unknown, absent or damaged, or cannot be written where it must be.
    """
    if folder_layout.is_folder(name):
        layout = folder_layout.find(name, skip_empty=True)
        sizes = {split: len(content) for split, content in layout.splits.items()}
        return Source(name, layout.class_names, None, sizes, layout, "\n".join(layout.remarks()))
    if any_tfds.is_tfds(name):
        prepared = any_tfds.find(name, data_dir, manual_dir)
        return Source(name, prepared.class_names, None, prepared.num_records, prepared)
    facts = registry.info(name)
    if name == "digits":
        splits = digits.load()
        sizes = {split: len(labels) for split, (_, labels) in splits.items()}
        return Source(name, digits.CLASS_NAMES, facts, sizes, splits)
    prepared = tfds_sets.prepared_data(facts, data_dir, manual_dir)
    sizes = {split: prepared.num_records[split] for split in facts.split_sizes}
    return Source(name, prepared.class_names, facts, sizes, prepared)
