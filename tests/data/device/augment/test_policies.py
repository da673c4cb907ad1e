"""What the policies draw: the published tables, uniformly, with signs."""

import jax
import numpy as np
import pytest

from effnet_jax.data.device.augment import policies
from effnet_jax.data.device.augment.operations import NAMES
from effnet_jax.data.device.augment.subpolicies import CIFAR10, IMAGENET
from effnet_jax.errors import UserError

COUNT = 20_000
SIZE = (32, 32)


def draw(policy, seed=0):
    chosen, magnitudes = policy.draw(jax.random.key(seed), COUNT, SIZE)
    return np.asarray(chosen), np.asarray(magnitudes)


def of(drawn, name):
    chosen, magnitudes = drawn
    return magnitudes[chosen == NAMES.index(name)]


@pytest.mark.parametrize("subpolicies", [CIFAR10, IMAGENET])
def test_autoaugment_draws_the_pairs_of_its_table_as_often_as_they_should_occur(subpolicies):
    chosen, _ = draw(policies.AutoAugment(subpolicies))
    assert len(subpolicies) == 25 and chosen.shape == (COUNT, 2)
    for layer in range(2):
        expected = dict.fromkeys(NAMES, 0.0)
        for pair in subpolicies:
            name, probability, level = pair[layer]
            assert 0 <= probability <= 1 and 0 <= level <= 9
            expected[name] += probability / 25
            expected["identity"] += (1 - probability) / 25
        found = np.bincount(chosen[:, layer], minlength=len(NAMES)) / COUNT
        np.testing.assert_allclose(found, [expected[name] for name in NAMES], atol=0.015)


def test_autoaugment_has_the_published_strengths():
    drawn = draw(policies.AutoAugment(CIFAR10))
    # ShearY at 8 and 7 of 9, of at most 0.3; TranslateY at 9 and 3 of 9, of at most 150/331 of the image
    assert np.unique(np.round(np.abs(of(drawn, "shear_y")), 4)).tolist() == pytest.approx([0.2333, 0.2667])
    assert np.unique(np.abs(of(drawn, "translate_y"))).tolist() == pytest.approx([4.8338, 14.5015], abs=1e-3)
    assert np.unique(np.round(of(drawn, "contrast"), 4)).tolist() == pytest.approx([0.3, 0.4, 1.6, 1.7])
    assert np.unique(of(drawn, "posterize")).tolist() == [5]
    assert np.unique(np.round(of(drawn, "solarize"), 2)).tolist() == pytest.approx([28.33, 113.33, 170.0, 198.33])


def test_signs_are_even_and_only_where_they_mean_something():
    chosen, _ = drawn = draw(policies.RandAugment(2, 9))
    assert chosen.shape == (COUNT, 2)
    assert np.bincount(chosen.ravel(), minlength=len(NAMES)).min() == 0 == (chosen == NAMES.index("invert")).sum()
    assert (np.bincount(chosen.ravel()) > 0.9 * 2 * COUNT / 14).sum() == 14
    assert np.mean(of(drawn, "rotate") > 0) == pytest.approx(0.5, abs=0.05)
    assert np.unique(np.abs(of(drawn, "rotate"))).tolist() == pytest.approx([9.0])
    assert np.unique(np.round(of(drawn, "color"), 3)).tolist() == pytest.approx([0.73, 1.27])
    assert np.unique(of(drawn, "posterize")).tolist() == [7]
    assert np.unique(of(drawn, "solarize")).tolist() == pytest.approx([178.5])


def test_trivialaugment_draws_one_operation_of_any_strength():
    chosen, _ = drawn = draw(policies.TrivialAugment())
    assert chosen.shape == (COUNT, 1)
    assert len(np.unique(np.abs(of(drawn, "rotate")))) == 31 and of(drawn, "rotate").max() == pytest.approx(135)
    assert of(drawn, "shear_x").min() == pytest.approx(-0.99) and of(drawn, "translate_x").max() == pytest.approx(32)
    assert of(drawn, "brightness").min() == pytest.approx(0.01) and of(drawn, "brightness").max() == pytest.approx(1.99)
    assert np.unique(of(drawn, "posterize")).tolist() == [2, 3, 4, 5, 6, 7, 8]


def test_a_draw_follows_from_its_key():
    for policy in (policies.AutoAugment(CIFAR10), policies.RandAugment(1, 5), policies.TrivialAugment()):
        for one, same, other in zip(draw(policy), draw(policy), draw(policy, seed=1)):
            np.testing.assert_array_equal(one, same)
            assert (one != other).any()


def test_names():
    assert policies.make_policy("", 2, 9) is None
    assert policies.make_policy("autoaugment_imagenet", 2, 9) == policies.AutoAugment(IMAGENET)
    assert policies.make_policy("randaugment", 2, 9) == policies.RandAugment(2, 9)
    with pytest.raises(UserError, match=r"policy 'autoaugment_cifar' \(did you mean 'autoaugment_cifar10'\?\)"):
        policies.make_policy("autoaugment_cifar", 2, 9)
    with pytest.raises(UserError, match="a strength from 0 to 30"):
        policies.make_policy("randaugment", 2, 31)
