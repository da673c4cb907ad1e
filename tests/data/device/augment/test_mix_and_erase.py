"""Mixed images carry labels in the same shares; erased rectangles have the published sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from effnet_jax.data.device.augment import erase
from effnet_jax.data.device.augment.mix import Mix, _beta

COUNT = 400
SIZE = (16, 20)


def mixed(mix, seed=0):
    """Images that are all of one value, their label; returns the mixed images, and labels [N, N]."""
    values = jnp.arange(COUNT, dtype=jnp.float32)
    images = jnp.broadcast_to(values[:, None, None, None], (COUNT, *SIZE, 3))
    found, labels = mix(jax.random.key(seed), images, jnp.eye(COUNT))
    return np.asarray(found), np.asarray(labels)


@pytest.mark.parametrize(
    "mix", [Mix(0.2, 0.0, 1.0, 0.5), Mix(0.0, 1.0, 1.0, 0.5), Mix(0.3, 1.0, 0.7, 0.5)], ids=["mixup", "cutmix", "both"]
)
def test_labels_are_shares_of_the_pixels(mix):
    found, labels = mixed(mix)
    np.testing.assert_allclose(labels.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(found.mean((1, 2, 3)), labels @ np.arange(COUNT), rtol=1e-4, atol=1e-3)
    partner = np.arange(COUNT)[::-1]
    own = labels[np.arange(COUNT), np.arange(COUNT)]
    np.testing.assert_allclose(own + labels[np.arange(COUNT), partner], 1, rtol=1e-5)
    whole = np.mean(own > 0.999)
    assert np.mean(own > 0.5) > 0.1 and whole == pytest.approx(1 - mix.probability, abs=0.3)


def test_mixup_shares_follow_the_beta_distribution():
    _, labels = mixed(Mix(0.5, 0.0, 1.0, 0.5))
    own = np.diag(labels)
    assert own.mean() == pytest.approx(0.5, abs=0.06)
    assert own.var() == pytest.approx(1 / 8, abs=0.02)  # 1 / (4 (2 alpha + 1))


def test_cutmix_puts_one_rectangle_of_the_other_image_in():
    found, labels = mixed(Mix(0.0, 1.0, 1.0, 0.5))
    for index in range(0, COUNT, 37):
        other = found[index, ..., 0] == COUNT - 1 - index
        np.testing.assert_array_equal(other | (found[index, ..., 0] == index), True)
        assert labels[index, COUNT - 1 - index] == pytest.approx(other.mean(), abs=1e-5)
        rows, columns = other.any(1), other.any(0)
        assert other.sum() == rows.sum() * columns.sum(), "a rectangle"
    assert np.std(np.diag(labels)) > 0.15


def test_what_is_off_is_off():
    assert not Mix(0.0, 0.0, 1.0, 0.5).is_on and not Mix(0.2, 1.0, 0.0, 0.5).is_on
    found, labels = mixed(Mix(0.2, 1.0, 0.0, 0.5))
    np.testing.assert_array_equal(labels, np.eye(COUNT))
    np.testing.assert_array_equal(found[:, 0, 0, 0], np.arange(COUNT))


def test_cutout_is_a_square_about_any_pixel():
    mask = np.asarray(erase.cutout(jax.random.key(0), 5000, SIZE, 6))
    area = mask.sum((1, 2))
    assert area.max() == 36 and area.min() == 9  # at a corner a quarter is left
    assert mask.any(0).all()


def test_random_erasing_has_the_published_ranges_and_stays_inside():
    size = (100, 100)
    mask = np.asarray(erase.random_erasing(jax.random.key(0), 3000, size, 0.4))
    erased = mask[mask.any((1, 2))]
    assert len(erased) / 3000 == pytest.approx(0.4, abs=0.04)
    heights, widths = erased.any(2).sum(1), erased.any(1).sum(1)
    np.testing.assert_array_equal(heights * widths, erased.sum((1, 2)))
    share, aspect = heights * widths / 1e4, heights / widths
    assert 0.015 < share.min() < 0.03 and 0.30 < share.max() < 0.34
    assert 0.25 < aspect.min() < 0.4 and 2.5 < aspect.max() < 3.8
    assert np.median(aspect) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.4, 0.8, 1.0, 1.5, 2.0, 3.0])
def test_shares_are_the_quantiles_of_the_beta_distribution(alpha, monkeypatch):
    uniform = np.random.default_rng(0).random(20000, np.float32)
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape: jnp.asarray(uniform))
    shares = _beta(jax.random.key(0), alpha, len(uniform))
    expected = scipy.special.betaincinv(alpha, alpha, uniform.astype(np.float64))
    np.testing.assert_allclose(shares, expected, atol=2e-4)


def test_shares_are_drawn_in_a_known_number_of_steps():
    program = jax.jit(lambda key: _beta(key, 0.2, 8)).lower(jax.random.key(0)).compile().as_text()
    assert program.count(" while(") == program.count("known_trip_count")  # JAX's generator itself
