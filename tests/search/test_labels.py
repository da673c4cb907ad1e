"""Where names stand beside points: the rest is tested on whole figures, in tests/report."""

import numpy as np
from matplotlib.figure import Figure

from effnet_jax.search import labels


def test_a_name_stands_off_the_points_and_the_lines():
    figure = Figure()
    panel = figure.subplots()
    xs = np.linspace(0, 1, 9)
    panel.plot([0, 1], [0, 1], color="black")
    for x in xs:
        labels.add(panel, x, x, "a name")
        labels.add(panel, x, 0.5, "another")
    panel.margins(labels.MARGIN)
    labels.arrange(figure)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in panel.texts if text.get_text()]
    assert len(boxes) == 18
    for covered in (np.stack([xs, xs], 1), np.stack([xs, np.full_like(xs, 0.5)], 1), np.linspace((0, 0), (1, 1), 400)):
        assert not any(box.contains(*dot) for box in boxes for dot in panel.transData.transform(covered))


def test_it_is_clear_whose_name_it_is_where_points_lie_close_together():
    figure = Figure()
    panel = figure.subplots()
    panel.set(xlim=(0, 1), ylim=(0, 1))
    dots = {
        "first": (0.5, 0.5),
        "second": (0.5, 0.52),
        "third": (0.51, 0.51),
        "fourth": (0.52, 0.49),
        "far": (0.2, 0.2),
    }
    for name, dot in dots.items():
        labels.add(panel, *dot, name)
    labels.arrange(figure)
    figure.draw_without_rendering()
    joined = [text.xy for text in panel.texts if not text.get_text()]
    assert dots["far"] not in joined
    for text in panel.texts:
        if text.get_text() and text.xy not in joined:
            box = text.get_window_extent().padded(labels._ROOM)
            away = dict(zip(dots, labels._distances(box, panel.transData.transform(list(dots.values())))))
            own = away.pop(text.get_text())
            assert all(other >= 1.49 * own for other in away.values()), (text.get_text(), own, away)
