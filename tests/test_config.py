import math

import pytest

from configs import default
from effnet_jax import config as config_lib
from effnet_jax.errors import UserError


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("batch_size", 0),
        ("log_every_steps", -1),
        ("num_train_steps", 0),
        ("eval_every_steps", 0),
        ("label_smoothing", 1.0),
        ("ema_decay", -0.1),
        ("model.dtype", "float16"),
        ("model.padding", "VALID"),
        ("model.dropout_rate", 1.5),
        ("optimizer.learning_rate", 0.0),
        ("optimizer.learning_rate", math.nan),
        ("optimizer.weight_decay", math.nan),
        ("optimizer.epsilon", math.inf),
        ("optimizer.learning_rate_factors", ((".*", -math.inf),)),
        ("augment.hue", math.nan),
        ("dataset.broken_images", "ignore"),
        ("dataset.validation_examples", -1),
        ("dataset.held_out_fraction", 1.0),
        ("dataset.image_size", 0),
        ("augment.mix_until", 1.5),
        ("augment.cutmix_alpha", -1.0),
        ("augment.hue", 0.6),
        ("optimizer.accumulation_steps", 3),  # does not divide 128
    ],
)
def test_impossible_values_are_named(key, value):
    config = default.get_config()
    with config.ignore_type():
        config.update_from_flattened_dict({key: value})
    with pytest.raises(UserError, match=key.split(".")[-1]):
        config_lib.check(config)


def test_default_config_passes():
    config = default.get_config()
    config_lib.check(config)
    config.dataset.validation_examples = 0
    config_lib.check(config)


def test_changed_keys_names_each_difference_but_not_locations():
    stored = config_lib.flatten(default.get_config())
    config = default.get_config()
    config.dataset.data_dir = "/elsewhere"
    assert config_lib.changed_keys(stored, config) == []
    config.model.stem_stride = 1
    config.seed = 7
    assert config_lib.changed_keys(stored, config) == ["model.stem_stride: 2 -> 1", "seed: 0 -> 7"]


def test_a_key_only_one_of_them_has_is_a_difference():
    config = default.get_config()
    stored = config_lib.flatten(config)
    del stored["ema_decay"]
    assert config_lib.changed_keys(stored, config) == ["ema_decay: absent -> 0.9999"]
