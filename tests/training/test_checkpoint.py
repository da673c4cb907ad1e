import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from effnet_jax.errors import UserError
from effnet_jax.training import checkpoint
from effnet_jax.training.state import create_state

METADATA = {"selected_weights": "ema", "wall_seconds": 1.0, "validation": None}


def state_of(value, ema=True):
    variables = {"params": {"w": jnp.full((3,), value)}, "batch_stats": {"m": jnp.full((3,), value)}}
    state = create_state(variables, optax.adam(0.1), ema)
    return state.replace(ema=jax.tree.map(lambda x: -x, state.ema))


def save_all(folder, scores):
    with checkpoint.Checkpoints(folder) as checkpoints:
        for step, score in scores.items():
            checkpoints.save(step, state_of(float(step)), METADATA, score)
            checkpoints.wait()


def steps_in(folder):
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


@pytest.mark.parametrize(
    ("scores", "kept", "best"),
    [
        ({1: 0.1, 2: 0.9, 3: 0.5, 4: 0.3}, [2, 4], 2),
        ({1: 0.5, 2: 0.5, 3: 0.5}, [1, 3], 1),  # the earlier of equals
        ({1: 0.1, 2: 0.2, 3: 0.3}, [3], 3),
        ({1: 0.4, 2: None, 3: None}, [1, 3], 1),  # saved on a stop, never validated
    ],
)
def test_the_newest_and_the_best_are_kept(tmp_path, scores, kept, best):
    save_all(tmp_path / "checkpoints", scores)
    assert steps_in(tmp_path / "checkpoints") == kept
    assert checkpoint.load(tmp_path).step == best


def test_what_is_restored_is_what_was_saved(tmp_path):
    saved = state_of(2.5)
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(5, saved.replace(step=jnp.int32(5)), METADATA, 0.5)
        checkpoints.wait()
        restored = checkpoints.restore(5, jax.eval_shape(lambda: saved))
    jax.tree.map(np.testing.assert_array_equal, restored, saved.replace(step=jnp.int32(5)))


def test_raw_ema_and_selected_weights(tmp_path):
    save_all(tmp_path / "checkpoints", {3: 0.5})
    for weights, sign in (("raw", 1), ("ema", -1), ("selected", -1)):
        loaded = checkpoint.load(tmp_path, weights)
        np.testing.assert_array_equal(loaded.variables["params"]["w"], sign * 3.0)
        assert loaded.ema == (sign < 0)


def test_a_run_without_ema_has_no_ema_weights(tmp_path):
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state_of(1.0, ema=False), METADATA | {"selected_weights": "raw"}, 0.5)
    assert not checkpoint.load(tmp_path).ema
    with pytest.raises(UserError, match="no EMA weights"):
        checkpoint.load(tmp_path, "ema")


def test_workdir_folder_and_step_all_name_a_checkpoint(tmp_path):
    save_all(tmp_path / "checkpoints", {3: 0.5, 4: 0.2})
    assert checkpoint.load(tmp_path).step == 3
    assert checkpoint.load(tmp_path / "checkpoints").step == 3
    assert checkpoint.load(tmp_path / "checkpoints/4").step == 4


def damage_nothing_there(folder: pathlib.Path) -> pathlib.Path:
    return folder / "nowhere"


def damage_empty(folder: pathlib.Path) -> pathlib.Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def damage_half_written(folder: pathlib.Path) -> pathlib.Path:
    step = folder / "checkpoints/3"
    (step / "_CHECKPOINT_METADATA").unlink()
    return step


def damage_lost_arrays(folder: pathlib.Path) -> pathlib.Path:
    shutil.rmtree(folder / "checkpoints/3/ema")
    (folder / "checkpoints/3/ema").mkdir()
    return folder


def damage_foreign(folder: pathlib.Path) -> pathlib.Path:
    step = folder / "checkpoints/3"
    path = step / "metadata/metadata"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": "somebody else's"}))
    return step


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_nothing_there, "does not exist"),
        (damage_empty, "no checkpoint in"),
        (damage_half_written, "whole checkpoint|no checkpoint in"),
        (damage_lost_arrays, "cannot be read"),
        (damage_foreign, "another program or version"),
    ],
)
def test_missing_half_written_and_foreign_checkpoints_are_refused(tmp_path, damage, message):
    save_all(tmp_path / "checkpoints", {3: 0.5})
    with pytest.raises(UserError, match=message):
        checkpoint.load(damage(tmp_path))


def test_a_full_disk_is_said_before_anything_is_written(tmp_path, monkeypatch):
    save_all(tmp_path, {1: 0.5})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 100, 0))
    with pytest.raises(UserError, match=r"disk is full.*earlier ones are whole"):
        save_all(tmp_path, {2: 0.6})
    assert steps_in(tmp_path) == [1]
