import jax
import numpy as np
import pytest

from effnet_jax.errors import UserError
from effnet_jax.training import checkpoint
from effnet_jax.training.checkpoint import FOLDER, Checkpoints
from effnet_jax.training.loop import train_and_evaluate
from effnet_jax.training.setup import build
from tests.checkpoints import MODEL, write_checkpoint
from tests.short import four_blocks, networks_of

DIGITS = tuple("0123456789")
pytestmark = pytest.mark.usefixtures("no_pictures")
short_networks = networks_of(four_blocks, one_device=True)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """A checkpoint of five classes that was normalised in its own way, as imported weights are."""
    folder = tmp_path_factory.mktemp("foreign") / "weights"
    write_checkpoint(folder)
    return folder


def rewritten(folder, to, labels=None, **model):
    """A copy of a checkpoint that says something else of itself."""
    loaded = checkpoint.load(folder)
    metadata = loaded.metadata | {"model": MODEL | model}
    if labels:
        metadata["class_names"] = labels
    checkpoint.write(to, loaded.variables, metadata)
    return str(to)


def start(config, init_from):
    config.init_from = str(init_from)
    return build(config).fresh_state()


def test_the_classifier_is_replaced_where_the_classes_differ(foreign, tiny_config):
    theirs = checkpoint.load(foreign).variables
    state = start(tiny_config, foreign)
    assert state.params["classifier"]["kernel"].shape[-1] == 10
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(state.params["classifier"])), "it starts at zero"
    for ours, loaded in ((state.params, theirs["params"]), (state.averaged_variables()["params"], theirs["params"])):
        backbone = lambda tree: {k: v for k, v in tree.items() if k != "classifier"}  # noqa: E731
        jax.tree.map(np.testing.assert_array_equal, backbone(ours), backbone(loaded))
    jax.tree.map(np.testing.assert_array_equal, state.batch_stats, theirs["batch_stats"])


def test_classes_are_told_apart_by_their_names(foreign, tiny_config, tmp_path):
    loaded = checkpoint.load(foreign)
    head = {"kernel": np.full((loaded.variables["params"]["classifier"]["kernel"].shape[0], 10), 7.0, np.float32)}
    head["bias"] = np.full(10, 7.0, np.float32)
    variables = loaded.variables | {"params": loaded.variables["params"] | {"classifier": head}}
    for labels, kept in ((DIGITS, True), (DIGITS[::-1], False)):
        folder = tmp_path / "".join(labels)
        checkpoint.write(folder, variables, loaded.metadata | {"class_names": labels})
        state = start(tiny_config, folder)
        assert bool((state.params["classifier"]["kernel"] == 7).all()) == kept
        assert bool((state.params["classifier"]["bias"] == 7).all()) == kept


def test_what_no_shape_reveals_comes_with_the_weights(foreign, tiny_config, tmp_path):
    """Normalisation, padding and epsilon; the run's own checkpoints then say them too."""
    tiny_config.init_from = rewritten(foreign, tmp_path / "a", padding="SYMMETRIC", bn_epsilon=1e-5)
    setup = build(tiny_config)
    assert setup.description["preprocess"]["mean"] == (0.5, 0.4, 0.3)
    assert setup.description["preprocess"]["std"] == (0.2, 0.25, 0.3)
    assert setup.description["preprocess"]["resolution"] == tiny_config.dataset.resolution
    assert setup.description["model"]["padding"] == "SYMMETRIC"
    assert setup.description["model"]["bn_epsilon"] == 1e-5
    assert any("0.500 0.400 0.300" in note and "SYMMETRIC" in note for note in setup.notes)
    assert any(note.startswith("strides") for note in setup.notes)  # the tiny config's differ from B0's

    tiny_config.model.padding = "SAME"
    with pytest.raises(UserError, match=r"padding is SAME but .*--config.model.padding=SYMMETRIC"):
        build(tiny_config)
    tiny_config.model.padding, tiny_config.model.bn_epsilon = "SYMMETRIC", 1e-3
    with pytest.raises(UserError, match=r"bn_epsilon is 0.001 but .*--config.model.bn_epsilon=1e-05"):
        build(tiny_config)


def test_weights_of_another_model_are_refused_in_one_line(foreign, tiny_config):
    tiny_config.init_from = str(foreign)
    tiny_config.model.name, tiny_config.model.width_multiplier = "efficientnet_b1", 0.5
    with pytest.raises(
        UserError, match=r"another model, efficientnet_b0: \d+ variables do not fit \(.*\); set"
    ) as error:
        build(tiny_config)
    assert "--config.model.name=efficientnet_b0 --config.model.width_multiplier=0.25" in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 700

    tiny_config.init_from = str(foreign / "nowhere")
    with pytest.raises(UserError, match="there is no checkpoint at"):
        build(tiny_config)


def test_a_probe_runs_to_its_results_and_can_be_restored(foreign, tiny_config, tmp_path):
    tiny_config.num_train_steps = 2
    tiny_config.checkpoint_every_steps = 2
    tiny_config.optimizer.learning_rate_factors = ((r"classifier/.*", 1.0), (r"(?!classifier/).*", 0.0))
    tiny_config.init_from = str(foreign)
    train_and_evaluate(tiny_config, tmp_path / "probe")
    before, after = checkpoint.load(foreign), checkpoint.load(tmp_path / "probe", "raw")
    for name, tree in before.variables["params"].items():
        if name != "classifier":
            jax.tree.map(np.testing.assert_array_equal, after.variables["params"][name], tree)
    jax.tree.map(np.testing.assert_array_equal, after.variables["batch_stats"], before.variables["batch_stats"])

    setup = build(tiny_config)
    with Checkpoints(tmp_path / "probe" / FOLDER) as checkpoints:
        state = checkpoints.restore(2, setup.abstract_state())
    kernel, fresh = (s.params["classifier"]["kernel"] for s in (state, setup.fresh_state()))
    assert float(abs(np.asarray(kernel) - np.asarray(fresh)).max()) > 0
