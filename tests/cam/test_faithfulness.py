"""Measures on a model that is transparent: its confidence is the mean of what it sees in one corner."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from scipy.sparse.linalg import spsolve

from effnet_jax.cam import controls, evaluation, faithfulness, imputation, sanity
from effnet_jax.cam.imputation import impute
from effnet_jax.process import sharding

SIDE = 16
KEY = jax.random.key(0)


def confidence(images):
    return jnp.clip(images[:, :8, :8].mean((1, 2, 3)), 0, 1)


@pytest.fixture(scope="module")
def images():
    """Bright in the corner that counts, dark elsewhere."""
    x = np.zeros((3, SIDE, SIDE, 3), np.float32)
    x[:, :8, :8] = np.array([0.8, 0.6, 0.4], np.float32)[:, None, None, None]
    return jnp.asarray(x)


def corner(row, column):
    maps = np.zeros((3, SIDE, SIDE), np.float32)
    maps[:, row : row + 8, column : column + 8] = 1
    return jnp.asarray(maps)


RIGHT, WRONG = corner(0, 0), corner(8, 8)


def test_a_true_map_beats_a_false_one_and_the_controls_by_every_measure(images):
    names = {"true": RIGHT, "false": WRONG}
    for name, control in controls.CONTROLS.items():
        names[name] = control(KEY, 3, (4, 4), (SIDE, SIDE))
    means = {name: faithfulness.measure(confidence, images, maps, KEY) for name, maps in names.items()}
    for measure, higher in faithfulness.HIGHER_IS_BETTER.items():
        if measure == "increase":  # this model is never surer of a part than of the whole
            continue
        others = [means[name][measure].mean() for name in names if name != "true"]
        if measure == "average_drop":  # showing everything drops nothing: why the table has that control
            assert means["ones"][measure].mean() == means["true"][measure].mean() == 0
            others = [means[name][measure].mean() for name in names if name not in ("true", "ones")]
        best = max(others) if higher else min(others)
        assert (means["true"][measure].mean() > best) == higher, measure


def test_drop_and_increase(images):
    half = faithfulness.drop_and_increase(confidence, images, 0.25 * jnp.ones((3, SIDE, SIDE)))
    np.testing.assert_allclose(half["average_drop"], 0.75, rtol=1e-5)
    np.testing.assert_array_equal(half["increase"], 0)
    unsure = lambda x: 1 - confidence(x)  # noqa: E731
    less = faithfulness.drop_and_increase(unsure, images, WRONG)
    np.testing.assert_array_equal(less["average_drop"], 0)
    np.testing.assert_array_equal(less["increase"], 1)


def test_areas_by_hand(images):
    """The corner is a quarter of the pixels: gone after 5 of 20 steps, in equal parts."""
    ranks = faithfulness.pixel_ranks(RIGHT, KEY)
    whole = np.asarray(confidence(images))
    np.testing.assert_allclose(faithfulness.deletion(confidence, images, ranks), whole * 0.25 / 2, rtol=0.02)
    ranks = faithfulness.pixel_ranks(WRONG, KEY)
    start = np.asarray(confidence(faithfulness.blurred(images)))
    assert (start < whole).all() and (start > 0.5 * whole).all()
    late = faithfulness.insertion(confidence, images, ranks)
    early = faithfulness.insertion(confidence, images, faithfulness.pixel_ranks(RIGHT, KEY))
    np.testing.assert_allclose(early, whole - (whole - start) * 0.25 / 2, rtol=0.02)
    assert (late < early).all()


def test_ranks_are_a_permutation_and_ties_are_in_random_order():
    maps = jnp.concatenate([RIGHT[:1], jnp.ones((1, SIDE, SIDE))])
    ranks = np.asarray(faithfulness.pixel_ranks(maps, KEY))
    for each in ranks:
        np.testing.assert_array_equal(np.sort(each.ravel()), np.arange(SIDE * SIDE))
    assert ranks[0, :8, :8].max() == 63
    first_half = np.argwhere(ranks[1] < SIDE * SIDE / 2)
    assert 3 < first_half[:, 0].mean() < 12 and np.ptp(first_half[:, 0]) > 12, "not the upper rows"


def test_a_blurred_constant_stays_and_a_point_spreads():
    np.testing.assert_allclose(faithfulness.blurred(jnp.ones((1, 9, 12, 1))), 1, rtol=1e-5)
    point = jnp.zeros((1, 33, 33, 1)).at[0, 16, 16].set(1)
    spread = np.asarray(faithfulness.blurred(point))[0, :, :, 0]
    deviation = np.sqrt((spread.sum(1) * (np.arange(33) - 16) ** 2).sum())
    np.testing.assert_allclose(deviation, faithfulness.LEAST_BLUR, rtol=0.01)


@pytest.mark.parametrize("kind", ["scattered", "nearly everything", "a block"])
def test_imputation_solves_its_equations(kind):
    rng = np.random.default_rng(1)
    height, width = 24, 20
    x = rng.standard_normal((2, height, width, 3)).astype(np.float32)
    missing = rng.uniform(size=(2, height, width)) < {"scattered": 0.5, "nearly everything": 0.97, "a block": 0}[kind]
    if kind == "a block":
        missing[:, 2:, :18] = True
    filled = np.asarray(impute(x, missing))
    np.testing.assert_array_equal(filled[~missing], x[~missing])
    for image, hole, ours in zip(x, missing, filled):
        np.testing.assert_allclose(ours, solved(image, hole), atol=2e-3)


def test_each_device_imputes_its_own_images():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((16, 8, 8, 3)).astype(np.float32)
    missing = rng.uniform(size=(16, 8, 8)) < 0.5
    mesh = sharding.data_mesh()
    split = [jax.device_put(array, sharding.batch_sharded(mesh)) for array in (x, missing)]
    np.testing.assert_allclose(impute(*split), impute(x, missing), atol=1e-3)
    assert "all-reduce" not in imputation._solver(mesh, None).lower(*split).compile().as_text()


def solved(image, hole):
    """The same equations, one a pixel, by a sparse solver."""
    height, width, channels = image.shape
    matrix, right = scipy.sparse.lil_matrix((height * width, height * width)), np.zeros((height * width, channels))
    for y, x in np.ndindex(height, width):
        row = y * width + x
        if not hole[y, x]:
            matrix[row, row], right[row] = 1, image[y, x]
            continue
        for dy, dx in itertools.product((-1, 0, 1), repeat=2):
            weight = {0: 0, 1: 1 / 6, 2: 1 / 12}[abs(dy) + abs(dx)]
            if weight and 0 <= y + dy < height and 0 <= x + dx < width:
                matrix[row, row] += weight
                matrix[row, row + dy * width + dx] = -weight
    return spsolve(matrix.tocsc(), right).reshape(image.shape)


def test_mean_and_interval():
    mean, interval = faithfulness.mean_and_interval(np.array([1.0, 2.0, 3.0, 6.0]))
    assert mean == 3
    assert interval == pytest.approx(1.96 * np.sqrt(14 / 3) / 2)


def test_controls():
    for name, control in controls.CONTROLS.items():
        maps = np.asarray(control(KEY, 3, (4, 4), (SIDE, SIDE)))
        assert (maps.shape, maps.dtype) == ((3, SIDE, SIDE), np.float32), name
        assert maps.min() >= 0 and maps.max() <= 1
    gaussian = np.asarray(controls.centred_gaussian(KEY, 1, (4, 4), (9, 9)))[0]
    assert gaussian.argmax() == 40 and gaussian[4, 4] > gaussian[4, 0] > gaussian[0, 0]
    one, other = (np.asarray(controls.random_map(k, 1, (4, 4), (9, 9))) for k in jax.random.split(KEY))
    assert np.abs(one - other).max() > 0.1


def test_the_bootstrap_interval_is_scipys():
    values = np.random.default_rng(0).exponential(size=60)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, method="percentile", random_state=1
    ).confidence_interval
    np.testing.assert_allclose(faithfulness.bootstrap_intervals(values[None])[0], theirs, rtol=0.02)


def test_methods_are_compared_with_controls_image_by_image():
    """A spread between images that method and control share says nothing about which is better."""
    rng = np.random.default_rng(0)
    image, noise = rng.normal(0, 1, 100), rng.normal(0, 0.01, (4, 100))
    every = lambda values: dict.fromkeys(faithfulness.HIGHER_IS_BETTER, values)  # noqa: E731
    scores = {
        "grad_cam": every(image + noise[0] + 0.02),
        "random": every(image + noise[1]),
        "gaussian": every(image + noise[2] + 0.02),
        "ones": every(image + noise[3]),
    }
    row, *controls = evaluation.summary(scores)
    mean, low, high = row["insertion"]["ahead_of"]["random"]
    assert 0 < low < mean < high < 0.03 and row["insertion"]["interval"] > 0.1
    assert row["deletion"]["ahead_of"]["random"][2] < 0, "more is worse there"
    low, high = row["insertion"]["ahead_of"]["gaussian"][1:]
    assert low < 0 < high
    assert all("ahead_of" not in control["insertion"] for control in controls)
    table = evaluation.as_markdown([row, *controls])
    random, gaussian = (line for line in table.splitlines() if " against " in line)
    assert random.split(" | ")[3].startswith("worse: ") and random.split(" | ")[4].startswith("yes: +0.02")
    assert " no: " in gaussian and "yes" not in gaussian


def test_spearman_is_scipys():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 4, 5, 6))
    b[1], b[2] = a[1] ** 3, -a[2]
    a[3] = np.round(a[3])  # ties
    expected = [scipy.stats.spearmanr(x.ravel(), y.ravel()).statistic for x, y in zip(a, b)]
    np.testing.assert_allclose(sanity.spearman(a, b), expected, atol=1e-6)
    assert sanity.spearman(jnp.ones((1, 3, 3)), jnp.ones((1, 3, 3)))[0] == 0


def test_layers_are_randomised_from_the_top_and_stay_so(efficientnet):
    net = efficientnet
    image = jax.ShapeDtypeStruct((1, 96, 96, 3), jnp.float32)
    layers = sanity.layers_from_the_top(net.model, image)
    assert layers[:2] == ["classifier", "head_conv"]
    assert layers[2:] == [*reversed([block.name for block in net.model.architecture.blocks]), "stem"]
    changed = lambda now, name: any(  # noqa: E731
        not np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(now["params"][name]), jax.tree.leaves(net.variables["params"][name]))
    )
    for count, (layer, now) in enumerate(sanity.cascade(net.variables, layers, seed=0), start=1):
        assert layer == layers[count - 1]
        assert [changed(now, name) for name in layers] == [True] * count + [False] * (len(layers) - count)
        for a, b in zip(jax.tree.leaves(now), jax.tree.leaves(net.variables)):
            np.testing.assert_array_equal(np.sort(np.ravel(a)), np.sort(np.ravel(b)))
