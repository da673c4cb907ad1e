import jax.numpy as jnp
import numpy as np
import optax
import pytest

from effnet_jax.errors import UserError
from effnet_jax.training.rates import learning_rate_factors, scaled

PARAMS = {
    "stem": {"conv": {"kernel": jnp.ones(2)}, "bn": {"scale": jnp.ones(2), "bias": jnp.ones(2)}},
    "classifier": {"kernel": jnp.ones(3), "bias": jnp.ones(1)},
}


def test_an_expression_matches_whole_names():
    factors = learning_rate_factors(((r"stem/.*", 0.1), (r"classifier/(kernel|bias)", 1)), PARAMS)
    assert factors == {
        ("stem", "conv", "kernel"): 0.1,
        ("stem", "bn", "scale"): 0.1,
        ("stem", "bn", "bias"): 0.1,
        ("classifier", "kernel"): 1.0,
        ("classifier", "bias"): 1.0,
    }


@pytest.mark.parametrize(
    ("rules", "what"),
    [
        ([("stem/.*", 0.0), ("head/.*", 1.0), ("classifier/.*", 1.0)], "'head/.*' matches no parameter"),
        ([("stem", 0.0), (".*", 1.0)], "'stem' matches no parameter"),  # not the whole name
        ([("stem/.*", 0.0), ("classifier/bias", 1.0)], r"1 parameters are matched by no .*classifier/kernel"),
        ([("stem/.*", 0.0), (".*", 1.0)], r"'stem/\.\*' and '\.\*' both match stem/"),
        ([("stem/.*", 0.5), ("stem/.*", 0.5), ("classifier/.*", 1.0)], "both match stem/"),
        ([(".*", 0.0)], "freezes every parameter"),
        ([("(", 1.0)], "no regular expression"),
        ([(".*", -1.0)], "at least 0, not -1.0"),
        ([(".*", float("nan"))], "at least 0, not nan"),
        ([(".*", "fast")], "at least 0, not 'fast'"),
        ([".*"], r"'\.\*' is no pair"),
    ],
)
def test_every_parameter_is_covered_exactly_once(rules, what):
    with pytest.raises(UserError, match=f"config.optimizer.learning_rate_factors.*{what}"):
        learning_rate_factors(rules, PARAMS)


def test_a_factor_multiplies_the_learning_rate():
    factors = learning_rate_factors(((r"stem/.*", 0.25), (r"classifier/.*", 1.0)), PARAMS)
    whole, tx = optax.adamw(0.1, weight_decay=0.5), scaled(optax.adamw(0.1, weight_decay=0.5), factors)
    expected, _ = whole.update(PARAMS, whole.init(PARAMS), PARAMS)
    found, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS)
    np.testing.assert_allclose(found["stem"]["bn"]["scale"], 0.25 * expected["stem"]["bn"]["scale"])
    np.testing.assert_allclose(found["classifier"]["kernel"], expected["classifier"]["kernel"])
