"""The picture of test accuracy over multiply-adds, made of records."""

import json

import matplotlib.text

from effnet_jax.report import overview


def record(folder, name, accuracy, epochs=20, dataset="cifar100", macs=10**7, model="efficientnet_b0", study="recipes"):
    run = folder / study / "runs" / name
    run.mkdir(parents=True)
    nested = {"dataset": {"name": dataset, "validation_examples": 5000}, "batch_size": 100, "seed": 0}
    (run / "config.json").write_text(json.dumps(nested))
    line = {"split": "train", "step": 450 * epochs, "epoch": epochs, "images_per_second": 9.0}
    (run / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    test = {"accuracy": 0.1, "ema_accuracy": accuracy}
    results = {"model": model, "macs": macs, "selected_weights": "ema", "test": test}
    (run / "results.json").write_text(json.dumps(results))


def test_a_point_a_network_with_its_seeds_and_only_what_went_to_its_end(tmp_path):
    record(tmp_path, "small_seed0", 0.5)
    record(tmp_path, "small_seed1", 0.6)
    record(tmp_path, "resnet50_x", 0.7, macs=10**6, model="resnet50")
    record(tmp_path, "stopped", 0.9, epochs=10)
    record(tmp_path, "other_data", 0.9, dataset="cifar10")
    record(tmp_path, "candidate", 0.9, study="grid_search_cpu")
    (tmp_path / "recipes/runs/small_seed2").mkdir()
    (tmp_path / "recipes/runs/small_seed2/config.json").write_text("{}")
    found = overview.points(tmp_path)
    assert [(point.name, point.model, point.accuracies) for point in found] == [
        ("resnet50_x", "resnet50", (0.7,)),
        ("small", "efficientnet_b0", (0.5, 0.6)),
    ]
    assert overview.write(tmp_path) == tmp_path / overview.FILE


def test_no_name_covers_another_or_leaves_the_axes():
    found = [
        overview.Point(
            f"a_network_of_some_size_{index}", "efficientnet_b0", 10**7 + index * 10**5, (0.6 + index / 1000,)
        )
        for index in range(8)
    ]
    figure = overview.draw(found)
    panel = figure.axes[0]
    names = [text for text in panel.texts if isinstance(text, matplotlib.text.Annotation)]
    assert [text.get_text() for text in names] == [point.name for point in found]
    boxes = [text.get_window_extent() for text in names]
    assert all(panel.bbox.x0 <= box.x0 and box.x1 <= panel.bbox.x1 for box in boxes)
    assert not any(box.overlaps(other) for box in boxes for other in boxes if other is not box)


def test_without_records_there_is_no_picture(tmp_path):
    assert overview.write(tmp_path) is None
    assert not (tmp_path / overview.FILE).exists()
