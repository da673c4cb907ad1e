"""Targets, shapes, dtypes, compilations, devices, and what a user can get wrong."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effnet_jax import cam
from effnet_jax.cam import base
from effnet_jax.cam.registry import find
from effnet_jax.errors import UserError
from effnet_jax.process import sharding
from tests.cam.conftest import coarse_and_fine


def grad_cam(net, images, targets=None, **options):
    return np.asarray(cam.grad_cam(net.model, net.variables, images, targets, **options))


@pytest.fixture(scope="module")
def logits(net, images):
    return np.asarray(net.model.apply(net.variables, images, train=False))


def test_maps_have_the_size_of_the_images_and_lie_in_0_to_1(net, images):
    maps = grad_cam(net, images)
    assert (maps.shape, maps.dtype) == (images.shape[:3], np.float32)
    np.testing.assert_allclose([maps.min((1, 2)), maps.max((1, 2))], [[0] * 8, [1] * 8])
    assert grad_cam(net, images, raw=True).shape == (8, 4, 4)


def test_the_scaled_map_is_the_raw_one_cut_at_0_and_resized(net, images):
    raw = jnp.asarray(grad_cam(net, images, raw=True))
    assert (raw < 0).any()
    large = np.asarray(jax.image.resize(jnp.maximum(raw, 0), (8, 16, 16), "linear"))
    lowest, highest = large.min((1, 2), keepdims=True), large.max((1, 2), keepdims=True)
    np.testing.assert_allclose(grad_cam(net, images), (large - lowest) / (highest - lowest), atol=1e-5)


def test_a_map_without_evidence_is_0():
    np.testing.assert_array_equal(base.finish(-jnp.ones((2, 3, 3)), (6, 6), raw=False), np.zeros((2, 6, 6)))


def test_targets(net, images, logits):
    classes = np.arange(8) % 5
    of_class = [grad_cam(net, images, c, raw=True) for c in range(5)]
    chosen = np.stack([of_class[c][n] for n, c in enumerate(classes)])
    best = np.argsort(-logits, axis=1)
    close = lambda ours, expected: np.testing.assert_allclose(ours, expected, atol=1e-6)  # noqa: E731
    close(grad_cam(net, images, None, raw=True), grad_cam(net, images, best[:, 0], raw=True))
    close(grad_cam(net, images, classes, raw=True), chosen)
    two = grad_cam(net, images, np.stack([classes, (classes + 1) % 5], 1), raw=True)
    assert two.shape == (8, 2, 4, 4)
    close(two[:, 0], chosen)
    close(two[:, 1], grad_cam(net, images, (classes + 1) % 5, raw=True))
    top = grad_cam(net, images, cam.TopK(2), raw=True)
    close(top[:, 1], grad_cam(net, images, best[:, 1], raw=True))
    close(grad_cam(net, images, cam.Difference(1, 4), raw=True), of_class[1] - of_class[4])
    close(grad_cam(net, images, lambda y: 2 * y[:, 3] - y[:, 0], raw=True), 2 * of_class[3] - of_class[0])
    pair = grad_cam(net, images, lambda y: y[:, :2], raw=True)
    close(pair[:, 1], of_class[1])


def test_softmax_is_another_target_than_the_logit(net, images):
    probability = grad_cam(net, images, lambda y: jax.nn.softmax(y)[:, 2], raw=True)
    assert np.abs(probability - grad_cam(net, images, 2, raw=True)).max() > 1e-3


# Those with many forward passes are asked for several targets in test_methods, where a small case is made of them.
@pytest.mark.parametrize("name", [name for name in cam.METHODS if name not in ("score_cam", "integrated_gradients")])
def test_several_targets_an_image(net, images, name):
    """Every method gives [N, T, H, W], of which each row is the map of that target alone."""
    call = lambda targets: np.asarray(cam.METHODS[name](net.model, net.variables, images, targets, None))  # noqa: E731
    both = call(np.tile([3, 1], (8, 1)))
    assert both.shape == (8, 2, 16, 16)
    np.testing.assert_allclose(both[:, 1], call(1), atol=1e-3)


def test_bfloat16(net, images):
    half = net.model.clone(dtype="bfloat16")
    exact = grad_cam(net, images, 1, layer="middle", raw=True)
    rounded = np.asarray(cam.grad_cam(half, net.variables, images, 1, "middle", raw=True))
    assert rounded.dtype == np.float32
    assert 0 < np.abs(rounded - exact).max() < 0.1 * np.abs(exact).max()


def test_an_efficientnet(efficientnet):
    """Its own interface, layers by name, the compute dtype of a bfloat16 model."""
    x = coarse_and_fine(96).astype(np.float32)[:4]
    assert grad_cam(efficientnet, x, layer="stage5", raw=True).shape == (4, 6, 6)
    half = efficientnet.model.clone(numerics=dataclasses.replace(efficientnet.model.numerics, dtype="bfloat16"))
    exact = grad_cam(efficientnet, x, 1, raw=True)
    rounded = np.asarray(cam.grad_cam(half, efficientnet.variables, x, 1, raw=True))
    # Through so many layers bfloat16's 8 bits leave about a tenth of the norm to rounding.
    assert 0 < np.linalg.norm(rounded - exact) < 0.2 * np.linalg.norm(exact)


def test_inside_a_jit_of_the_user(net, images):
    @jax.jit
    def strongest(variables, images, classes):
        return cam.grad_cam(net.model, variables, images, classes).max((1, 2))

    np.testing.assert_allclose(strongest(net.variables, images, jnp.arange(8) % 5), np.ones(8), rtol=1e-6)


def test_one_compilation_a_shape(net, images):
    base._above.clear_cache()
    for targets in (0, 4, np.arange(8) % 5, jnp.full(8, 2)):
        grad_cam(net, images, targets)
    assert base._above._cache_size() == 1
    grad_cam(net, images[:4], 0)
    assert base._above._cache_size() == 2


def test_eight_devices_give_the_maps_of_one(net, images):
    mesh = sharding.data_mesh()
    assert mesh.size == 8
    spread = jax.device_put(images, sharding.batch_sharded(mesh))
    variables = sharding.put_replicated(net.variables, mesh)
    maps = cam.grad_cam(net.model, variables, spread, None, "middle")
    assert len({shard.device for shard in maps.addressable_shards}) == 8
    np.testing.assert_allclose(maps, grad_cam(net, images, layer="middle"), atol=1e-4)


def test_at_the_head_map_nothing_but_the_head_is_differentiated(efficientnet):
    net, images = efficientnet, coarse_and_fine(96).astype(np.float32)
    forward = jax.jit(lambda v, x: net.model.apply(v, x, train=False)).lower(net.variables, images)
    for name in ("cam", "grad_cam", "grad_cam_plus_plus", "hires_cam", "layer_cam", "xgrad_cam"):
        method = jax.jit(lambda v, x, name=name: cam.METHODS[name](net.model, v, x, 1, None))
        cost = method.lower(net.variables, images).cost_analysis()["flops"]
        assert cost < 1.1 * forward.cost_analysis()["flops"], name
    whole = jax.jit(lambda v, x: cam.input_gradients(net.model, v, x, 1)).lower(net.variables, images)
    assert whole.cost_analysis()["flops"] > 1.8 * forward.cost_analysis()["flops"], "the measure sees a backward pass"


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (5, "there is no class 5"),
        (np.array([0] * 7 + [-1]), "there is no class -1"),
        (np.zeros(3, int), r"not \[3\]"),
        (0.5, "not float64"),
        (cam.TopK(6), "6 best of 5"),
        (cam.Difference(0, 9), "there is no class 9"),
        (lambda y: y.sum(), r"not \[\]"),
    ],
)
def test_wrong_targets(net, images, targets, message):
    with pytest.raises(UserError, match=message):
        grad_cam(net, images, targets)


def test_wrong_layers_and_images(net, efficientnet, images):
    with pytest.raises(UserError, match=r"no layer 'stage8'.*the layers are stem, "):
        grad_cam(efficientnet, np.zeros((1, 64, 64, 3), np.float32), layer="stage8")
    with pytest.raises(UserError, match="at the layer 'head' alone"):
        cam.cam(net.model, net.variables, images, layer="stage3")
    with pytest.raises(UserError, match="takes no layer"):
        cam.METHODS["input_gradients"](net.model, net.variables, images, None, "stage3")
    for wrong in (images[0], np.zeros((2, 64, 64, 3), np.uint8)):
        with pytest.raises(UserError, match="normalised floats"):
            grad_cam(net, wrong)


def test_methods_by_name():
    assert find("Grad-CAM++").name == "grad_cam_plus_plus"
    with pytest.raises(UserError, match="did you mean 'grad_cam'"):
        find("gradcam")
