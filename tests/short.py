"""Runs in which compiling would be most of the time: a tiny config, networks of two and four blocks, short loops."""

from collections.abc import Callable

import jax
import ml_collections
import pytest

from configs import default
from effnet_jax.architecture import scaling
from effnet_jax.ops import shifted_sums
from effnet_jax.process import sharding


def tiny_config() -> ml_collections.ConfigDict:
    """A run that takes seconds: a sliver of EfficientNet on scikit-learn's digits at their own size."""
    config = default.get_config()
    config.batch_size = 64
    config.eval_batch_size = 184
    config.num_train_steps = 6
    config.log_every_steps = 2
    config.eval_every_steps = 3
    config.checkpoint_every_steps = 2
    config.model.width_multiplier = 0.25
    config.model.depth_multiplier = 0.25
    config.model.num_classes = 10
    config.model.stem_stride = 1
    config.model.stage_strides = (1, 2, 1, 2, 1, 1, 1)
    config.dataset.name = "digits"
    config.dataset.resolution = 8
    config.dataset.validation_examples = 180
    config.augment.crop_padding = 1
    return config


def networks_of(round_repeats: Callable[[int, float], int], one_device: bool = False) -> Callable:
    """Returns a fixture for a module of tests: its EfficientNets have the blocks that `round_repeats` says.

    The width has to make the channels equal where stages are left out: at 0.05 all are 8, at 0.25 the stem's and the
    first stage's.
    """

    @pytest.fixture(scope="module", autouse=True)
    def short_networks():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(scaling, "round_repeats", round_repeats)
            if one_device:
                train_on_one_device(patch)
            yield

    return short_networks


def train_on_one_device(patch: pytest.MonkeyPatch) -> None:
    """For runs that could as well be on eight: compiling for one takes two thirds of the time."""
    mesh_of = sharding.data_mesh
    patch.setattr(sharding, "data_mesh", lambda devices=None: mesh_of(devices or jax.devices()[:1]))


def two_blocks(repeats: int, depth_multiplier: float) -> int:
    """In place of `scaling.round_repeats`: a block each of stages 4 (3x3, stride 2) and 5 (5x5).

    The second is residual, and so has stochastic depth, where the width makes all channels 8.
    """
    return int(repeats == 3)


def four_blocks(repeats: int, depth_multiplier: float) -> int:
    """Likewise, a block each of stages 2 to 5: 3x3 and 5x5, strides 1 and 2; the last one is residual at 8 channels."""
    return int(repeats in (2, 3))


def shorten_loops() -> None:
    """Makes a filter gradient take one output at a time: its loops are most of a training step that is compiled.

    `tests/ops/test_depthwise.py` has the real ones.
    """
    shifted_sums._block_of = lambda geometry, batch: shifted_sums._Block(1, 1, 1)
