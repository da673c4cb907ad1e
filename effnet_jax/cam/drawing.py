"""Maps as pictures: laid over the whole image, and many on one sheet."""

import dataclasses
import itertools
import math
import pathlib
import re
from collections.abc import Sequence

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from effnet_jax import lettering
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


def sheet(heading: Sequence[Sequence[str]], strips: Sequence[Sequence[Tile]]) -> np.ndarray:
    """Draws a contact sheet; the scale of the colours stands at its foot.

    Args:
      heading: the lines above each column of a strip; one that is wider than a tile is broken.
      strips: for each image its tiles, all of the same number; as many strips side by side as fit.

    Returns:
      uint8 [H, W, 3].
    """
    columns, bold = len(heading), lettering.font(11, bold=True)
    heading = _broken(heading, bold)
    lines = max(len(tile.caption) for strip in strips for tile in strip)
    width = columns * (TILE + GAP) + 2 * GAP
    across = min(len(strips), max(1, SHEET_WIDTH // width))
    rows = [strips[start : start + across] for start in range(0, len(strips), across)]
    pictures = [max(_size(tile.picture)[1] for strip in row for tile in strip) for row in rows]
    head, foot = max(map(len, heading)) * LINE + 2 * GAP, LINE + 2 * GAP
    below = lines * LINE + GAP  # each row of pictures, for their captions
    scale = _scale()
    # The scale is wider than three tiles: a narrow sheet must not cut its text off.
    total = max(across * width, scale.width + 2 * GAP)
    canvas = Image.new("RGB", (total, head + sum(pictures) + len(rows) * below + foot), "white")
    draw = ImageDraw.Draw(canvas)
    for strip in range(across):
        for column, texts in enumerate(heading):
            for line, text in enumerate(texts):
                place = strip * width + GAP + column * (TILE + GAP), GAP + line * LINE
                draw.text(place, text, "black", bold)
    top = head
    for row, height in zip(rows, pictures):
        for index, strip in enumerate(row):
            for column, tile in enumerate(strip):
                _draw_tile(canvas, tile, index * width + GAP + column * (TILE + GAP), top + height)
        top += height + below
    canvas.paste(scale, (GAP, top))
    return np.asarray(canvas)


def _draw_tile(canvas: Image.Image, tile: Tile, x: int, y: int) -> None:
    """Fits a picture into a tile, its lower edge at `y`, and writes the caption under it."""
    size = _size(tile.picture)
    canvas.paste(Image.fromarray(tile.picture).resize(size, Image.LANCZOS), (x, y - size[1]))
    draw, font = ImageDraw.Draw(canvas), lettering.font(11)
    for line, text in enumerate(tile.caption):
        draw.text((x, y + line * LINE), lettering.fitted(text, font, TILE), "black", font)


def _size(pixels: np.ndarray) -> tuple[int, int]:
    """Returns width and height of a picture uint8 [H, W, 3] that fills a tile."""
    height, width = pixels.shape[:2]
    scale = TILE / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _scale() -> Image.Image:
    """Draws the colours of a map with what they mean; they overlay a picture, so they look paler there."""
    font = lettering.font(11)
    bar = matplotlib.colormaps[COLOUR_MAP](np.linspace(0, 1, TILE))[None, :, :3].repeat(LINE - 3, axis=0)
    left, right = "no evidence", "strongest evidence in a map for the class under it"
    start = int(font.getlength(left)) + GAP
    end = start + TILE + GAP
    scale = Image.new("RGB", (end + math.ceil(font.getlength(right)), LINE + GAP), "white")
    draw = ImageDraw.Draw(scale)
    draw.text((0, 0), left, "black", font)
    scale.paste(Image.fromarray(np.rint(255 * bar).astype(np.uint8)), (start, 1))
    draw.text((end, 0), right, "black", font)
    return scale


def _broken(heading: Sequence[Sequence[str]], font: ImageFont.FreeTypeFont) -> list[list[str]]:
    """Breaks lines that are wider than a tile; what stood side by side in all columns still does."""
    columns: list[list[str]] = [[] for _ in heading]
    for row in itertools.zip_longest(*heading, fillvalue=""):
        broken = [_pieces(text, font) for text in row]
        height = max(map(len, broken))
        for column, pieces in zip(columns, broken):
            column += pieces + [""] * (height - len(pieces))
    return columns


def _pieces(text: str, font: ImageFont.FreeTypeFont) -> list[str]:
    """Breaks a line after spaces, dashes and underscores; a piece that is still too wide is shortened."""
    pieces = [""]
    for word in re.split(r"(?<=[ _-])", text):
        if pieces[-1] and font.getlength((pieces[-1] + word).rstrip()) > TILE:
            pieces.append("")
        pieces[-1] += word
    return [lettering.fitted(piece.rstrip(), font, TILE) for piece in pieces]
