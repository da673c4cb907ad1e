"""A model as other libraries name it is answered with what to write."""

import pytest

from effnet_jax.architecture import catalog
from effnet_jax.errors import UserError

SAME, SYMMETRIC = "padding='SAME' and bn_epsilon=0.001", "padding='SYMMETRIC' and bn_epsilon=1e-05"


@pytest.mark.parametrize(
    "name, ours, numerics",
    [
        ("EfficientNetB0", "efficientnet_b0", f"{SAME}, the defaults"),
        ("efficientnet-b7", "efficientnet_b7", f"{SAME}, the defaults"),
        ("b3", "efficientnet_b3", f"{SAME}, the defaults"),
        ("tf_efficientnet_b0", "efficientnet_b0", f"{SAME}, the defaults"),
        ("tf_efficientnet_l2_ns_475", "efficientnet_l2", f"{SAME}, the defaults"),
        ("timm/tf_efficientnet_b4.ap_in1k", "efficientnet_b4", f"{SAME}, the defaults; its weights: pretrained="),
        (
            "efficientnet_b0.ra_in1k",
            "efficientnet_b0",
            f"{SYMMETRIC}; its weights: pretrained='timm/efficientnet_b0.ra",
        ),
        ("timm/efficientnet_b2", "efficientnet_b2", SYMMETRIC),
        ("ResNet50", "resnet50", f"{SYMMETRIC}, the defaults"),
        ("densenet-201", "densenet201", f"{SYMMETRIC}, the defaults"),
    ],
)
def test_padding_and_epsilon_are_said(name, ours, numerics):
    with pytest.raises(UserError) as error:
        catalog.published(name)
    assert f"write {ours!r}, with {numerics}" in str(error.value)


@pytest.mark.parametrize("name", ["resnet50d", "efficientnetv2_s", "efficientnet_lite0", "efficientnet_b9", ""])
def test_no_other_model_is_taken_for_one_of_ours(name):
    with pytest.raises(UserError, match="the models are efficientnet_b0"):
        catalog.published(name)
