"""Prediction: any images, bad ones named and skipped, one compilation a batch size."""

import gc
import io
import json
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import effnet_jax
from effnet_jax.cam.explainer import Explainer
from effnet_jax.data.decode.images import UnreadableImageError
from effnet_jax.errors import UserError
from effnet_jax.inference import predictions
from effnet_jax.process import memory
from tests import forked
from tests.checkpoints import LABELS, exhausted, write_checkpoint

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    write_checkpoint(path)
    return path


@pytest.fixture(scope="module")
def net(folder):
    return effnet_jax.load(folder)


@pytest.fixture
def pictures(tmp_path):
    """Five images of different sizes, two bad files between them."""
    rng = np.random.default_rng(0)
    for index, size in enumerate([(70, 80), (64, 64), (200, 90), (30, 40), (90, 90)]):
        image = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    (tmp_path / "1_empty.jpg").write_bytes(b"")
    (tmp_path / "3_cut.png").write_bytes((tmp_path / "2.png").read_bytes()[:500])
    return tmp_path


def good(pictures):
    return [pictures / f"{index}.png" for index in range(5)]


def test_probabilities(net, pictures):
    probabilities = net.predict(good(pictures))
    assert (probabilities.shape, probabilities.dtype) == ((5, 5), np.float32)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    assert np.ptp(probabilities, axis=0).max() > 1e-3, "different images differ"
    assert net.labels == LABELS
    assert net.resolution == 64


def test_the_batch_size_changes_nothing(net, pictures):
    whole = net.predict(good(pictures))
    for batch_size in (2, 64):
        np.testing.assert_allclose(net.predict(good(pictures), batch_size), whole, rtol=1e-4)


def test_one_compilation_a_batch_size(net, pictures):
    function = net._functions["predict"]
    function.clear_cache()
    for count in (5, 4, 3, 2, 1):
        net.predict(good(pictures)[:1] * count + good(pictures)[:1] * 8, batch_size=4)
    assert function._cache_size() == 1


@pytest.mark.parametrize("name", ["predict", "features", "embed"])
def test_no_size_of_image_is_compiled_for(net, caplog, name):
    """A service or a video would wait for each, and what is compiled stays in memory."""
    ask = getattr(net, name)
    ask(np.zeros((1, 80, 80, 3), np.uint8))
    with jax.log_compiles():
        for side in range(40, 60):
            ask(np.zeros((1, side, 2 * side, 3), np.uint8))
    assert not [record for record in caplog.records if "ompil" in record.getMessage()]


def test_kinds_of_input(net, pictures):
    path = good(pictures)[2]
    from_path = net.predict([path])
    array = np.asarray(Image.open(path))
    np.testing.assert_allclose(net.predict(path), from_path)
    np.testing.assert_allclose(net.predict(str(path)), from_path)
    np.testing.assert_array_equal(net.predict([array]), from_path)
    np.testing.assert_array_equal(net.predict(array[None]), from_path)
    for one in (array, path.read_bytes(), io.BytesIO(path.read_bytes()), Image.open(path), [Image.open(path)]):
        np.testing.assert_array_equal(net.predict(one), from_path)
    mixed = net.predict([array, good(pictures)[0]])
    np.testing.assert_allclose(mixed[0], from_path[0], rtol=1e-4)
    for bad in ([], np.zeros((0, 8, 8, 3), np.uint8), np.zeros((2, 8, 8, 2), np.uint8), array / 255):
        with pytest.raises(UserError):
            net.predict(bad)
    with pytest.raises(UnreadableImageError):
        net.predict([path, pictures / "1_empty.jpg"])


def test_the_weights_are_in_memory_once(folder, pictures):
    held = lambda: sum(array.nbytes for array in jax.live_arrays())  # noqa: E731
    gc.collect()
    before = held()
    net = effnet_jax.load(folder)
    net.predict(good(pictures))
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves(net.variables))
    gc.collect()
    assert held() - before < 1.1 * weights
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(net.variables)), "no copy on the host beside it"
    assert Explainer(net, "net", 8).variables is net.variables


