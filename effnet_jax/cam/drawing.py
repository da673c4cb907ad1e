"""Maps as pictures: laid over the whole image, and many on one sheet."""

import dataclasses
import pathlib
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from effnet_jax.process.atomic import whole_file

COLOUR_MAP = "viridis"  # perceptually uniform, and readable by the colour-blind
OPACITY = 0.55
LEAST_SIDE = 192  # pixels; smaller images are enlarged by a whole factor
TILE, GAP, LINE = 160, 8, 15
SHEET_WIDTH = 1500

Box = tuple[int, int, int]  # top, left, side


@dataclasses.dataclass(frozen=True)
class Tile:
    """One cell of a sheet: a picture uint8 [H, W, 3] and lines of text under it."""

    picture: np.ndarray
    caption: Sequence[str]


def place(found: np.ndarray, box: Box, shape: tuple[int, int]) -> np.ndarray:
    """Lays a signed map over the original image.

    Args:
      found: float [h, w], of the square that the model saw.
      box: where that square lies in the original.
      shape: height and width of the original.

    Returns:
      float32 [H, W] in [0, 1], smooth (bicubic), 0 where the model saw nothing or nothing that speaks for the target.
    """
    top, left, side = box
    positive = Image.fromarray(np.maximum(found, 0).astype(np.float32))
    smooth = np.maximum(np.asarray(positive.resize((side, side), Image.BICUBIC)), 0)
    whole = np.zeros(shape, np.float32)
    spread = smooth.max() - smooth.min()
    whole[top : top + side, left : left + side] = (smooth - smooth.min()) / (spread if spread > 0 else 1)
    return whole


def overlay(pixels: np.ndarray, found: np.ndarray, box: Box, opacity: float = OPACITY) -> np.ndarray:
    """Colours an image by a map; what the model did not see is grey.

    Args:
      pixels: uint8 [H, W, 3].
      found, box: as in `place`.
      opacity: of the map, 1 to hide the image.

    Returns:
      uint8 [s H, s W, 3] with a whole s, 1 unless the image is small.
    """
    large, scale = enlarge(pixels)
    top, left, side = (scale * value for value in box)
    colours = matplotlib.colormaps[COLOUR_MAP](place(found, (top, left, side), large.shape[:2]))[..., :3]
    unseen = 0.5 * large.mean(-1, keepdims=True) + 100 if opacity < 1 else np.full((*large.shape[:2], 1), 200.0)
    drawn = np.repeat(unseen, 3, axis=-1)
    seen = np.s_[top : top + side, left : left + side]
    drawn[seen] = (1 - opacity) * large[seen] + opacity * 255 * colours[seen]
    return np.clip(np.rint(drawn), 0, 255).astype(np.uint8)


def enlarge(pixels: np.ndarray) -> tuple[np.ndarray, int]:
    """Repeats the pixels of a small image; returns it and the factor."""
    scale = -(-LEAST_SIDE // min(pixels.shape[:2]))
    return pixels.repeat(scale, axis=0).repeat(scale, axis=1), scale


def peak(found: np.ndarray, box: Box, shape: tuple[int, int]) -> tuple[int, int]:
    """Returns row and column in the original image of the largest value of a map; arguments as in `place`."""
    row, column = np.unravel_index(place(found, box, shape).argmax(), shape)
    return int(row), int(column)


def save(pixels: np.ndarray, path: pathlib.Path) -> None:
    """Writes pixels uint8 [H, W, 3] as a PNG file.

    Raises:
      UserError: it cannot be written there.
    """
    with whole_file(path) as file:
        Image.fromarray(pixels).save(file, "PNG", optimize=True)


def sheet(heading: Sequence[str], strips: Sequence[Sequence[Tile]]) -> np.ndarray:
    """Draws a contact sheet.

    Args:
      heading: a line for each column of a strip.
      strips: for each image its tiles, all of the same number; as many strips side by side as fit.

    Returns:
      uint8 [H, W, 3].
    """
    columns = len(heading)
    lines = max(len(tile.caption) for strip in strips for tile in strip)
    width, height = columns * (TILE + GAP) + 2 * GAP, TILE + lines * LINE + GAP
    across = min(len(strips), max(1, SHEET_WIDTH // width))
    rows = -(-len(strips) // across)
    canvas = Image.new("RGB", (across * width, rows * height + LINE + 3 * GAP), "white")
    draw, font = ImageDraw.Draw(canvas), _font(11)
    for strip in range(across):
        for column, text in enumerate(heading):
            x = strip * width + GAP + column * (TILE + GAP)
            draw.text((x, GAP), _fitted(text, _font(11, bold=True)), "black", _font(11, bold=True))
    for index, strip in enumerate(strips):
        x0, y = (index % across) * width + GAP, (index // across) * height + LINE + 2 * GAP
        for column, tile in enumerate(strip):
            x = x0 + column * (TILE + GAP)
            _paste(canvas, tile.picture, x, y)
            for line, text in enumerate(tile.caption):
                draw.text((x, y + TILE + line * LINE), _fitted(text, font), "black", font)
    return np.asarray(canvas)


def _paste(canvas: Image.Image, pixels: np.ndarray, x: int, y: int) -> None:
    """Fits a picture into a tile, against its lower edge, where the caption is."""
    height, width = pixels.shape[:2]
    scale = TILE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    canvas.paste(Image.fromarray(pixels).resize(size, Image.LANCZOS), (x, y + TILE - size[1]))


def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along."""
    return ImageFont.truetype(font_manager.findfont("DejaVu Sans:bold" if bold else "DejaVu Sans"), size)


def _fitted(text: str, font: ImageFont.FreeTypeFont) -> str:
    """Shortens a line that is wider than a tile."""
    if font.getlength(text) <= TILE:
        return text
    while font.getlength(text + "…") > TILE:
        text = text[:-1]
    return text + "…"
