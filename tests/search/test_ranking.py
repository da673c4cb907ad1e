import math

import pytest

from effnet_jax.search.ranking import rank


def test_differences_are_taken_seed_by_seed():
    """The seeds differ by far more than the candidates, and equally for all: that cancels."""
    best, second = rank({"a": [0.50, 0.60, 0.70], "b": [0.51, 0.612, 0.711]}, 5000)
    assert [best.name, best.rank, second.name, second.rank] == ["b", 1, "a", 2]
    assert best.mean == pytest.approx(0.611) and best.behind == best.behind_error == 0 and best.within_noise
    assert best.standard_error == pytest.approx(0.1005 / math.sqrt(3), rel=1e-3)
    assert second.behind == pytest.approx(0.011) and not second.within_noise
    assert second.behind_error == pytest.approx(0.001 / math.sqrt(3)), (
        "of two candidates that of the paired differences"
    )


def test_the_noise_is_what_candidates_and_seeds_leave_over():
    """An example of randomised blocks worked by hand: residuals of 1 and 2 thousandths."""
    table = {"a": [0.601, 0.709, 0.800], "b": [0.550, 0.653, 0.747], "c": [0.599, 0.698, 0.803]}
    means = {name: sum(values) / 3 for name, values in table.items()}
    seeds = [sum(values[seed] for values in table.values()) / 3 for seed in range(3)]
    grand = sum(seeds) / 3
    squares = sum(
        (values[seed] - means[name] - seeds[seed] + grand) ** 2 for name, values in table.items() for seed in range(3)
    )
    best, second, third = rank(table, 5000)
    assert [best.name, second.name, third.name] == ["a", "c", "b"]
    assert second.behind_error == third.behind_error == pytest.approx(math.sqrt(2 * squares / 4 / 3))
    assert second.within_noise and not third.within_noise


def test_more_candidates_tell_more_about_the_noise():
    """What two seeds of two candidates leave open, four more candidates with the same noise decide."""
    pair = {"a": [0.50, 0.52], "b": [0.46, 0.50]}
    assert rank(pair, 5000)[1].within_noise
    second = rank(pair | {f"c{i}": [0.40, 0.43] for i in range(4)}, 5000)[1]
    assert second.name == "b" and not second.within_noise
    assert second.behind_error == pytest.approx(math.sqrt(4 * 0.005**2 / 5))


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
