"""The methods against what they are by definition: closed forms at the head map, slow loops elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effnet_jax import cam
from effnet_jax.cam import base

CLASS = 2


@pytest.fixture(scope="module")
def head(net, images):
    """Head map A [N, h, w, K], classifier W [K, classes] and b, logits, all NumPy float64."""
    fmap = net.model.apply(net.variables, images, method="features")
    dense = net.variables["params"]["linear"]
    arrays = (fmap, dense["kernel"], dense["bias"], net.model.apply(net.variables, fmap, method="head"))
    return [np.asarray(array, np.float64) for array in arrays]


def raw(method, net, images, targets=CLASS, **options):
    return np.asarray(method(net.model, net.variables, images, targets, raw=True, **options))


def close(ours, expected, tolerance=1e-5):
    np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_cam_is_the_classifier_at_every_pixel(net, images, head):
    fmap, kernel, _, _ = head
    close(raw(cam.cam, net, images), fmap @ kernel[:, CLASS])


@pytest.mark.parametrize("method", [cam.grad_cam, cam.hires_cam, cam.xgrad_cam])
def test_at_the_head_map_they_are_cam_over_its_pixels(method, net, images, head):
    fmap, kernel, _, _ = head
    close(raw(method, net, images), fmap @ kernel[:, CLASS] / (fmap.shape[1] * fmap.shape[2]), 1e-4)


def test_hires_cam_sums_to_the_logit_without_its_bias(net, images, head):
    _, _, bias, logits = head
    close(raw(cam.hires_cam, net, images).sum((1, 2)), logits[:, CLASS] - bias[CLASS])


def test_layer_cam_and_grad_cam_plus_plus_at_the_head_map(net, images, head):
    fmap, kernel, _, _ = head
    positive = np.maximum(kernel[:, CLASS], 0)
    pixels = fmap.shape[1] * fmap.shape[2]
    close(raw(cam.layer_cam, net, images) * pixels, fmap @ positive)
    weights = positive / (2 + fmap.mean((1, 2)) * kernel[:, CLASS])
    close(raw(cam.grad_cam_plus_plus, net, images), np.einsum("nhwk,nk->nhw", fmap, weights))


def test_swapping_two_rows_of_the_classifier_swaps_their_maps(net, images):
    swap = lambda leaf: leaf[..., jnp.array([0, 3, 2, 1, 4])]  # noqa: E731
    params = {**net.variables["params"], "linear": jax.tree.map(swap, net.variables["params"]["linear"])}
    swapped = {**net.variables, "params": params}
    for method in (cam.cam, cam.grad_cam, cam.grad_cam_plus_plus, cam.layer_cam):
        for one, other in ((1, 3), (3, 1), (0, 0)):
            close(
                method(net.model, swapped, images, one, raw=True),
                method(net.model, net.variables, images, other, raw=True),
            )
        assert np.abs(raw(method, net, images, 1) - raw(method, net, images, 3)).max() > 1e-3


@pytest.mark.parametrize("layer", ["stem", "middle"])
def test_gradients_below_the_head_are_those_of_the_logit(net, images, layer):
    """HiResCAM's sum is the slope of the logit along the activations themselves."""
    fmap = net.model.apply(net.variables, images[:2], layer=layer, method="features")
    logit = jax.jit(  # by the scale of the activations
        lambda scale: net.model.apply(net.variables, scale * fmap, layer=layer, method="head")[:, CLASS]
    )
    slope = np.asarray((logit(1 + 1e-2) - logit(1 - 1e-2)) / 2e-2)
    ours = raw(cam.hires_cam, net, images[:2], layer=layer)
    assert ours.shape == fmap.shape[:3]
    close(ours.sum((1, 2)), slope, 0.01)


@pytest.mark.parametrize("layer", [None, "stem"], ids=["fewer pixels", "fewer channels"])
def test_eigen_cam_is_the_first_component(net, images, layer):
    fmap = np.asarray(net.model.apply(net.variables, images, layer=layer or "head", method="features"), np.float64)
    for ours, activations in zip(raw(cam.eigen_cam, net, images, layer=layer), fmap):
        x = activations.reshape(-1, activations.shape[-1])
        x = x - x.mean(0)
        expected = x @ np.linalg.svd(x, full_matrices=False)[2][0]
        expected *= np.sign(expected @ x.sum(1))
        close(ours.ravel(), expected, 1e-3)


def test_score_cam_is_a_forward_pass_a_channel(net, images):
    x, layer = images[:2], "middle"
    predict = jax.jit(lambda x: net.model.apply(net.variables, x, train=False))
    fmap = np.asarray(net.model.apply(net.variables, x, layer=layer, method="features"))
    channels = fmap.shape[-1]
    assert channels % 5, "the last chunk is not full"
    masks = np.asarray(base.unit_range(base.resize(jnp.moveaxis(fmap, -1, 0), (16, 16))))
    logits = [np.asarray(predict(x * mask[..., None])) for mask in masks]
    for targets, classes in ((CLASS, [CLASS, CLASS]), (None, predict(x).argmax(1))):
        scores = np.stack([logits[k][np.arange(2), np.asarray(classes)] for k in range(channels)])
        weights = np.asarray(jax.nn.softmax(scores, axis=0))
        expected = np.einsum("nhwk,kn->nhw", fmap, weights)
        close(raw(cam.score_cam, net, x, targets, layer=layer, batch_size=10), expected, 1e-4)
    several = raw(cam.score_cam, net, x, np.array([[CLASS, 0], [CLASS, 1]]), layer=layer, batch_size=10)
    close(several[:, 0], raw(cam.score_cam, net, x, CLASS, layer=layer, batch_size=10))
    assert several.shape == (2, 2, *fmap.shape[1:3])


def test_input_gradients(net, images):
    logit = lambda x: net.model.apply(net.variables, x[None], train=False)[0, CLASS]  # noqa: E731
    expected = np.abs(jax.jit(jax.grad(logit))(images[0])).max(-1)
    close(raw(cam.input_gradients, net, images)[0], expected, 1e-4)


def test_integrated_gradients_are_complete(net, images):
    baseline = 0.25 * images[::-1].mean(0)
    score = lambda x: np.asarray(net.model.apply(net.variables, x, train=False))[:, CLASS]  # noqa: E731
    maps = raw(cam.integrated_gradients, net, images, baseline=baseline, steps=48)
    change = score(images) - score(baseline[None])
    close(maps.sum((1, 2)), change, 0.02)


def test_integrated_gradients_keep_the_class_of_the_image_along_the_path(net, images):
    best = np.asarray(net.model.apply(net.variables, images, train=False)).argmax(1)
    close(
        raw(cam.integrated_gradients, net, images, None, steps=4),
        raw(cam.integrated_gradients, net, images, best, steps=4),
    )
