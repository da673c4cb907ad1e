"""A run that trains for longer than it was to, begins where another one is, or is traced."""

import contextlib
import io
import json
import shutil

import jax
import numpy as np
import pytest

from effnet_jax import config as config_lib
from effnet_jax.errors import RunInterrupted, UserError
from effnet_jax.training import checkpoint, loop
from effnet_jax.training.loop import train_and_evaluate
from tests.short import networks_of, tiny_config, two_blocks

pytestmark = pytest.mark.usefixtures("no_pictures")
short_networks = networks_of(two_blocks, one_device=True)


def config_of(steps, **optimizer):
    config = tiny_config()
    config.model.width_multiplier = 0.05
    config.num_train_steps = steps
    config.optimizer.update(optimizer)
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of 6 steps; copied by those that change it."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    train_and_evaluate(config_of(6), folder)
    return folder


@pytest.fixture(scope="module")
def longer(finished, tmp_path_factory):
    """It, after it went on to 9 steps, and what was said then."""
    folder, said = copy_of(finished, tmp_path_factory.mktemp("longer")), io.StringIO()
    with contextlib.redirect_stdout(said):
        train_and_evaluate(config_of(9), folder)
    return folder, said.getvalue()


def copy_of(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "run")


def distance(one, other):
    apart = jax.tree.map(lambda a, b: float(np.abs(a - b).sum()), one["params"], other["params"])
    return sum(jax.tree.leaves(apart))


def weights_at(folder, step, which="raw"):
    return checkpoint.load(folder / f"checkpoints/{step}", which).variables


def test_a_finished_run_that_trains_for_longer_ends_as_one_of_that_length(longer, tmp_path):
    folder, said = longer
    results = json.loads((folder / "results.json").read_text())
    assert results["steps"] == 9 and results["history"] == ["step 6: num_train_steps: 6 -> 9"]
    assert json.loads((folder / "config.json").read_text())["num_train_steps"] == 9
    assert "went on   at step 6: num_train_steps: 6 -> 9" in said
    assert "schedule  exponential: learning rate" in said and "at the last, step 9" in said
    straight = train_and_evaluate(config_of(9), tmp_path / "straight")
    assert straight["history"] == []
    for which in ("raw", "ema"):
        jax.tree.map(
            np.testing.assert_array_equal, weights_at(folder, 9, which), weights_at(tmp_path / "straight", 9, which)
        )
    assert train_and_evaluate(config_of(9), folder) == results, "trained again"


def test_a_plan_that_ends_before_what_is_done_is_refused_and_nothing_is_lost(finished):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"has done 6 steps and this config ends at step 4; set --config\.num_epochs"):
        train_and_evaluate(config_of(4), finished)
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("key", [*config_lib.LOCATION_KEYS, *config_lib.CADENCE_KEYS, *config_lib.LENGTH_KEYS])
def test_what_a_run_may_change_on_its_way(key):
    stored, other = config_lib.flatten(config_of(6)), config_of(6)
    with other.unlocked(), other.ignore_type():
        other.update_from_flattened_dict({key: 7})
    assert config_lib.changed_mathematics(stored, other) == []
    other.optimizer.learning_rate = 1.0
    assert config_lib.changed_mathematics(stored, other) == ["optimizer.learning_rate: 0.016 -> 1.0"]


def test_another_run_begins_where_one_is_and_then_stands_on_its_own(finished, longer, tmp_path, capsys):
    config = config_of(9, learning_rate=0.5)
    results = train_and_evaluate(config, tmp_path / "b", resume_from=finished)
    assert results["steps"] == 9 and results["history"] == [f"step 6 of {finished}"]
    assert f"went on   at step 6 of {finished}" in capsys.readouterr().out
    steps = [json.loads(line)["step"] for line in (tmp_path / "b/metrics.jsonl").read_text().splitlines()]
    assert min(steps) > 6

    # Only the learning rate differs, so the first update moves the weights in the same direction, and further.
    start, near, far = (weights_at(folder, step) for folder, step in
                        ((finished, 6), (longer[0], 9), (tmp_path / "b", 9)))  # fmt: skip
    assert 0 < distance(start, near) < distance(start, far)


def test_the_state_begins_as_it_ended(finished, tmp_path):
    """Killed before its first own step, the new run goes on without being told where it came from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.StopRequest, "reached", lambda self: True)
        with pytest.raises(RunInterrupted):
            train_and_evaluate(config_of(9), tmp_path / "b", resume_from=finished)
    for which in ("raw", "ema"):
        jax.tree.map(
            np.testing.assert_array_equal, weights_at(tmp_path / "b", 6, which), weights_at(finished, 6, which)
        )
    assert train_and_evaluate(config_of(9), tmp_path / "b")["history"] == [f"step 6 of {finished}"]


def test_a_state_that_does_not_fit_and_a_plan_that_is_over_are_refused(finished, tmp_path):
    with pytest.raises(UserError, match=r"does not fit this config .*optimiser must be the same.*init_from"):
        train_and_evaluate(config_of(9, name="adamw"), tmp_path / "b", resume_from=finished)
    with pytest.raises(UserError, match="has done 6 steps and this config ends at step 6"):
        train_and_evaluate(config_of(6), tmp_path / "c", resume_from=finished)
    with pytest.raises(UserError, match="there is no checkpoint"):
        train_and_evaluate(config_of(6), tmp_path / "d", resume_from=tmp_path / "nothing")


def test_a_trace_of_some_steps(finished, tmp_path, capsys):
    folder = copy_of(finished, tmp_path)
    train_and_evaluate(config_of(9), folder, profile_steps=(7, 9))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("trace ")]
    assert line.endswith("at https://ui.perfetto.dev")
    (written,) = (folder / "profile").rglob("perfetto_trace.json.gz")
    assert str(written) in line
