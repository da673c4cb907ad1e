"""Summaries: sums that add up, and a command that starts without JAX."""

import json
import pathlib
import subprocess
import sys

import pytest

from effnet_jax.architecture import scaling, summary
from effnet_jax.errors import UserError
from tests import forked

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(*arguments):
    return forked.run("scripts/summarize.py", *arguments)


@pytest.mark.parametrize("name", scaling.FAMILY)
def test_stages_and_blocks_add_up(name):
    figures = summary.as_json(summary.summarize(name))
    assert len(figures["stages"]) == 10  # stem, seven stages, head, classifier
    for total, field in (("trainable_parameters", "parameters"), ("macs", "macs"), ("batch_stats", "batch_stats")):
        assert sum(stage[field] for stage in figures["stages"]) == figures[total]
        for stage in figures["stages"]:
            if stage["blocks"]:
                assert sum(block[field] for block in stage["blocks"]) == stage[field]
                assert len(stage["blocks"]) == stage["repeats"]


def test_rows_of_b0_are_table_1_of_the_paper():
    rows = summary.as_json(summary.summarize("efficientnet_b0"))["stages"]
    found = [(r["operator"], r["kernel_size"], r["output_size"], r["output_filters"], r["repeats"]) for r in rows]
    assert found == [
        ("Conv", 3, 112, 32, 1),
        ("MBConv1", 3, 112, 16, 1),
        ("MBConv6", 3, 56, 24, 2),
        ("MBConv6", 5, 28, 40, 2),
        ("MBConv6", 3, 14, 80, 3),
        ("MBConv6", 5, 14, 112, 3),
        ("MBConv6", 5, 7, 192, 4),
        ("MBConv6", 3, 7, 320, 1),
        ("Conv", 1, 7, 1280, 1),
        ("Pool & Dense", 1, 1, 1000, 1),
    ]
    assert [row["receptive_field"] for row in rows[:4]] == [3, 7, 19, 67]


def test_table():
    text = summary.as_table(summary.summarize("efficientnet_b0", num_classes=100), batch_size=8)
    assert "trainable parameters  4,135,648" in text
    assert "stage6_block4" in text
    assert "at batch size 8" in text
    shorter = summary.as_table(summary.summarize("efficientnet_b0"), batch_size=8, blocks=False)
    assert "stage6_block4" not in shorter and "stage6" in shorter


def test_multipliers_and_resolution():
    small = summary.summarize("efficientnet_b0", 32, 10, width_multiplier=0.5, depth_multiplier=0.5)
    expected = scaling.architecture(0.5, 0.5).count(32, 10)
    assert small.counts == expected


@pytest.mark.parametrize("arguments", [("efficientnet_b9",), ("efficientnet_b0", 0), ("efficientnet_b0", 8, 0)])
def test_refused(arguments):
    with pytest.raises(UserError):
        summary.summarize(*arguments)


def test_the_command():
    figures = json.loads(run("--model=efficientnet_b4", "--json").stdout)
    assert figures["trainable_parameters"] == 19_341_616
    assert {"model", "batch_stats", "macs", "resolution", "stages"} <= figures.keys()
    assert run("--model=efficientnet_b4", "--width_multiplier=-1").returncode == 2


def test_the_command_for_a_baseline():
    figures = json.loads(run("--model=resnet50", "--json").stdout)
    assert (figures["trainable_parameters"], figures["resolution"], len(figures["stages"])) == (25_557_032, 224, 6)
    assert figures["width_multiplier"] is None
    text = run("--model=densenet201", "--num_classes=100").stdout
    assert "transition3" in text and "width" not in text
    narrow = json.loads(run("--model=resnet50", "--width_multiplier=0.25", "--json").stdout)
    assert (narrow["width_multiplier"], narrow["depth_multiplier"]) == (0.25, 1)
    assert narrow["trainable_parameters"] < 25_557_032 / 8


def test_the_family_beside_the_paper():
    lines = run("--model=all").stdout.splitlines()
    b4 = next(line for line in lines if line.startswith("efficientnet_b4")).split()
    assert b4 == ["efficientnet_b4", "1.4", "1.8", "380", "19,341,616", "19M", "125,200", "4.3938", "4.2B"]
    family = json.loads(run("--model=all", "--json").stdout)
    assert [row["model"] for row in family] == list(scaling.FAMILY)


def test_nothing_heavy_is_loaded():
    code = "import sys, effnet_jax.architecture.summary; print('jax' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_arrays_of_a_model_are_those_that_are_counted():
    done = run("--model=efficientnet_b0", "--num_classes=100", "--arrays")
    counts = summary.summarize("efficientnet_b0", num_classes=100).counts
    assert done.stdout.splitlines()[-1].startswith(f"Total: {counts.parameters + counts.batch_stats:,} -- ")
    cells = [[cell.strip() for cell in line.split("|")] for line in done.stdout.splitlines()]
    assert ["", "params/classifier/kernel", "(1280, 100)", "float32", "128,000", ""] in cells


def test_arrays_of_a_checkpoint_have_mean_and_spread():
    done = run("half_b0_cifar100")
    title, _, header, *_ = done.stdout.splitlines()
    assert title == "efficientnet_b0, step 12285, ema weights"
    assert [cell.strip() for cell in header.split("|")[1:-1]] == ["Name", "Shape", "Dtype", "Size", "Mean", "Std"]
    assert "Total: 7" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "give --model"),
        (("half_b0_cifar100", "--model=resnet50"), "not both"),
        (("half_b0_cifar100", "--json"), "leave --json"),
        (("--model=all", "--arrays"), "--model all"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, expected):
    done = run(*arguments)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and expected in done.stderr
