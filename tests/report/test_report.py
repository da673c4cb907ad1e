"""Reports from pretended runs: what stands in them, and what is refused."""

import dataclasses
import json
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.colors import to_hex
from ml_collections import ConfigDict

from configs import default, study_axes, study_family
from configs.study_single_axis import member
from effnet_jax import report
from effnet_jax.errors import UserError
from effnet_jax.report import collection, published, runs
from effnet_jax.report.figures import STYLES, figures
from effnet_jax.search import grid_search, runner
from effnet_jax.study import scaling_study
from tests import conftest, forked
from tests.search import studies

ROOT = Path(__file__).resolve().parents[2]


def silent(*_):
    pass


TUNED = ConfigDict(
    {
        "small": member(),
        "large": member(resolution=1.5),
        "large_double": member(resolution=1.5, learning_rate=2.0),
        "large_half": member(resolution=1.5, learning_rate=0.5),
        "deep": member(depth=2.0, resolution=1.5),
    },
    sort_keys=False,
)


@pytest.fixture(scope="module")
def workdirs(tmp_path_factory):
    """A study of each kind, a search and plain runs."""
    root = tmp_path_factory.mktemp("runs")
    single, tuning = studies.tiny_study(), studies.tiny_study()
    tuning.study.update(kind="tuning", seeds=(0,))
    tuning.study.members = TUNED
    family, axes = study_family.get_config(), study_axes.get_config()
    family.study.seeds = axes.study.seeds = (0,)
    axes.train = studies.tiny_search().train
    for name in list(axes.study.members):
        if name not in ("baseline", "width_1p4", "depth_2", "depth_3", "resolution_1p3"):
            del axes.study.members[name]
    for name in ("b3", "b4", "b5", "b6", "b7"):
        del family.study.members[name]
    family.train.model.num_classes = 10
    family.train.dataset.update(name="digits", validation_examples=180)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "train_and_evaluate", studies.pretend)
        conftest.no_pictures.__wrapped__(patch)
        for name, config in (("single_axis", single), ("family", family), ("axes", axes), ("tuning", tuning)):
            scaling_study.run(config, root / name)
        grid_search.search(studies.wider_search(), root / "grid_search")
    for seed in (0, 1):
        config = studies.tiny_search().train
        config.seed = seed
        studies.pretend(config, root / f"plain/tiny_seed{seed}", silent)
    return root


