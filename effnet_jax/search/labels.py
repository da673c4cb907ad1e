"""Names beside the points of a figure, each where it covers nothing and leaves no panel."""

import itertools

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation

MARGIN = 0.15  # of the width of a panel, left free on both sides for names
_SIZE = 7
_NAME = "name of a point"
# From a point to its name, in typographic points: the first place where the name covers nothing is taken.
_PLACES = [(7, 4), (7, -12), (-7, 6), (-7, -14), *itertools.product((7, -7), (16, -26, 28, -38, 40, -50))]


def add(panel: Axes, x: float, y: float, text: str) -> None:
    """Names a point; `arrange` finds the place."""
    panel.annotate(text, (x, y), xytext=_PLACES[0], textcoords="offset points", fontsize=_SIZE, gid=_NAME)


def arrange(figure: Figure) -> None:
    """Moves every name of a finished figure to where it covers neither a point nor another name, inside its panel."""
    figure.draw_without_rendering()  # only now is it known where everything lies
    for panel in figure.axes:
        names = [text for text in panel.texts if text.get_gid() == _NAME]
        dots, taken = panel.transData.transform([name.xy for name in names]), []
        for name in names:
            for offset in _PLACES:
                box = _moved(name, offset)
                inside = panel.bbox.x0 <= box.x0 and box.x1 <= panel.bbox.x1
                if inside and not any(box.overlaps(other) for other in taken) and not _holds_any(box, dots):
                    break
            taken.append(box)


def _moved(name: Annotation, offset: tuple[int, int]):
    name.set(position=offset, horizontalalignment="left" if offset[0] > 0 else "right")
    return name.get_window_extent()


def _holds_any(box, dots: np.ndarray) -> bool:
    return any(box.contains(*dot) for dot in dots)
