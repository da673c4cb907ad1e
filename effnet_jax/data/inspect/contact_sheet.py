"""Many small images on one PNG, in named groups."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from effnet_jax import lettering
from effnet_jax.process.atomic import whole_file

GAP, LINE, FONT_SIZE = 6, 14, 11
ASPECT = 1.4  # width over height that is aimed at
COLOURS = 256  # a palette halves the file and does not show at this size


@dataclasses.dataclass(frozen=True)
class Group:
    """Images uint8 [H, W, 3], in a row under a title."""

    title: str
    images: Sequence[np.ndarray]


def draw(groups: Sequence[Group], tile: int) -> Image.Image:
    """Draws groups side by side and below each other.

    Args:
      groups: What to draw.
      tile: Side in pixels of the square into which an image is fitted; smaller ones are enlarged.
    """
    width = max(len(group.images) for group in groups) * (tile + 1) + GAP
    height = tile + LINE + GAP
    across = max(1, min(len(groups), round((ASPECT * len(groups) * height / width) ** 0.5)))
    down = -(-len(groups) // across)
    canvas = Image.new("RGB", (across * width + GAP, down * height + GAP), "white")
    pen, font = ImageDraw.Draw(canvas), lettering.font(FONT_SIZE)
    for index, group in enumerate(groups):
        x, y = GAP + index % across * width, GAP + index // across * height
        pen.text((x, y), lettering.fitted(group.title, font, width - GAP), "black", font)
        for position, image in enumerate(group.images):
            canvas.paste(_tile(image, tile), (x + position * (tile + 1), y + LINE))
    return canvas


def save(sheet: Image.Image, path: pathlib.Path) -> None:
    """Writes a sheet as a PNG file with a palette.

    Raises:
      UserError: It cannot be written there.
    """
    with whole_file(path) as file:
        sheet.quantize(COLOURS, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)


def _tile(pixels: np.ndarray, side: int) -> Image.Image:
    image = Image.fromarray(pixels)
    scale = side / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.NEAREST if scale >= 2 else Image.LANCZOS)
