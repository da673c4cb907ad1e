"""The folder that the pictures go to: overlays, raw maps, a contact sheet and what `cam.json` says of them."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from effnet_jax.cam import drawing
from effnet_jax.cam.explainer import Explainer
from effnet_jax.cam.pictures import Picture
from effnet_jax.cam.registry import Method
from effnet_jax.process.atomic import whole_file

SHEET = "sheet.png"
WHITE = 255
ON_SHEET = 48  # images; more would be a picture nobody looks at


@dataclasses.dataclass(frozen=True)
class Finding:
    """One map and what it is of.

    Attributes:
      picture, explainer, method: whose map it is.
      layer: "input" for the methods that have none.
      index, target: the class, and what the map is called.
      probabilities: of all classes, [classes].
      found: the signed map [h, w].
      suffix: tells several maps of one picture and method apart, else empty.
      scores: faithfulness of this one, where it was measured.
    """

    picture: Picture
    explainer: Explainer
    method: Method
    layer: str
    index: int
    target: str
    probabilities: np.ndarray
    found: np.ndarray
    suffix: str
    scores: dict[str, float] | None


@dataclasses.dataclass(frozen=True)
class Page:
    """A finding on paper: its entry in `cam.json` and its tile on the sheet."""

    entry: dict[str, Any]
    tile: drawing.Tile


class Album:
    """Writes findings into a folder.

    Args:
      folder: is there.
      folder_each: a subfolder for each checkpoint.
      maps_only: leave the images out.
    """

    def __init__(self, folder: pathlib.Path, folder_each: bool, maps_only: bool):
        self.folder, self._folder_each, self._maps_only = folder, folder_each, maps_only

    def add(self, finding: Finding) -> Page:
        """Writes the overlay (PNG) and the raw map (.npy)."""
        picture, net = finding.picture, finding.explainer.net
        stem = f"{picture.name}.{finding.method.name}{finding.suffix}"
        place = pathlib.PurePosixPath(finding.explainer.name if self._folder_each else "", stem)
        box = net.preprocess.crop_box(*picture.pixels.shape[:2])
        opacity = 1.0 if self._maps_only else drawing.OPACITY
        overlay = drawing.overlay(picture.pixels, finding.found, box, opacity)
        drawing.save(overlay, self.folder / f"{place}.png")
        with whole_file(self.folder / f"{place}.npy") as file:
            np.save(file, finding.found)
        probability = float(finding.probabilities[finding.index])
        entry = {
            "image": picture.source,
            "checkpoint": finding.explainer.name,
            "method": finding.method.name,
            "layer": finding.layer,
            "target": finding.target,
            "index": finding.index,
            "probability": probability,
            "prediction": net.labels[int(finding.probabilities.argmax())],
            "label": None if picture.label is None else net.labels[picture.label],
            "peak": list(drawing.peak(finding.found, box, picture.pixels.shape[:2])),
            "box": list(box),
            "overlay": f"{place}.png",
            "map": f"{place}.npy",
            "scores": finding.scores,
        }
        return Page(entry, drawing.Tile(overlay, (finding.target, f"{100 * probability:.1f} %")))

    def sheet(
        self,
        heading: Sequence[Sequence[str]],
        drawn: Sequence[Picture],
        strips: Sequence[Sequence[Page]],
        labels: Sequence[str],
    ) -> pathlib.Path:
        """Draws the contact sheet.

        Args:
          heading: the lines above each map of a strip.
          drawn: the pictures; the first of many.
          strips: the pages of each.
          labels: class names.
        """
        tiles = [
            [self._original(picture, labels), *(page.tile for page in strip)]
            for picture, strip in zip(drawn[:ON_SHEET], strips)
        ]
        drawing.save(drawing.sheet([["image"], *heading], tiles), self.folder / SHEET)
        return self.folder / SHEET

    def _original(self, picture: Picture, labels: Sequence[str]) -> drawing.Tile:
        known = () if picture.label is None else (f"true: {labels[picture.label]}",)
        shown = drawing.enlarge(picture.pixels)[0]
        return drawing.Tile(np.full_like(shown, WHITE) if self._maps_only else shown, (picture.name, *known))
