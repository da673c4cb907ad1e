"""Food-101 as its authors pack it: food-101/images/<class>/<number>.jpg, and lists of both splits in food-101/meta."""

import dataclasses
import functools
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

from effnet_jax.data.disk import download, files, shards

ARCHIVE = download.Download(
    url="http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",
    sha256="d97d15e438b7f4498f96086a4f7e2fa42a32f2712e87d3295441b2b6314053a4",
)
FOLDER = "food-101"
# The splits as TFDS calls them, and the lists of their images: {class: ["<class>/<number>", ...]}.
LISTS = {"train": "train.json", "validation": "test.json"}
ARCHIVE_BYTES = 4_996_278_331  # the images inside take as much: JPEG does not compress any further


def make(data_dir: Path, manual_dir: str) -> None:
    """Writes `<data_dir>/food101/2.1.0/` from the user's archive or extracted folder, or from a download.

    Args:
      data_dir: Made where it is missing. A downloaded archive stays in its folder "downloads".
      manual_dir: Folder with food-101.tar.gz or food-101/; empty to download.

    Raises:
      UserError: If it is not there or damaged, the network does not answer, `data_dir` cannot be written or has no
        room. Nothing that looks whole is left then, and the next call goes on from what is.
    """
    shards.import_tfds("food101")  # before a long download
    folder = Path(manual_dir).expanduser() / FOLDER if manual_dir else None
    extracted = folder is not None and (folder / "meta").is_dir()
    if extracted:
        collection = _Extracted.open(folder)
    elif manual_dir:
        collection = _Packed.open(download.manual(ARCHIVE, folder.parent))
    else:
        files.make_room(data_dir, 2 * ARCHIVE_BYTES, shards.WAY_OUT)
        with files.disk_errors(data_dir, shards.WAY_OUT):
            collection = _Packed.open(download.downloaded("food101", ARCHIVE, data_dir))
    shards.write(collection, data_dir)


@dataclasses.dataclass(frozen=True)
class _Listed:
    """What the lists say; see `shards.Collection`."""

    origin: Path
    lists: dict[str, dict[str, list[str]]]
    num_bytes: int
    fingerprint: str
    name = "food101"
    version = "2.1.0"
    id_feature = "id"

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(sorted(self.lists["train"]))

    @property
    def sizes(self) -> dict[str, int]:
        return {split: sum(map(len, classes.values())) for split, classes in self.lists.items()}

    def places(self) -> dict[str, tuple[str, int]]:
        """Returns split and label by id."""
        labels = {name: label for label, name in enumerate(self.class_names)}
        return {
            image: (split, labels[name])
            for split, classes in self.lists.items()
            for name, images in classes.items()
            for image in images
        }


class _Extracted(_Listed):
    """The extracted folder."""

    @classmethod
    def open(cls, folder: Path) -> "_Extracted":
        with shards.reading(folder):
            contents = {name: (folder / "meta" / name).read_bytes() for name in LISTS.values()}
            num_bytes = sum(path.stat().st_size for path in (folder / "images").glob("*/*.jpg"))
        return cls(folder, _parse(folder, contents), num_bytes, f"{folder} {num_bytes}")

    def photographs(self) -> Iterator[shards.Photograph]:
        for image, (split, label) in sorted(self.places().items()):
            yield shards.Photograph(split, image, label, functools.partial(self._read, image))

    def _read(self, image: str) -> bytes:
        with shards.reading(self.origin):
            return (self.origin / "images" / f"{image}.jpg").read_bytes()


class _Packed(_Listed):
    """The archive, which is read from front to back: it is compressed as a whole."""

    @classmethod
    def open(cls, path: Path) -> "_Packed":
        wanted, contents = {f"{FOLDER}/meta/{name}": name for name in LISTS.values()}, {}
        files.say(f"looking for the lists of images in {path} ...")
        with shards.reading(path), tarfile.open(path, "r|gz") as tar:
            for member in tar:
                if member.name in wanted:
                    contents[wanted[member.name]] = tar.extractfile(member).read()
                if len(contents) == len(wanted):
                    break
        num_bytes = path.stat().st_size
        return cls(path, _parse(path, contents), num_bytes, f"{path} {num_bytes}")

    def photographs(self) -> Iterator[shards.Photograph]:
        places, prefix = self.places(), f"{FOLDER}/images/"
        with shards.reading(self.origin), tarfile.open(self.origin, "r|gz") as tar:
            for member in tar:
                image = member.name.removeprefix(prefix).removesuffix(".jpg")
                if member.isfile() and image in places:
                    split, label = places[image]
                    yield shards.Photograph(split, image, label, functools.partial(self._read, tar, member))

    def _read(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
        with shards.reading(self.origin):
            return tar.extractfile(member).read()


def _parse(origin: Path, contents: dict[str, bytes]) -> dict[str, dict[str, list[str]]]:
    with shards.reading(origin):
        lists = {split: json.loads(contents[name]) for split, name in LISTS.items()}
        if set(lists["train"]) != set(lists["validation"]):
            raise ValueError("its lists name different classes")
    return lists
