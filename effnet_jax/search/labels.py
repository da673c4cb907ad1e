"""Names beside the points of a figure: each near its point, inside its panel, and over as little else as can be."""

import itertools
import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

MARGIN = 0.15  # of the width of a panel, left free on both sides for names
_SIZE = 7
_NAME = "name of a point"
_POINTS_PER_INCH = 72
_RADII = (8, 15, 23, 32, 42, 53, 65, 80)  # from a point to its name, in typographic points
_NEAR = _RADII[1]  # whoever stands further away has a line to its point
_ROOM = 3  # pixels around a name
_CLEARLY_NEARER = 1.5  # how many times as far away every other point is where a name needs no line
_MARKER = 4  # half the size of a point, in typographic points
_LINE = {"arrowstyle": "-", "lw": 0.5, "color": "0.4", "shrinkA": 0, "shrinkB": 4}
_ANGLES = np.radians(np.arange(0, 360, 20))
_PLACES = [(radius * math.cos(angle), radius * math.sin(angle)) for radius in _RADII for angle in _ANGLES]
# What a place costs: it leaves the panel, covers a name, the legend or a point, lies on a line, is nearer to the point
# of another name than to its own, is far away.
_OUTSIDE, _ON_NAME, _ON_LEGEND, _ON_POINT, _ON_LINE, _NEARER, _FAR = 1e4, 1e3, 1e3, 100.0, 3.0, 1.0, 0.1


def add(panel: Axes, x: float, y: float, text: str) -> None:
    """Names a point; `arrange` finds the place."""
    panel.annotate(
        text, (x, y), xytext=_PLACES[0], textcoords="offset points", fontsize=_SIZE, va="center", gid=_NAME
    )  # fmt: skip


def arrange(figure: Figure) -> None:
    """Moves every name of a finished figure to the place that covers least.

    A line joins a name to its point where that is further away, or another point is about as near.
    """
    figure.draw_without_rendering()  # only now is it known where everything lies
    marker = _MARKER * figure.dpi / _POINTS_PER_INCH
    for panel in figure.axes:
        names = [text for text in panel.texts if text.get_gid() == _NAME]
        dots, lines = panel.transData.transform([name.xy for name in names]), _points_on_lines(panel)
        legend = [panel.get_legend().get_window_extent()] if panel.get_legend() else []
        taken: list[Bbox] = []
        for own, name in enumerate(names):
            size = name.get_window_extent()
            boxes = [_box(size, dots[own], place, figure.dpi) for place in _PLACES]
            away = [_distances(box, dots) for box in boxes]
            costs = [
                _cost(box, panel.bbox, taken, legend, lines, distances, own, marker)
                for box, distances in zip(boxes, away)
            ]
            best = int(np.argmin(costs + _FAR * np.repeat(_RADII, len(_ANGLES))))
            taken.append(boxes[best])
            name.set(position=_PLACES[best], horizontalalignment=_alignment(_PLACES[best]))
            doubtful = (np.delete(away[best], own) < _CLEARLY_NEARER * away[best][own]).any()
            if doubtful or math.hypot(*_PLACES[best]) > _NEAR:
                panel.annotate("", name.xy, xytext=_PLACES[best], textcoords="offset points", arrowprops=_LINE)


def _cost(
    box: Bbox, panel: Bbox, names: list[Bbox], legend: list[Bbox], lines: np.ndarray,
    distances: np.ndarray, own: int, marker: float,
) -> float:  # fmt: skip
    """What it costs a name to lie in the box, with those distances to the points; `own` is the index of the name's."""
    return (
        _OUTSIDE * (not _inside(box, panel))
        + _ON_NAME * box.count_overlaps(names)
        + _ON_LEGEND * box.count_overlaps(legend)
        + _ON_POINT * (distances < marker).sum()
        + _ON_LINE * min(_held(box, lines), 3)
        + _NEARER * (distances < distances[own]).sum()
    )


def _alignment(place: tuple[float, float]) -> str:
    return "center" if abs(place[0]) < abs(place[1]) / 2 else "left" if place[0] > 0 else "right"


def _box(size: Bbox, dot: np.ndarray, place: tuple[float, float], dpi: float) -> Bbox:
    """Where a name of that size would lie, in pixels, with some room around it."""
    x, y = dot + np.array(place) * dpi / _POINTS_PER_INCH
    left = {"left": x, "center": x - size.width / 2, "right": x - size.width}[_alignment(place)]
    return Bbox.from_bounds(left, y - size.height / 2, size.width, size.height).padded(_ROOM)


def _inside(box: Bbox, panel: Bbox) -> bool:
    return panel.x0 <= box.x0 and box.x1 <= panel.x1 and panel.y0 <= box.y0 and box.y1 <= panel.y1


def _distances(box: Bbox, dots: np.ndarray) -> np.ndarray:
    """From the box to each of the points, in pixels; 0 inside."""
    return np.hypot(*np.maximum(np.maximum(box.min - dots, dots - box.max), 0).T)


def _held(box: Bbox, dots: np.ndarray) -> int:
    """How many of the points lie in the box."""
    return int(((dots >= box.min) & (dots <= box.max)).all(axis=1).sum())


def _points_on_lines(panel: Axes) -> np.ndarray:
    """Points along the lines and error bars of a panel, in pixels, close enough to tell whether a name covers one."""
    drawn = [line.get_xydata() for line in panel.lines if line.get_linestyle() != "None"]
    drawn += [
        segment for bars in panel.collections if isinstance(bars, LineCollection) for segment in bars.get_segments()
    ]
    steps = np.linspace(0, 1, 50)[:, None]
    found = [np.empty((0, 2))]
    for path in drawn:
        pixels = panel.transData.transform(path)
        found += [start + steps * (end - start) for start, end in itertools.pairwise(pixels)]
    points = np.concatenate(found)
    return points[np.isfinite(points).all(axis=1)]
