import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from effnet_jax import create_model
from effnet_jax.pretrained.variables import variables as listed
from effnet_jax.training.freezing import Freezing
from effnet_jax.training.rates import learning_rate_factors
from effnet_jax.training.state import create_state
from effnet_jax.training.step import cross_entropy, make_update
from tests.short import four_blocks, networks_of
from tests.well_conditioned import nest

TINY = {
    "name": "efficientnet_b0",
    "num_classes": 4,
    "width_multiplier": 0.1,
    "stem_stride": 1,
}
short_networks = networks_of(four_blocks, one_device=True)
QUIET = {"dropout_rate": 0.0, "stochastic_depth_rate": 0.0}
PROBE = ((r"classifier/.*", 1.0), (r"(?!classifier/).*", 0.0))
NORMS = ((r".*bn/.*", 0.0), (r"(?!.*bn/).*", 1.0))


def shapes_of(model):
    """Shapes of all variables, from the plain description of the model."""
    variables = listed(model.architecture, model.num_classes)
    return nest({v.path: jax.ShapeDtypeStruct(v.shape, jnp.float32) for v in variables})


def forward(freezing, model, variables, batch):
    return jax.jit(lambda v, x: freezing.forward(model, v, x, jax.random.key(0)))(variables, batch["image"])


def freezing_of(model, rules):
    shapes = shapes_of(model)
    factors = learning_rate_factors(rules, shapes["params"])
    return Freezing.of(model, shapes, [path for path, factor in factors.items() if not factor])


@pytest.fixture(scope="module")
def variables():
    """Random values with statistics that no batch has."""
    rng = np.random.default_rng(0)
    model = create_model(**TINY)
    positive = lambda path: path[-1] in ("var", "scale")  # noqa: E731
    draw = lambda path, leaf: rng.uniform(0.5, 1.5, leaf.shape) if positive(path) else rng.normal(0, 0.3, leaf.shape)  # noqa: E731
    flat = flatten_dict(shapes_of(model))
    return nest({"/".join(path): draw(path, leaf).astype(np.float32) for path, leaf in flat.items()})


@pytest.fixture(scope="module")
def batch():
    image = jax.random.normal(jax.random.key(1), (8, 32, 32, 3))
    return {"image": image, "label": jnp.arange(8) % 4}


@pytest.mark.parametrize("name", ["efficientnet_b0", "resnet50", "densenet201"])
def test_the_frozen_beginning_ends_before_the_first_trained_layer(name):
    model = create_model(name, 4)
    layers = model.architecture.layer_names
    first, second, *_, last = layers
    scopes = model.apply({}, method="scopes")
    assert tuple(scopes) == layers

    assert freezing_of(model, PROBE).last_layer == last
    assert freezing_of(model, ((f"{scopes[second]}/.*", 1.0), (f"(?!{scopes[second]}/).*", 0.0))).last_layer == first
    assert freezing_of(model, ((f"{scopes[first]}/.*", 1.0), (f"(?!{scopes[first]}/).*", 0.0))).last_layer is None
    assert freezing_of(model, ((".*", 1.0),)) == Freezing()


def test_a_probe_trains_the_classifier_alone(variables, batch):
    """Its gradient is that of softmax regression on the features of inference, and all else stays to the bit."""
    model = create_model(**TINY)
    freezing = freezing_of(model, PROBE)
    tx = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(1.0, momentum=0.9))
    state = create_state(variables, tx, ema=False, freezing=freezing)
    assert set(flatten_dict(state.opt_state[1][0].trace)) == {("classifier", "kernel"), ("classifier", "bias")}

    update = make_update(
        model.clone(dropout_rate=0.0), tx, jax.random.key(0),
        label_smoothing=0.0, ema_decay=0.0, accumulation_steps=2, freezing=freezing,
    )  # fmt: skip
    after = jax.jit(update)(state, batch)

    features = jax.jit(lambda v, x: model.apply(v, x, method="features"))(variables, batch["image"]).mean((1, 2))
    classifier = variables["params"]["classifier"]
    loss = lambda c: jnp.mean(cross_entropy(features @ c["kernel"] + c["bias"], batch["label"]))  # noqa: E731
    gradient = jax.grad(loss)(classifier)
    for leaf in ("kernel", "bias"):
        expected = classifier[leaf] - gradient[leaf] - 0.1 * classifier[leaf]
        np.testing.assert_allclose(after.params["classifier"][leaf], expected, rtol=1e-4, atol=1e-5)

    backbone = lambda tree: {k: v for k, v in tree.items() if k != "classifier"}  # noqa: E731
    jax.tree.map(np.testing.assert_array_equal, backbone(after.params), backbone(variables["params"]))
    jax.tree.map(np.testing.assert_array_equal, after.batch_stats, variables["batch_stats"])


def test_a_probe_costs_about_a_forward_pass(variables, batch):
    model = create_model(**TINY)

    def operations(rules):
        freezing = freezing_of(model, rules)
        state = create_state(variables, optax.sgd(1.0), ema=False, freezing=freezing)
        update = make_update(
            model, optax.sgd(1.0), jax.random.key(0),
            label_smoothing=0.0, ema_decay=0.0, accumulation_steps=1, freezing=freezing,
        )  # fmt: skip
        return jax.jit(update).lower(state, batch).cost_analysis()["flops"]

    forward = jax.jit(lambda v, x: model.apply(v, x, train=False)).lower(variables, batch["image"])
    forward = forward.cost_analysis()["flops"]
    assert operations(PROBE) < 1.2 * forward
    assert operations(((".*", 1.0),)) > 2 * forward


@pytest.mark.parametrize("remat", [False, True])
def test_frozen_batch_norm_uses_and_keeps_its_statistics(variables, batch, remat):
    model = create_model(**TINY, **QUIET, remat=remat)
    inference = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, batch["image"])
    freezing = freezing_of(model, NORMS)
    assert freezing.last_layer is None
    logits, stats = forward(freezing, model, variables, batch)
    np.testing.assert_allclose(logits, inference, rtol=1e-4, atol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, stats, variables["batch_stats"])

    partly = freezing_of(model, ((r"stem/bn/.*", 0.0), (r"(?!stem/bn/).*", 1.0)))
    logits, stats = forward(partly, model, variables, batch)
    assert float(jnp.abs(logits - inference).max()) > 1e-2
    moved = {
        path: bool((leaf != flatten_dict(variables["batch_stats"])[path]).any())
        for path, leaf in flatten_dict(stats).items()
    }
    assert all(moves == (path[0] != "stem") for path, moves in moved.items())


def test_layers_above_a_frozen_beginning_train_as_ever(variables, batch):
    """Statistics of the frozen layers are kept, those above move, and the logits are those of a whole pass."""
    model = create_model(**TINY, **QUIET)
    freezing = freezing_of(model, ((r"(stem|stage[1-4]_block1)/.*", 0.0), (r"(?!stem|stage[1-4]).*", 1.0)))
    assert freezing.last_layer == "stage4_block1"
    logits, stats = forward(freezing, model, variables, batch)
    whole, _ = forward(Freezing(freezing.parameters, freezing.norms), model, variables, batch)
    np.testing.assert_allclose(logits, whole, rtol=1e-4, atol=1e-4)
    assert stats.keys() == variables["batch_stats"].keys()
    for layer, tree in stats.items():
        same = jax.tree.map(lambda a, b: bool((a == b).all()), tree, variables["batch_stats"][layer])
        assert set(jax.tree.leaves(same)) == {layer in ("stem", *(f"stage{i}_block1" for i in range(1, 5)))}
