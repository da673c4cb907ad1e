"""Text on pictures that Pillow draws."""

from matplotlib import font_manager
from PIL import ImageFont


def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along; `size` in pixels."""
    return ImageFont.truetype(font_manager.findfont("DejaVu Sans:bold" if bold else "DejaVu Sans"), size)


def fitted(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Shortens a line that is wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
