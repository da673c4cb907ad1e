"""A checkpoint on another data set than its own, and where it errs."""

import csv
import json

import jax
import numpy as np
import pytest
import scipy.special
from PIL import Image

import effnet_jax
from effnet_jax.data.decode.crops import central_crop
from effnet_jax.errors import UserError
from effnet_jax.evaluation import checkpoint, report
from effnet_jax.evaluation.checkpoint import evaluate_checkpoint
from effnet_jax.evaluation.classes import UNKNOWN, matched
from effnet_jax.evaluation.examples import Examples
from effnet_jax.process import memory
from tests.checkpoints import LABELS, exhausted, write_checkpoint
from tests.short import four_blocks, networks_of

short_networks = networks_of(four_blocks)
FOLDERS = {"Dog": 5, "ship": 4, "zebra": 3}  # the network knows dog and ship


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_checkpoint(folder, resolution=64)
    return folder


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for name, count in FOLDERS.items():
        (folder / name).mkdir()
        for number in range(count):
            size = 40 + 3 * number, 60 - 2 * number
            Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(folder / name / f"{number}.png")
    return folder


def test_classes_are_the_same_where_their_names_are():
    assert matched(("giant panda", "Persian_cat", "dog"), ("persian-cat", "cow", "DOG")).tolist() == [1, UNKNOWN, 2]
    with pytest.raises(UserError, match=r"knows none of the classes.*tells cat, dog apart.*has cow"):
        matched(("cat", "dog"), ("cow",))


def test_too_little_memory_says_what_needs_less(run, photographs, monkeypatch):
    monkeypatch.setattr(checkpoint, "walk", exhausted)
    with pytest.raises(memory.TooLittle, match=r"^a batch of 8 images needs more memory .*: lower --batch_size$"):
        evaluate_checkpoint(run, batch_size=8, dataset=f"folder:{photographs}")


def test_a_folder_is_evaluated_image_by_image(run, photographs, tmp_path, capsys):
    found = evaluate_checkpoint(run, batch_size=8, dataset=f"folder:{photographs}", report=tmp_path / "report")
    assert "does not know zebra: 3 images of 1 classes are left out" in capsys.readouterr().err
    paths = [photographs / name / f"{number}.png" for name in ("Dog", "ship") for number in range(FOLDERS[name])]
    truth = np.array([LABELS.index(path.parent.name.lower()) for path in paths])
    net = effnet_jax.load(run)
    seen = net.preprocess  # by the rule that cuts what streams
    cut = np.stack([central_crop(path.read_bytes(), path.name, seen.resolution, seen.crop_fraction) for path in paths])
    apply = jax.jit(lambda v, x: net.model.apply(v, net.preprocess.normalize(x), train=False))
    logits = np.asarray(apply(net.variables, cut), np.float64)
    predicted = logits.argmax(1)
    assert found["count"] == 9 and found["dataset"] == f"folder:{photographs}"
    np.testing.assert_allclose(found["accuracy"], (predicted == truth).mean())
    loss = scipy.special.logsumexp(logits, axis=1) - logits[np.arange(9), truth]
    np.testing.assert_allclose(found["loss"], loss.mean(), rtol=1e-4)

    rows = list(csv.reader((tmp_path / "report" / report.BY_CLASS).open()))
    assert {row[0]: row[1] for row in rows[1:]} == {"dog": "5", "ship": "4"}
    matrix = list(csv.reader((tmp_path / "report" / report.CONFUSION).open()))
    assert matrix[0][1:] == list(LABELS)
    counted = {row[0]: list(map(int, row[1:])) for row in matrix[1:]}
    for name in ("dog", "ship"):
        said = predicted[truth == LABELS.index(name)]
        assert counted[name] == np.bincount(said, minlength=len(LABELS)).tolist()
    content = json.loads((tmp_path / "report" / report.FIGURES).read_text())
    assert content["accuracy"] == found["accuracy"] and len(content["by_class"]) == 2
    for name in (report.MATRIX, report.CALIBRATION, report.MISTAKES):
        Image.open(tmp_path / "report" / name).verify()


def test_without_a_data_set_of_its_own_one_has_to_be_given(run):
    with pytest.raises(UserError, match="name no data set to evaluate on: give --dataset"):
        evaluate_checkpoint(run, batch_size=8)


def examples(labels, predicted, confidence):
    labels, predicted = np.array(labels), np.array(predicted)
    rank = np.where(labels == predicted, 0, 1)
    return Examples(
        np.arange(len(labels)), labels, predicted, np.array(confidence, np.float32), rank, np.zeros(len(labels))
    )


def test_calibration_error_by_hand():
    # Two bins: confidence .95 with 3 of 4 right, .55 with 1 of 2 right.
    found = examples([0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 0], [0.95] * 4 + [0.55] * 2)
    np.testing.assert_allclose(found.calibration_error(), (4 * abs(0.75 - 0.95) + 2 * abs(0.5 - 0.55)) / 6, rtol=1e-6)


def test_mistakes_are_shown_surest_first_and_classes_worst_first():
    found = examples([0, 1, 2, 2], [1, 1, 0, 1], [0.6, 0.9, 0.8, 0.7])
    assert report.most_confident_mistakes(found).tolist() == [2, 3, 0]
    rows = report.by_class(report.confusion(found, 4), "abcd", np.arange(4))
    assert rows[0][:3] == ("a", 1, 0.0) and rows[2] == ("b", 1, 1.0, "", 0)
    assert rows[3] == ("d", 0, None, "no images", 0)
    assert rows[1][:3] == ("c", 2, 0.0)