KINDS = {
    "single_axis": "figure8",
    "family": "figure1",
    "axes": "figure3",
    "tuning": "tuning",
    "grid_search": "grid_search",
    "plain": "costs",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_is_whole_and_labelled(kind, workdirs, tmp_path):
    page = report.write(workdirs / kind, tmp_path)
    pictures = {f"{name}.{ending}" for name in (KINDS[kind], "curves") for ending in ("png", "svg")}
    assert {path.name for path in tmp_path.iterdir()} == {"report.md", "report.json", "index.html"} | pictures
    text, html = (tmp_path / "report.md").read_text(), page.read_text()
    assert all("REDUCED: 0.5 of 15 epochs" in written for written in (text, html))
    small = kind in ("single_axis", "axes", "tuning", "grid_search")
    assert all(("Baseline: efficientnet_b0 with 0.25 of its width" in written) is small for written in (text, html))
    assert not re.search(r'(src|href)="(?!data:)', html), "opens without a network"
    assert html.count("data:image/png;base64,") == 2


@pytest.mark.usefixtures("no_pictures")
def test_runs_that_selected_nothing_have_a_gap_in_place_of_validation(workdirs, tmp_path):
    shutil.copytree(workdirs / "plain", tmp_path / "runs")
    for path in (tmp_path / "runs").glob("*/results.json"):
        results = json.loads(path.read_text())
        del results["validation"]
        path.write_text(json.dumps(results))
        log = path.with_name("metrics.jsonl")
        log.write_text("".join(line for line in log.read_text().splitlines(True) if '"train"' in line))
    report.write(tmp_path / "runs", tmp_path / "out")
    text = (tmp_path / "out/report.md").read_text()
    table = text.split("## Training, validation and test")[1].split("## ")[0]
    (row,) = [line for line in table.splitlines() if line.startswith("| tiny")]
    assert row.split("|")[4:6] == [" – ", " – "] and "±" in row.split("|")[6]
    assert "no validation images" in text


@pytest.mark.usefixtures("no_pictures")
def test_the_family_is_shown_with_its_widths_its_rates_and_its_training_accuracy(workdirs, tmp_path):
    folder = shutil.copytree(workdirs / "family", tmp_path / "study")
    log = folder / "runs/resnet50_seed0/metrics.jsonl"
    last = [json.loads(line) for line in log.read_text().splitlines() if '"train"' in line][-1]
    log.write_text(log.read_text() + json.dumps(last | {"accuracy": 0.4321, "top5_accuracy": 0.8765}) + "\n")
    config = json.loads((path := folder / "runs/resnet50_seed0/config.json").read_text())
    config["optimizer"]["learning_rate"] = 0.1234
    path.write_text(json.dumps(config))
    report.write(folder, tmp_path / "out")
    text = (tmp_path / "out/report.md").read_text()
    sizes, accuracies = ([c.strip() for c in line.split("|")] for line in text.splitlines() if "| resnet50 |" in line)
    assert sizes[7:9] == ["64 to 2048", "0.1234"]
    assert accuracies[2:4] == ["43.21", "87.65"]


def test_the_same_runs_give_the_same_report(workdirs, tmp_path):
    contents = []
    for _ in range(2):
        report.write(workdirs / "plain", tmp_path)
        contents.append({path.name: path.read_bytes() for path in tmp_path.iterdir()})
    assert contents[0] == contents[1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_figures_say_that_runs_are_reduced_and_what_is_measured(kind, workdirs):
    for name, figure in figures(collection.read(workdirs / kind)).items():
        assert "REDUCED: 0.5 of 15 epochs" in figure.get_suptitle(), name
        figure.draw_without_rendering()
        drawn = [axes for axes in figure.axes if axes.has_data() and axes.get_label() != "<colorbar>"]
        assert drawn and all(axes.get_xlabel() for axes in drawn)
        for axes in drawn:  # names of points
            for text in axes.texts:
                box = text.get_window_extent()
                assert axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1, f"{text.get_text()} leaves a panel of {name}"


@pytest.mark.usefixtures("no_pictures")
def test_commands_say_what_was_done_and_not_where(workdirs, tmp_path):
    folder = shutil.copytree(workdirs / "single_axis", tmp_path / "study")
    for path in (folder / "study.json", folder / "runs/depth_seed0/results.json"):
        values = json.loads(path.read_text())
        path.write_text(json.dumps(values | {"command": f"python {path.stem}.py --seeds 2 --workdir=/its/place"}))
    report.write(folder, tmp_path / "report")
    for written in ("report.md", "report.json"):
        text = (tmp_path / "report" / written).read_text()
        assert "python study.py --seeds 2" in text and "python results.py --seeds 2" in text
        assert "/its/place" not in text


@pytest.mark.usefixtures("no_pictures")
def test_every_number_leads_back_to_its_run(workdirs, tmp_path):
    report.write(workdirs / "single_axis", tmp_path)
    values = json.loads((tmp_path / "report.json").read_text())
    text = (tmp_path / "report.md").read_text()
    for model in values["models"]:
        stored = [
            json.loads((workdirs / f"single_axis/runs/{model['name']}_seed{seed}/results.json").read_text())
            for seed in (0, 1)
        ]
        mean = 100 * statistics.fmean(run["validation"]["accuracy"] for run in stored)
        assert model["validation_accuracy"][0] == pytest.approx(mean)
        assert model["training_minutes"] == pytest.approx(studies.STEPS * 64 / 100 / 60)
        row = next(line for line in text.splitlines() if line.startswith(f"| {model['name']} ") and "±" in line)
        assert f"{mean:.2f} ±" in row and f"| {model['macs'] / 1e6:.1f} |" in row
    for run in values["runs"].values():
        assert {"command", "commit", "hardware", "wall_seconds", "seed", "versions", "config"} <= run.keys()
    assert {**values["recipe"], **values["runs"]["depth_seed1"]["config"]} == runs.read_run(
        workdirs / "single_axis/runs/depth_seed1"
    ).config


@pytest.mark.usefixtures("no_pictures")
def test_the_papers_figures_are_marked_as_its_own(workdirs, tmp_path):
    report.write(workdirs / "family", tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "paper, ImageNet: test top-5 %" in text and published.SOURCE in text
    assert re.search(r"\| b2 \|.*\| 80\.07 \| 94\.90 \| 80\.16 \| 94\.98 \|", text)
    assert re.search(r"\| densenet201 \|.*\| – \| – \| – \| – \|", text), "it has no row in Table 8"


def _narrow(folder, name):
    path = folder / f"runs/{name}_seed0/config.json"
    config = json.loads(path.read_text())
    config["model"]["width_multiplier"] = 0.5
    path.write_text(json.dumps(config))


@pytest.mark.usefixtures("no_pictures")
def test_the_papers_figures_stand_beside_its_own_models_alone(workdirs, tmp_path):
    folder = shutil.copytree(workdirs / "family", tmp_path / "study")
    _narrow(folder, "b2")
    report.write(folder, tmp_path / "out")
    text = (tmp_path / "out/report.md").read_text()
    assert re.search(r"\| b2 \|.*\| – \| – \| – \| – \|", text) and "| 79.13 | 94.47 | 79.17 | 94.43 |" in text
    for name in ("b0", "b1", "resnet50", "resnet152", "densenet201"):
        _narrow(folder, name)
    report.write(folder, tmp_path / "out")
    text = (tmp_path / "out/report.md").read_text()
    assert "paper, ImageNet" not in text and published.SOURCE not in text


def test_the_curves_have_the_colours_of_the_axes(workdirs):
    found = collection.read(workdirs / "single_axis")
    lines = {line.get_label(): line for line in figures(found)["curves"].axes[1].lines}
    colours = {name: to_hex(line.get_color()).upper() for name, line in lines.items()}
    first = {group.axis: group.name for group in reversed(found.groups)}
    assert len(first) > 2
    assert {axis: colours[name] for axis, name in first.items()} == {axis: STYLES[axis][0] for axis in first}
    assert len(set(colours.values())) == len(colours), "those of one axis are told apart by how pale they are"


def test_times_of_several_kinds_of_machines_say_so(workdirs, tmp_path):
    folder = shutil.copytree(workdirs / "family", tmp_path / "study")
    labels = [axes.get_xlabel() for axes in figures(collection.read(folder))["figure1"].axes[:3]]
    assert "machines" not in " ".join(labels)
    path = folder / "runs/b1_seed0/results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"hardware": "1 x another"}))
    labels = [axes.get_xlabel() for axes in figures(collection.read(folder))["figure1"].axes[:3]]
    assert ["2 kinds of machines" in label for label in labels] == [False, False, True]


def test_the_familys_line_joins_one_model_of_each_cost_in_its_order(workdirs, tmp_path):
    folder = shutil.copytree(workdirs / "family", tmp_path / "study")
    study = json.loads((folder / "study.json").read_text())
    for row in study["members"][1:3]:
        row["matched_to"] = "4 baselines"
    again = dict(study["members"][0], name="again")  # as with another learning rate
    study["members"].append(again)
    shutil.copytree(folder / f"runs/{study['members'][0]['name']}_seed0", folder / "runs/again_seed0")
    (folder / "study.json").write_text(json.dumps(study))
    panel = figures(collection.read(folder))["figure1"].axes[1]
    lines = [line.get_xdata().tolist() for line in panel.lines if line.get_linestyle() == "-" and len(line.get_xdata())]
    assert [row["macs"] / 1e6 for row in study["members"][:2]] in lines


def test_the_tuning_of_a_network_is_a_line_over_resolution_and_one_over_learning_rate(workdirs):
    found = collection.read(workdirs / "tuning")
    by_name = {group.name: group for group in found.groups}
    large = by_name["large"]
    drawn = [
        {container.get_label(): container.lines[0].get_xydata().tolist() for container in panel.containers}
        for panel in figures(found)["tuning"].axes
    ]
    rate, name = large.learning_rates[0], "efficientnet_b0"
    lines = (
        {
            f"{name}, learning rate {rate:g}": ("small", "large"),
            f"{name}, 2 of its depth, learning rate {rate:g}": ("deep",),
        },
        {
            f"{name}, {large.pixels} px": ("large_half", "large", "large_double"),
            f"{name}, 2 of its depth, {large.pixels} px": ("deep",),
        },
    )
    for panel, named, size in zip(drawn, lines, (lambda g: g.pixels, lambda g: g.learning_rates[0])):
        assert panel == {
            label: [[size(by_name[name]), by_name[name].accuracy("validation")[0]] for name in names]
            for label, names in named.items()
        }


def test_the_curves_of_many_models_have_all_their_names_inside_the_picture(workdirs):
    found = collection.read(workdirs / "tuning")
    figure = figures(dataclasses.replace(found, groups=found.groups * 9))["curves"]
    figure.draw_without_rendering()
    legend = figure.axes[1].get_legend()
    box = legend.get_window_extent()
    assert len(legend.get_texts()) == 9 * len(TUNED)
    assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1 and box.x1 <= figure.bbox.x1


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(
    ("dropped", "error", "seeds"),
    [
        ([], "over the seeds; 180", "2 seeds"),
        (["depth_seed1"], "over the seeds, of counting hits where there is one; 180", "1 to 2 seeds"),
        (["*_seed1"], "of counting hits, with one seed; 180", "1 seed"),
    ],
)
def test_how_many_seeds_there_are_and_what_standard_error_that_makes(dropped, error, seeds, workdirs, tmp_path):
    folder = shutil.copytree(workdirs / "single_axis", tmp_path / "study")
    for pattern in dropped:
        for run in (folder / "runs").glob(pattern):
            shutil.rmtree(run)
    report.write(folder, tmp_path / "out")
    notes = [line for line in (tmp_path / "out/report.md").read_text().splitlines() if "one standard error" in line]
    assert notes and all(error in note for note in notes)
    drawn = figures(collection.read(folder))
    assert drawn and all(figure.get_suptitle().partition("\n")[0].endswith(f", {seeds}") for figure in drawn.values())


@pytest.mark.usefixtures("no_pictures")
def test_missing_runs_leave_a_gap(workdirs, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(workdirs / "axes", folder)
    shutil.rmtree(folder / "runs/depth_2_seed0")
    (folder / "runs/depth_3_seed0/results.json").unlink()
    report.write(folder, tmp_path / "report")
    text = (tmp_path / "report/report.md").read_text()
    assert re.search(r"\| depth_2 \|.*\| 0 of 1 \| – \| – \| – \|", text)
    assert "missing: not run" in text and "missing: unfinished, 0.5 epochs done" in text
    figure = figures(collection.read(folder))["figure3"]
    assert "not run: depth_2, depth_3" in figure.get_suptitle()


def test_a_full_run_is_not_called_reduced(workdirs, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(workdirs / "plain/tiny_seed0", folder)
    config = json.loads((folder / "config.json").read_text())
    config["model"]["width_multiplier"] = config["model"]["depth_multiplier"] = 1.0
    (folder / "config.json").write_text(json.dumps(config))
    records = (folder / "metrics.jsonl").read_text().replace('"epoch": 0.5', '"epoch": 30.0')
    (folder / "metrics.jsonl").write_text(records.replace('"step": 5', '"step": 600'))
    assert collection.read(folder).reductions == []
    assert default.get_config().num_epochs >= runs.FULL_EPOCHS


def _empty(root, folder):
    folder.mkdir()


def _unfinished(root, folder):
    shutil.copytree(root / "plain", folder)
    for path in folder.glob("*/results.json"):
        path.unlink()


def _two_recipes(root, folder):
    shutil.copytree(root / "plain", folder)
    config = studies.tiny_search().train
    config.optimizer.learning_rate = 0.5
    studies.pretend(config, folder / "other", silent)


def _stranger(root, folder):
    shutil.copytree(root / "axes", folder)
    shutil.copytree(root / "plain/tiny_seed0", folder / "runs/stranger_seed0")


def _another_model(root, folder):
    shutil.copytree(root / "axes", folder)
    shutil.rmtree(folder / "runs/depth_2_seed0")
    shutil.copytree(root / "axes/runs/depth_3_seed0", folder / "runs/depth_2_seed0")


def _damaged(root, folder):
    shutil.copytree(root / "plain", folder)
    (folder / "tiny_seed0/results.json").write_text("{")


def _twice(root, folder):
    shutil.copytree(root / "plain", folder)
    shutil.copytree(root / "plain/tiny_seed0", folder / "copy")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root, folder: None, "is no folder"),
        (_empty, "holds no runs; give the --workdir"),
        (_unfinished, "no run in .* is finished"),
        (_two_recipes, "mixes runs of different recipes .*optimizer.learning_rate: .* -> "),
        (_stranger, r"mixes in runs of no such study \(stranger_seed0\)"),
        (_another_model, "the run depth_2_seed0 is not the one this study describes"),
        (_damaged, "results.json cannot be read"),
        (_twice, "holds one run more than once"),
        (lambda root, folder: shutil.copytree(root, folder), "holds studies of its own .*--runs="),
    ],
)
def test_refused(make, message, workdirs, tmp_path):
    make(workdirs, tmp_path / "given")
    with pytest.raises(UserError, match=message):
        report.write(tmp_path / "given", tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_the_script(workdirs, tmp_path):
    command = ["scripts/report.py", f"--output={tmp_path / 'out'}"]
    done = forked.run(*command, f"--runs={workdirs / 'plain'}")
    assert done.returncode == 0 and done.stdout.strip() == str(tmp_path / "out/index.html")
    code = "import sys; from effnet_jax import report; print('jax' in sys.modules, 'optuna' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert loaded.stdout.split() == ["False", "False"], "it trains nothing and starts at once"
    failed = forked.run(*command, f"--runs={tmp_path}")
    assert failed.returncode == 2 and failed.stderr.startswith("error: ") and failed.stderr.count("\n") == 1
