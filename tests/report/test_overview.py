"""The picture of test accuracy over multiply-adds, made of records."""

import json
import math
import pathlib

import pytest

from effnet_jax.report import overview


def record(
    folder, name, accuracy, seed=0, epochs=20, dataset="cifar100", macs=10**7, model="efficientnet_b0", study="recipes"
):  # fmt: skip
    run = folder / study / "runs" / name
    run.mkdir(parents=True)
    data = {"name": dataset, "validation_examples": 5000, "resolution": 16}
    nested = {
        "dataset": data,
        "batch_size": 100,
        "seed": seed,
        "model": {"name": model},
        "eval_every_steps": len(study),
    }
    (run / "config.json").write_text(json.dumps(nested))
    line = {"split": "train", "step": 450 * epochs, "epoch": epochs, "images_per_second": 9.0}
    (run / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    test = {"accuracy": 0.1, "ema_accuracy": accuracy}
    results = {"model": model, "macs": macs, "num_parameters": 7, "selected_weights": "ema", "test": test}
    results["command"] = f"train --config={study} --workdir=runs/x --config.seed={seed}"
    (run / "results.json").write_text(json.dumps(results))


def test_a_point_a_network_with_its_seeds_and_only_what_went_to_its_end(tmp_path):
    record(tmp_path, "small_seed0", 0.5)
    record(tmp_path, "small_seed1", 0.6, seed=1)
    record(tmp_path, "resnet50_x", 0.7, macs=10**6, model="resnet50")
    record(tmp_path, "stopped", 0.9, epochs=10)
    record(tmp_path, "other_data", 0.9, dataset="cifar10")
    record(tmp_path, "candidate", 0.9, study="grid_search_cpu")
    (tmp_path / "recipes/runs/small_seed2").mkdir()
    (tmp_path / "recipes/runs/small_seed2/config.json").write_text("{}")
    found = overview.points(tmp_path)
    assert [(point.name, point.model, point.accuracies) for point in found] == [
        ("resnet50_x", "resnet50", {0: 0.7}),
        ("small", "efficientnet_b0", {0: 0.5, 1: 0.6}),
    ]
    assert overview.write(tmp_path) == tmp_path / overview.PICTURE
    table = (tmp_path / overview.TABLE).read_text()
    assert "| small | 10.0 | 0.00 | 16 | 55.00 | 0: 50.00, 1: 60.00 | `train --config=recipes` |" in table


def test_a_network_that_two_studies_share_is_one_point(tmp_path):
    record(tmp_path, "phi0_seed0", 0.5, study="family")
    for seed, accuracy in enumerate((0.5, 0.6, 0.7)):
        record(tmp_path, f"baseline_seed{seed}", accuracy, seed=seed, study="single_axis")
    record(tmp_path, "resnet50_seed0", 0.4, model="resnet50", study="family")
    found = overview.points(tmp_path)
    assert {(point.name, tuple(point.accuracies.values())) for point in found} == {
        ("phi0 = baseline", (0.5, 0.6, 0.7)),
        ("resnet50", (0.4,)),
    }
    assert found[0].commands == ("train --config=family", "train --config=single_axis")


def test_the_committed_table_is_that_of_the_committed_records():
    results = pathlib.Path(__file__).parents[2] / "results"
    written = (results / overview.TABLE).read_text()
    assert written == overview.table(overview.points(results)), "run python scripts/results.py --draw"


CROWDS = {
    "a line": [(10**7 + index * 10**5, 0.6 + index / 1000) for index in range(8)],
    "a column": [(10**7, 0.6 + index / 500) for index in range(12)],
    "studies": [(macs * 10**6, accuracy / 100) for macs in (26, 27, 53, 56) for accuracy in (48, 53, 55, 58, 62, 66)],
    "a row": [(10**7 * 1.04**index, 0.6) for index in range(8)] + [(10**8, 0.1)],
    "beside the legend": [(10**7, 0.7 + index / 200) for index in range(6)] + [(10**8, 0.1)],
    "one place": [(10**7, 0.6)] * 6,
}


@pytest.mark.parametrize("crowd", CROWDS.values(), ids=CROWDS)
def test_no_name_covers_another_or_a_point_or_leaves_the_axes(crowd):
    found = [
        overview.Point(
            f"a_network_of_some_size_{index}",
            "efficientnet_b0",
            macs,
            1,
            32,
            {0: accuracy - 0.001, 1: accuracy + 0.001},
            (),
        )
        for index, (macs, accuracy) in enumerate(crowd)
    ]
    figure = overview.draw(found)
    figure.draw_without_rendering()
    panel = figure.axes[0]
    names = [text for text in panel.texts if text.get_text()]
    assert [text.get_text() for text in names] == [f"{point.name} (2 seeds)" for point in found]
    boxes = [text.get_window_extent() for text in names]
    legend = panel.get_legend().get_window_extent()
    assert all(panel.bbox.x0 <= box.x0 and box.x1 <= panel.bbox.x1 for box in boxes)
    assert all(panel.bbox.y0 <= box.y0 and box.y1 <= panel.bbox.y1 for box in boxes)
    assert not any(box.overlaps(other) for box in boxes for other in (*boxes, legend) if other is not box)
    dots = panel.transData.transform([name.xy for name in names])
    assert not any(box.contains(*dot) for box in boxes for dot in dots)
    joined = [text.xy for text in panel.texts if not text.get_text()]
    for name, dot, box in zip(names, dots, boxes):
        gap = math.hypot(*(max(low - at, at - high, 0) for low, high, at in zip(box.min, box.max, dot)))
        assert gap < 25 or name.xy in joined, f"nothing tells whose name {name.get_text()} is"


def test_without_records_there_is_no_picture(tmp_path):
    assert overview.write(tmp_path) is None
    assert not list(tmp_path.iterdir())
