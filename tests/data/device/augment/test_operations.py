"""Each operation against Pillow's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from effnet_jax.data.device.augment import colour, operations
from effnet_jax.data.device.augment.geometric import FILL
from effnet_jax.process import target

WHITE = (FILL,) * 3


def pictures():
    """A smooth one, noise, few levels, one colour; not square."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:20, :24]
    smooth = np.stack([10 * y + x, 5 * x + 3 * y, 255 - 8 * y], -1).astype(np.uint8)
    noise = rng.integers(0, 256, smooth.shape, dtype=np.uint8)
    few = rng.choice(np.array([3, 90, 91, 200], np.uint8), smooth.shape)
    return [smooth, noise, few, np.full_like(smooth, 77)]


def affine(image, coefficients):
    return image.transform(image.size, Image.AFFINE, coefficients, Image.NEAREST, fillcolor=WHITE)


def solarized(image, threshold):
    return ImageOps.solarize(image, threshold)


REFERENCES = {
    "identity": (lambda image, _: image, [0]),
    "shear_x": (lambda image, m: affine(image, (1, m, 0, 0, 1, 0)), [0.23, -0.31, 0.97]),
    "shear_y": (lambda image, m: affine(image, (1, 0, 0, m, 1, 0)), [0.23, -0.31, 0.97]),
    "translate_x": (lambda image, m: affine(image, (1, 0, m, 0, 1, 0)), [3, -7.3, 40]),
    "translate_y": (lambda image, m: affine(image, (1, 0, 0, 0, 1, m)), [3, -7.3, 40]),
    "rotate": (lambda image, m: image.rotate(m, Image.NEAREST, fillcolor=WHITE), [9, -30, 131]),
    "brightness": (lambda image, m: ImageEnhance.Brightness(image).enhance(m), [0.1, 0.7, 1.9]),
    "color": (lambda image, m: ImageEnhance.Color(image).enhance(m), [0.1, 0.7, 1.9]),
    "contrast": (lambda image, m: ImageEnhance.Contrast(image).enhance(m), [0.1, 0.7, 1.9]),
    "sharpness": (lambda image, m: ImageEnhance.Sharpness(image).enhance(m), [0.1, 0.7, 1.9]),
    "posterize": (lambda image, m: ImageOps.posterize(image, int(m)), [2, 5, 8]),
    "solarize": (solarized, [0, 85, 226.67, 255]),
    "auto_contrast": (lambda image, _: ImageOps.autocontrast(image), [0]),
    "equalize": (lambda image, _: ImageOps.equalize(image), [0]),
    "invert": (lambda image, _: ImageOps.invert(image), [0]),
}
# Pillow's floating point may land just below a whole level.
OFF_BY_ONE = ("auto_contrast", "brightness", "color", "contrast", "sharpness")


@pytest.mark.parametrize("name", operations.NAMES)
def test_an_operation_is_that_of_pillow(name):
    reference, magnitudes = REFERENCES[name]
    operation = jax.jit(operations.OPERATIONS[name])
    for picture in pictures():
        for magnitude in magnitudes:
            expected = np.asarray(reference(Image.fromarray(picture), magnitude)).astype(int)
            found = np.asarray(operation(jnp.asarray(picture), jnp.float32(magnitude)))
            assert found.dtype == np.uint8
            difference = np.abs(found - expected)
            assert (difference > (1 if name in OFF_BY_ONE else 0)).mean() == 0, (name, magnitude)
            assert (difference > 0).mean() < 0.01, (name, magnitude)


def hue_turned(image, turn):
    """As torchvision does it with Pillow."""
    hue, saturation, value = image.convert("HSV").split()
    turned = np.asarray(hue) + np.int32(turn * 255).astype(np.uint8)
    return Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")


@pytest.mark.parametrize("turn", [0.0, 0.1, -0.37, 0.5, -0.5])
def test_hue_is_turned_as_in_pillow(turn):
    levels = np.r_[0, 1, 2, 5, 253, 254, 255, 17:250:18].astype(np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(len(levels), -1, 3)
    operation = jax.jit(colour.hue)
    for picture in (colours, pictures()[0]):
        expected = np.asarray(hue_turned(Image.fromarray(picture), turn)).astype(int)
        found = np.asarray(operation(picture, jnp.float32(turn)))
        assert found.dtype == np.uint8
        # Pillow's floating point may land just below a whole hue, which is six levels of a channel.
        difference = np.abs(found - expected)
        assert difference.max() <= 6 and (difference > 0).mean() < 0.002


def test_the_test_sees_a_change(monkeypatch):
    """Each operation at its first magnitude does something to noise, so the comparison above is about something."""
    noise = jnp.asarray(pictures()[2])
    for name, operation in operations.OPERATIONS.items():
        changed = (operation(noise, jnp.float32(REFERENCES[name][1][0])) != noise).any()
        assert changed == (name != "identity"), name


@pytest.mark.parametrize("platform", ["cpu", "cuda"])
def test_each_image_gets_its_own_operations_in_order(platform):
    number = operations.NAMES.index
    images = jnp.asarray(np.stack(pictures()[:3] * 2))
    chosen = jnp.array([[number("invert"), number("solarize")], [number("solarize"), number("invert")]] * 3)
    magnitudes = jnp.array([[0, 100], [100, 0]] * 3)
    with target.tracing_for(platform):
        found = operations.apply_each(images, chosen, magnitudes)
    for image, result, names in zip(images, found, [("invert", "solarize"), ("solarize", "invert")] * 3):
        expected = image
        for name in names:
            expected = operations.OPERATIONS[name](expected, jnp.float32(100))
        np.testing.assert_array_equal(result, expected)
