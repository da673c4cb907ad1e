"""Files of pretrained weights by name, from the Hugging Face Hub or a folder: "timm/efficientnet_b0.ra_in1k".

Everything about the network is left to the package huggingface_hub: its cache (HF_HOME), HF_HUB_OFFLINE, HF_ENDPOINT,
going on with a broken download.
"""

import dataclasses
import pathlib
import re
from typing import Any

from effnet_jax.errors import UserError

OWNER = "timm"
WEIGHTS, CONFIG = "model.safetensors", "config.json"
EXAMPLE = f"{OWNER}/efficientnet_b0.ra_in1k"
_NAME = re.compile(rf"(?P<repository>{OWNER}/(?P<model>\w+)\.[\w-]+)(?:@(?P<revision>.+))?")
_NEWEST = "main"


@dataclasses.dataclass(frozen=True)
class Files:
    """The two files that timm keeps of a model.

    Attributes:
      weights: model.safetensors.
      config: config.json, which says what the model is and how it sees an image.
      origin: where they are from, for the metadata of what is loaded.
    """

    weights: pathlib.Path
    config: pathlib.Path
    origin: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Name:
    """A name of weights.

    Attributes:
      repository: on the hub, "timm/MODEL.TAG".
      model: the model's name in timm.
      revision: branch, tag or commit.
    """

    repository: str
    model: str
    revision: str

    @classmethod
    def parse(cls, text: str) -> "Name":
        """Reads "timm/MODEL.TAG" or "timm/MODEL.TAG@REVISION".

        Raises:
          UserError: it is neither.
        """
        match = _NAME.fullmatch(text)
        if match is None:
            raise UserError(
                f"{text} is no name of weights: they are called {OWNER}/MODEL.TAG or {OWNER}/MODEL.TAG@REVISION, "
                f"such as {EXAMPLE}"
            )
        return cls(match["repository"], match["model"], match["revision"] or _NEWEST)

    def __str__(self) -> str:
        return self.repository if self.revision == _NEWEST else f"{self.repository}@{self.revision}"


def is_name(text: str) -> bool:
    """Whether `text` is meant as a name of weights."""
    return text.startswith(f"{OWNER}/")


def in_folder(folder: pathlib.Path) -> Files | None:
    """Returns the files where a folder holds both; they may have been copied there by hand."""
    files = Files(folder / WEIGHTS, folder / CONFIG, {})
    return files if files.weights.is_file() and files.config.is_file() else None


def download(name: Name) -> Files:
    """Finds the files in the cache of huggingface_hub, or downloads them.

    The weights are those of the commit that the config is of, also where the revision moves in between.

    Raises:
      UserError: huggingface_hub is not installed, the hub has no such files, or they are neither in the cache nor to be
        had.
    """
    config = _file(name, CONFIG, name.revision)
    commit = config.parent.name  # in the hub's cache a file is snapshots/COMMIT/FILE
    weights = _file(name, WEIGHTS, commit)
    origin = {"repository": name.repository, "revision": name.revision, "commit": commit}
    return Files(weights, config, origin)


def _file(name: Name, file: str, revision: str) -> pathlib.Path:
    try:
        import huggingface_hub
        from huggingface_hub import constants, errors
    except ImportError as error:
        raise UserError(
            f"weights by name need one more package: pip install huggingface_hub (for {name.repository})"
        ) from error
    try:
        return pathlib.Path(huggingface_hub.hf_hub_download(name.repository, file, revision=revision))
    except errors.LocalEntryNotFoundError as error:
        raise UserError(_absent(name, file, constants)) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(
            f"{name.repository} has no revision {revision}; leave out @{revision} for the newest"
        ) from error
    except errors.EntryNotFoundError as error:
        raise UserError(f"{name.repository} on the hub has no {file}; give another tag, such as {EXAMPLE}") from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"the hub has no {name.repository}, or you may not read it; look the tag up at https://huggingface.co/{OWNER}"
        ) from error
    except OSError as error:  # among them the client's own and those of the disk
        raise UserError(
            f"{file} of {name.repository} could not be downloaded ({str(error).splitlines()[0]}); the same command "
            "goes on from there"
        ) from error


def _absent(name: Name, file: str, constants: Any) -> str:
    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
    page = f"https://huggingface.co/{name.repository}/tree/{name.revision}"
    return (
        f"{file} of {name.repository} is not in the cache {constants.HF_HUB_CACHE}, and {why}: put {CONFIG} and "
        f"{WEIGHTS} of {page} into the folder {name} here, or into any other and give that folder in place "
        "of the name"
    )
