import math

import pytest

from effnet_jax.search.ranking import rank


def test_differences_are_taken_seed_by_seed():
    """The seeds differ by far more than the candidates, and equally for all: that cancels."""
    ranked = rank({"a": [0.50, 0.60, 0.70], "b": [0.51, 0.612, 0.711], "c": [0.40, 0.62, 0.71]}, 5000)
    assert [row.name for row in ranked] == ["b", "a", "c"] and [row.rank for row in ranked] == [1, 2, 3]
    best, second, third = ranked
    assert best.mean == pytest.approx(0.611) and best.behind == 0 and best.within_noise
    assert best.standard_error == pytest.approx(0.1005 / math.sqrt(3), rel=1e-3)
    assert second.behind == pytest.approx(0.011) and not second.within_noise
    assert second.behind_error == pytest.approx(0.001 / math.sqrt(3))
    assert third.behind == pytest.approx(0.0343, abs=1e-4) and third.within_noise, "its seeds disagree"


def test_two_seeds_say_little_about_their_spread():
    """Three standard errors of two seeds may be chance."""
    few = rank({"a": [0.50, 0.52], "b": [0.46, 0.50]}, 5000)[1]
    assert few.behind == pytest.approx(3 * few.behind_error) and few.within_noise
    many = rank({"a": [0.50, 0.52] * 4, "b": [0.46, 0.50] * 4}, 5000)[1]
    assert many.behind > 3 * many.behind_error and not many.within_noise


def test_one_seed_is_judged_by_the_number_of_images():
    for count, within in ((100, True), (100_000, False)):
        best, other = rank({"a": [0.5], "b": [0.48]}, count)
        assert best.standard_error == pytest.approx(math.sqrt(0.25 / count))
        assert other.behind_error == pytest.approx(math.sqrt(0.25 / count + 0.48 * 0.52 / count))
        assert other.within_noise is within


def test_a_candidate_that_lacks_a_seed_is_not_ranked():
    ranked = rank({"a": [0.9, None], "b": [0.5, 0.5]}, 100)
    assert [(row.name, row.rank) for row in ranked] == [("b", 1), ("a", None)]
    assert ranked[1].mean is None and ranked[1].accuracies == (0.9, None)
    assert rank({"a": [None]}, 0)[0].rank is None
