"""Whole runs: the files they leave, and that interruptions leave no trace in them."""

import json
import os
import signal
import time

import jax
import numpy as np
import pytest

from effnet_jax.errors import RunInterrupted, UserError
from effnet_jax.evaluation.checkpoint import evaluate_checkpoint
from effnet_jax.process import lock, memory
from effnet_jax.training import checkpoint, loop, statistics
from effnet_jax.training.loop import train_and_evaluate
from tests import conftest, forked
from tests.short import networks_of, train_on_one_device, two_blocks

short_networks = networks_of(two_blocks)
TIMES = ("images_per_second",)  # the one thing two equal runs may differ in


def metrics_of(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return [{key: value for key, value in record.items() if key not in TIMES} for record in records]


def assert_same_run(folder, reference):
    """Bit for bit: metrics, results and the last parameters, raw and averaged."""
    assert metrics_of(folder) == metrics_of(reference)
    results = [json.loads((path / "results.json").read_text()) for path in (folder, reference)]
    for result in results:
        del result["wall_seconds"]
    assert results[0] == results[1]
    last = f"checkpoints/{results[0]['steps']}"
    for weights in ("raw", "ema"):
        pair = [checkpoint.load(path / last, weights).variables for path in (folder, reference)]
        jax.tree.map(np.testing.assert_array_equal, *pair)


def short_config():
    """The tiny config with all channels 8."""
    config = conftest.tiny_config.__wrapped__()
    config.model.width_multiplier = 0.05
    return config


@pytest.fixture
def tiny_config():
    return short_config()


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A run of the tiny config that nothing disturbed; made in a process of its own, like the killed ones."""
    folder = tmp_path_factory.mktemp("reference") / "run"
    start_training(folder).wait()
    assert (folder / "results.json").exists()
    return folder


# The tiny config in a process of its own that tells the test of each line it writes.
PROGRAM = """
import pathlib
from effnet_jax import cli, scaling
def main():
    from tests.training import test_loop
    scaling.round_repeats = test_loop.two_blocks
    test_loop.train_and_evaluate(test_loop.short_config(), pathlib.Path({folder!r}))
cli.prepare()
cli.execute(main)
"""


def start_training(folder):
    return forked.Process("-c", PROGRAM.format(folder=str(folder)), with_jax=True)


def test_a_second_process_in_a_workdir_is_refused_whatever_it_wants(tiny_config, tmp_path):
    with lock.hold_folder(tmp_path / "run", "training in", "--workdir"):
        (tmp_path / "run/metrics.jsonl").write_text("theirs")
        for overwrite in (False, True):
            with pytest.raises(lock.Held, match=rf"process {os.getpid()} on .* is training in .*another --workdir"):
                train_and_evaluate(tiny_config, tmp_path / "run", overwrite=overwrite)
        assert (tmp_path / "run/metrics.jsonl").read_text() == "theirs"


def test_a_run_whose_workdir_another_machine_has_taken_over_writes_nothing_more(tiny_config, tmp_path):
    place = tmp_path / lock.FILE

    def taken_over(seconds):
        record = json.loads(place.read_text()) | {"id": "theirs", "host": "elsewhere"}
        place.unlink()
        place.write_text(json.dumps(record))

    with pytest.raises(lock.Held, match=f"on elsewhere, since .*, has taken {tmp_path} over"):
        train_and_evaluate(tiny_config, tmp_path, on_training=taken_over)
    assert place.exists() and not (tmp_path / "results.json").exists()
    assert not list((tmp_path / "checkpoints").glob("[0-9]*"))


def test_a_step_that_does_not_fit_leaves_the_folder_free(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 1000)
    with pytest.raises(UserError, match=r"a training step of 64 images at 8 px needs .*--config.model.remat=True"):
        train_and_evaluate(tiny_config, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_run_writes_every_file_of_the_contract(reference):
    present = {path.name for path in reference.iterdir()}
    assert present >= {
        "config.json",
        "metrics.jsonl",
        "results.json",
        "curves.png",
        "checkpoints",
        "tensorboard",
    }
    assert list((reference / "tensorboard").glob("events.out.tfevents.*"))

    records = metrics_of(reference)
    assert [(r["step"], r["split"]) for r in records if r["split"] != "test"] == [
        (2, "train"),
        (3, "validation"),
        (4, "train"),
        (6, "train"),
        (6, "validation"),
    ]
    assert all("learning_rate" in r for r in records if r["split"] == "train")
    assert all({"ema_loss", "ema_accuracy", "count"} <= r.keys() for r in records if r["split"] != "train")

    results = json.loads((reference / "results.json").read_text())
    assert results.keys() >= {
        "model",
        "dataset",
        "seed",
        "num_parameters",
        "macs",
        "steps",
        "wall_seconds",
        "hardware",
        "versions",
        "selected_step",
    }
    assert results["steps"] == 6 and results["selected_step"] in (3, 6)
    assert results["test"]["count"] == 359 and results["validation"]["count"] == 180
    validations = {r["step"]: r for r in records if r["split"] == "validation"}
    score = lambda r: max(r["accuracy"], r["ema_accuracy"])  # noqa: E731
    assert score(validations[results["selected_step"]]) == max(map(score, validations.values()))


def test_without_validation_every_image_is_trained_on_and_the_last_averages_are_taken(tmp_path, monkeypatch, capsys):
    train_on_one_device(monkeypatch)
    config = short_config()
    config.dataset.validation_examples = 0
    config.eval_every_steps = 1
    recompute, recomputed = statistics.Recomputation.__call__, []

    def counted(self, state):
        recomputed.append(int(state.step))
        return recompute(self, state)

    monkeypatch.setattr(statistics.Recomputation, "__call__", counted)
    results = train_and_evaluate(config, tmp_path)
    assert recomputed == [6], "the last weights have statistics of their own"
    said = capsys.readouterr().out
    assert "digits: train 1438, test 359\n" in said and "selects   nothing, since no image is held out" in said
    assert "validation" not in results and results["last"].keys() == {"step", "test"}
    assert (results["selected_step"], results["selected_weights"]) == (6, "ema")
    assert results["test"] == results["last"]["test"]
    assert {record["split"] for record in metrics_of(tmp_path)} == {"train", "test"}
    again = evaluate_checkpoint(tmp_path)
    assert again["ema"] and again["accuracy"] == results["test"]["ema_accuracy"]
    assert again["loss"] == pytest.approx(results["test"]["ema_loss"], rel=1e-5)
    with pytest.raises(UserError, match=r"of digits no validation images were held out .*: choose train or test"):
        evaluate_checkpoint(tmp_path, "validation")
    assert (tmp_path / "curves.png").is_file()


def test_a_run_killed_again_and_again_ends_as_one_never_killed(reference, tmp_path):
    """kill -9 at moments spread over the run: while it compiles, trains, evaluates and writes."""
    folder, kills = tmp_path / "run", 0
    for stop_at in ("config.json", "checkpoints/2", "metrics.jsonl:2"):
        process = start_training(folder)
        name, _, lines = stop_at.partition(":")
        while process.poll() is None:
            path = folder / name
            if path.exists() and (not lines or path.read_text().count("\n") >= int(lines)):
                process.kill()
                kills += process.wait() == -signal.SIGKILL
                break
            time.sleep(0.01)
    assert kills >= 2
    assert start_training(folder).wait() == 0
    assert_same_run(folder, reference)


def test_sigterm_saves_and_says_how_to_go_on(reference, tmp_path):
    folder = tmp_path / "run"
    process = start_training(folder)
    while not (folder / "metrics.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.terminate()
    output, _ = process.communicate()
    assert process.returncode == 0
    assert "the same command goes on from there" in output
    assert not (folder / "results.json").exists()
    assert start_training(folder).wait() == 0
    assert_same_run(folder, reference)


def test_a_finished_run_is_not_repeated(reference, tiny_config, monkeypatch):
    monkeypatch.setattr(loop, "build", lambda config: pytest.fail("trained again"))
    before = (reference / "metrics.jsonl").read_bytes()
    results = train_and_evaluate(tiny_config, reference)
    assert results == json.loads((reference / "results.json").read_text())
    assert (reference / "metrics.jsonl").read_bytes() == before


def test_another_config_in_the_workdir_is_refused_and_nothing_is_lost(reference, tiny_config):
    before = {path: path.read_bytes() for path in reference.rglob("*") if path.is_file()}
    tiny_config.seed = 1
    tiny_config.optimizer.learning_rate = 0.5
    with pytest.raises(UserError, match=r"optimizer.learning_rate: 0.016 -> 0.5; seed: 0 -> 1.*--overwrite"):
        train_and_evaluate(tiny_config, reference)
    assert {path: path.read_bytes() for path in reference.rglob("*") if path.is_file()} == before


def test_non_finite_loss_stops_with_the_step_and_keeps_the_last_good_checkpoint(tiny_config, tmp_path, monkeypatch):
    train_on_one_device(monkeypatch)
    tiny_config.optimizer.update(
        name="sgd",
        schedule="step",
        warmup_epochs=0.0,
        step_epochs=(3 / 19,),
        decay_rate=1e30,
        learning_rate=1e-3,
    )
    with pytest.raises(UserError, match=r"non-finite at step \d.*learning_rate"):
        train_and_evaluate(tiny_config, tmp_path / "run")
    steps = [int(path.name) for path in (tmp_path / "run/checkpoints").iterdir()]
    assert steps and max(steps) <= 4
    variables = checkpoint.load(tmp_path / "run").variables
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables))
    assert not (tmp_path / "run/results.json").exists()


def test_stop_request_in_process(tiny_config, tmp_path, monkeypatch):
    """The library raises where the command would exit."""
    build = loop.build

    def build_and_be_told_to_stop(config):
        os.kill(os.getpid(), signal.SIGTERM)
        return build(config)

    monkeypatch.setattr(loop, "build", build_and_be_told_to_stop)
    with pytest.raises(RunInterrupted, match="saved at step 0 of 6"):
        train_and_evaluate(tiny_config, tmp_path / "run")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_several_updates_a_dispatch_change_nothing(reference, tiny_config, tmp_path, monkeypatch):
    tiny_config.steps_per_dispatch = 3
    events = []
    monkeypatch.setattr(loop.heap, "release", lambda: events.append("release"))
    monkeypatch.setattr(loop.heap, "tidy", lambda: events.append("tidy"))
    recompute = statistics.Recomputation.__call__
    monkeypatch.setattr(
        statistics.Recomputation, "__call__", lambda *arguments: events.append("recompute") or recompute(*arguments)
    )
    train_and_evaluate(tiny_config, tmp_path / "run", on_validation=lambda step, _: events.append(step))
    # The first dispatch and the first validation compile, between `heap.release` and `heap.tidy`; see there.
    assert events == ["release", "tidy", "release", "recompute", "tidy", 3, "recompute", 6]
    for found, expected in zip(metrics_of(tmp_path / "run"), metrics_of(reference), strict=True):
        assert found.keys() == expected.keys()
        np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-3)


def test_first_steps_are_what_they_were(reference):
    """Golden values: the whole chain from digits to loss, on CPU.

    A difference beyond rounding means that data order, augmentation, initialisation, model, loss or
    optimiser changed. If that was meant, say so in CHANGELOG and put the new values here.
    """
    losses = [record["loss"] for record in metrics_of(reference) if record["split"] == "train"]
    np.testing.assert_allclose(losses, GOLDEN_LOSSES, rtol=2e-3)


GOLDEN_LOSSES = [2.309637, 2.373504, 2.351976]
