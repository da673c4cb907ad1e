"""A pretrained model from the files that timm keeps of it: weights, and a config that says how it sees an image."""

import dataclasses
import json
import pathlib
from typing import Any

from effnet_jax.errors import UserError
from effnet_jax.models.loaded import Loaded
from effnet_jax.pretrained import hub, importer, timm
from effnet_jax.pretrained.sources import Settings

_INTERPOLATIONS = ("bicubic", "bilinear")


def by_name(text: str, weights: str = "selected") -> Loaded:
    """Loads "timm/MODEL.TAG" or "timm/MODEL.TAG@REVISION"; see `hub.download`.

    Args:
      text: the name.
      weights: see `importer.import_weights`.

    Raises:
      UserError: no such model here or on the hub, or its files cannot be had.
    """
    name = hub.Name.parse(text)
    timm.settings(name.model)  # a model that is not known here is refused before anything is downloaded
    return load(hub.download(name), weights)


def load(files: hub.Files, weights: str = "selected") -> Loaded:
    """Loads the model of two files.

    Raises:
      UserError: the config is not one of timm's, or the weights are not its model's.
    """
    config = _read(files.config)
    name, settings = _settings(config, files.config)
    imported = importer.import_weights(timm.SOURCE.name, files.weights, name, weights=weights, settings=settings)
    loaded = imported.loaded()
    return dataclasses.replace(loaded, metadata=loaded.metadata | {"source": loaded.metadata["source"] | files.origin})


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); put the config.json of the model there") from error


def _settings(config: dict[str, Any], path: pathlib.Path) -> tuple[str, Settings]:
    """Returns timm's name of the model with its tag, and what the config says of it."""
    try:
        model, seen = config["architecture"], config["pretrained_cfg"]
        known = timm.settings(model)  # padding and epsilon, which the config leaves to timm's code
        settings = dataclasses.replace(
            known,
            resolution=_of_test(seen, "input_size")[-1],
            crop_fraction=_of_test(seen, "crop_pct"),
            mean=tuple(seen["mean"]),
            std=tuple(seen["std"]),
            interpolation=seen["interpolation"],
        )
        name = f"{model}.{seen['tag']}" if "tag" in seen else model
    except (KeyError, TypeError, IndexError) as error:
        raise UserError(f"{path} is no config of timm's ({error!r}); put the config.json of the model there") from error
    if settings.interpolation not in _INTERPOLATIONS:
        raise UserError(
            f"{path} says interpolation {settings.interpolation!r}, which is not known here; write one of "
            f"{', '.join(_INTERPOLATIONS)} there"
        )
    return name, settings


def _of_test(seen: dict[str, Any], key: str) -> Any:
    """Returns what the weights are tested with, where that differs from what they were trained with."""
    tested = f"test_{key}"
    return seen[tested] if tested in seen and seen[tested] is not None else seen[key]
