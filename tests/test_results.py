"""What the README, docs/train.md and results/README.md say of networks is what the records in results/ hold."""

import pathlib
import re

import pytest

from effnet_jax.report import overview
from effnet_jax.report.runs import read_runs

ROOT = pathlib.Path(__file__).parents[1]
README, TRAIN, RESULTS = ROOT / "README.md", ROOT / "docs/train.md", ROOT / "results/README.md"
# First cells of rows -> names of records.
AT_EQUAL_COST = {
    "EfficientNet, resolution alone": "resolution_matched",
    "ResNet-50 of fewer, wider blocks": "resnet50_shallow_4x",
    "DenseNet-201, narrowed": "densenet201_4x",
    "ResNet-50, narrowed": "resnet50_4x",
    "EfficientNet, compound scaling with the paper's proportions": "compound_matched",
    "ResNet-152, narrowed": "resnet152_4x",
    "EfficientNet, width alone": "width_matched",
    "the baseline, a quarter of the cost": "baseline",
    "EfficientNet, depth alone": "depth_matched",
}
SINGLE_AXES = {
    "resolution": "resolution_matched",
    "compound (the paper's proportions)": "compound_matched",
    "width": "width_matched",
    "depth": "depth_matched",
    "nothing (the baseline)": "baseline",
}
FAMILY = {
    "EfficientNet, phi 0 to 3": ("baseline", "phi1", "phi2", "phi3"),
    "ResNet-50, 0.14 and 0.2 of its width": ("", "", "resnet50_4x", "resnet50_8x"),
    "ResNet-50 of 0.3 of its depth, 0.21 and 0.3 of its width": ("", "", "resnet50_shallow_4x", "resnet50_shallow_8x"),
    "ResNet-152, 0.09 of its width": ("", "", "resnet152_4x", "resnet152_8x"),
    "DenseNet-201, 0.17 and 0.23 of its growth rate, 24 and 26 px": ("", "", "densenet201_4x", "densenet201_8x"),
}
TUNED = {  # -> name, resolutions in pixels that were tried, the best
    "ResNet-50": ("resnet50", (16, 24, 32), 32),
    "ResNet-50 of fewer, wider blocks": ("resnet50_shallow", (16, 24, 32), 32),
    "ResNet-152": ("resnet152", (16, 24, 32), 32),
    "DenseNet-201": ("densenet201", (16, 24, 30), 24),
    "phi 2 of the family (EfficientNet)": ("phi2", (), 32),
}
RECIPES = {"`half_b0_cifar100.py`": "half_b0_cifar100", "`b0_cifar100.py`": "b0_cifar100"}
CONFIGS = RECIPES | {"`small_cifar100.py`": "baseline"}


@pytest.fixture(scope="module")
def points():
    """Every network by each of its names."""
    return {name: point for point in overview.points(ROOT / "results") for name in point.name.split(" = ")}


def rows(page, labels):
    """The cells after the first of the rows that begin with one of the labels, each of which is there."""
    lines = [line for line in page.read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    found = {first: others for first, *others in cells if first in labels}
    assert found.keys() == labels.keys()
    return found


def percent(cell):
    """The first figure of a cell, which may be a link."""
    return float(re.match(r"\[?([\d.]+) %", cell).group(1))


def rounded(value):
    """A percentage of one decimal, a half either way."""
    return pytest.approx(value, abs=0.0501)


def test_networks_of_equal_cost(points):
    for label, (pixels, seeds, accuracy) in rows(README, AT_EQUAL_COST).items():
        point = points[AT_EQUAL_COST[label]]
        said = int(pixels), int(seeds), percent(accuracy)
        assert said == (point.pixels, len(point.accuracies), rounded(point.mean)), label


def test_recipes(points):
    for label, (_, macs, accuracy, _) in rows(README, RECIPES).items():
        point = points[RECIPES[label]]
        assert macs == f"{point.macs / 1e6:.0f} M" and percent(accuracy) == rounded(point.mean), label
        by_seed = re.findall(r"\d+\.\d", accuracy.partition(":")[2])
        assert list(map(float, by_seed)) == [rounded(100 * value) for value in point.accuracies.values()], label


def test_table_of_configs(points):
    for label, (_, macs, accuracy) in rows(TRAIN, CONFIGS).items():
        point = points[CONFIGS[label]]
        assert (macs, percent(accuracy)) == (f"{point.macs / 1e6:.0f}", rounded(point.mean)), label


def test_single_axes(points):
    for label, by_seed in rows(RESULTS, SINGLE_AXES).items():
        expected = [rounded(100 * value) for value in points[SINGLE_AXES[label]].accuracies.values()]
        assert list(map(percent, by_seed)) == expected, label


def test_family(points):
    for label, cells in rows(RESULTS, FAMILY).items():
        for name, cell in zip(FAMILY[label], cells, strict=True):
            if name in points:
                point = points[name]
                assert percent(cell) == rounded(point.mean) and cell.endswith(f"({len(point.accuracies)})"), name
            else:
                assert cell == ("not run" if name else ""), name


def test_search():
    measured = {}
    for run in read_runs(ROOT / "results/grid_search_cpu/runs"):
        measured.setdefault(run.name.rpartition("_seed")[0], []).append(run)
    labels = {}
    for name in measured:
        depth, width, resolution = re.fullmatch(r"a([\d.]+)_b([\d.]+)_g([\d.]+)", name).groups()
        labels[f"{depth}, {width}, {resolution}" + " (the paper's)" * (name == "a1.2_b1.1_g1.15")] = name
    for label, said in rows(RESULTS, labels).items():
        runs = measured[labels[label]]
        for split, cell in zip(("validation", "test"), said, strict=True):
            expected = [rounded(100 * run.accuracy(split)) for run in runs]
            assert list(map(percent, cell.split(", "))) == expected, (label, split)


def test_resolutions_and_learning_rates():
    records = read_runs(ROOT / "results/study_baselines_cpu/runs")
    measured = {run.name.removesuffix("_seed0"): 100 * run.accuracy("validation") for run in records}
    for label, said in rows(RESULTS, TUNED).items():
        network, sides, best = TUNED[label]
        names = [f"{network}_{side}px_double" for side in sides]
        at_best = f"{network}_{best}px" if sides else network
        names += [f"{at_best}_{rate}" for rate in ("same", "double", "fourfold", "eightfold", "sixteenfold")]
        assert said.pop(3) == f"{best} px"
        figures = [percent(cell) for cell in said if cell]
        assert figures == [rounded(measured[name]) for name in names if name in measured], label