def test_features_and_embeddings(net, pictures):
    features, embedded = net.features(good(pictures)), net.embed(good(pictures))
    assert features.shape == (5, 2, 2, 320)
    np.testing.assert_allclose(features.mean((1, 2)), embedded, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("batch_size", [2, 32])
def test_bad_files_stop_nothing(net, pictures, batch_size):
    paths = sorted(pictures.iterdir())
    found = predictions.records(net, paths, top_k=2, batch_size=batch_size)
    assert [record["path"] for record in found] == [str(path) for path in paths]
    assert [pathlib.Path(r["path"]).name for r in found if "error" in r] == ["1_empty.jpg", "3_cut.png"]
    whole = net.predict(good(pictures))
    readable = [record for record in found if "predictions" in record]
    for record, row in zip(readable, whole):
        assert [p["index"] for p in record["predictions"]] == np.argsort(-row)[:2].tolist()
        assert record["predictions"][0]["label"] == LABELS[row.argmax()]
        assert record["predictions"][0]["probability"] == pytest.approx(row.max(), rel=1e-4)


def test_only_bad_files(net, pictures):
    found = predictions.records(net, [pictures / "1_empty.jpg"], top_k=9, batch_size=4)
    assert predictions.failures(found) and predictions.as_table(found) == ""


def test_too_little_memory_says_what_needs_less(net, pictures, monkeypatch):
    monkeypatch.setattr(net, "_apply", exhausted)
    with pytest.raises(memory.TooLittle, match=r"^a batch of 4 images needs more memory .*: lower --batch_size$"):
        predictions.records(net, good(pictures), top_k=1, batch_size=4)


def run(*arguments):
    return forked.run("scripts/predict.py", *arguments, with_jax=True)


def test_in_a_bare_environment(folder, tmp_path):
    """No home to write to, no other programs, a locale that knows ASCII alone, paths with blanks and percents."""
    place = tmp_path / "a b%20c 100%d"
    place.mkdir()
    Image.new("RGB", (70, 70)).save(place / "kätzchen %s.png")
    shutil.copytree(folder, tmp_path / "run %d b%20c")
    environment = {"HOME": "/dev/null/none", "PATH": "", "LC_ALL": "C", "JAX_PLATFORMS": "cpu", "PYTHONUTF8": "0"}
    environment |= {"PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, ROOT / "scripts/predict.py", tmp_path / "run %d b%20c", place]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    assert "kätzchen %s.png" in done.stdout and "Traceback" not in done.stderr


def test_the_command(folder, pictures):
    done = run("--checkpoint", folder, pictures, pictures / "absent.png", "--top_k=99", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert len(found) == 8
    assert sum("error" in record for record in found) == 3
    assert [len(r["predictions"]) for r in found if "predictions" in r] == [5] * 5
    named = [line for line in done.stderr.splitlines() if not line.startswith("allocator")]
    assert len(named) == 4 and named[-1] == "3 of 8 images were skipped"
    for line, name in zip(named, ("1_empty.jpg", "3_cut.png", "absent.png")):
        assert name in line


def test_the_table(folder, pictures):
    done = run(f"--checkpoint={folder}", *good(pictures)[:2], "--top_k=2")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 4
    assert any(label in done.stdout for label in LABELS)


def test_refusals(folder, pictures, tmp_path):
    (tmp_path / "none").mkdir()
    for arguments, message in (
        ((f"--checkpoint={folder}", tmp_path / "none"), "no image in the folder"),
        ((f"--checkpoint={tmp_path / 'absent'}", good(pictures)[0]), "does not exist"),
    ):
        done = run(*arguments)
        assert done.returncode == 2
        assert message in done.stderr.splitlines()[-1]
