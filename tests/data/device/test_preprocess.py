"""One rule for arrays on the device and for files on the host."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from effnet_jax.data.device.preprocess import Preprocess
from effnet_jax.errors import UserError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def photo(height: int, width: int) -> np.ndarray:
    """A smooth picture with a hard edge, uint8."""
    y, x = np.mgrid[:height, :width]
    waves = 127 + 120 * np.sin(x[..., None] / (5, 7, 9) + y[..., None] / (8, 6, 4))
    waves[:, width // 2 :] *= 0.5
    return waves.astype(np.uint8)


def test_normalization_without_resizing():
    image = photo(16, 16)
    expected = (image / 255 - MEAN) / STD
    np.testing.assert_allclose(Preprocess(16, MEAN, STD)(image[None])[0], expected, atol=1e-5)
    np.testing.assert_array_equal(Preprocess(16, MEAN, STD).on_host(image), image)


@pytest.mark.parametrize("shape", [(64, 64), (100, 75), (31, 90), (20, 20)])
@pytest.mark.parametrize("crop_fraction", [1.0, 0.875])
def test_host_and_device_agree(shape, crop_fraction):
    preprocess = Preprocess(32, MEAN, STD, crop_fraction)
    image = photo(*shape)
    on_device = preprocess(jnp.asarray(image[None]))[0]
    on_host = preprocess.normalize(preprocess.on_host(image)[None])[0]
    # In standard deviations; half a grey level is 0.009. Pillow rounds its kernel's weights.
    assert np.abs(on_device - on_host).max() < 2e-3


def test_it_is_pillows_bicubic_of_the_central_crop():
    image = photo(120, 80)
    expected = Image.fromarray(image[25:95, 5:75]).resize((32, 32), Image.BICUBIC)
    ours = Preprocess(32, MEAN, STD, 0.875).on_host(image)
    assert np.abs(ours - np.asarray(expected, np.float32)).max() <= 1.0  # theirs is rounded between the passes


@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    resolution=st.integers(1, 40),
    crop_fraction=st.floats(0.05, 1.0),
)
@settings(max_examples=60)
def test_any_size_gives_the_resolution_within_range(height, width, resolution, crop_fraction):
    preprocess = Preprocess(resolution, MEAN, STD, crop_fraction)
    out = preprocess.on_host(photo(height, width))
    assert out.shape == (resolution, resolution, 3)
    assert out.min() >= 0 and out.max() <= 255
    top, left, side = preprocess.crop_box(height, width)
    assert 1 <= side <= min(height, width)
    assert top >= 0 and left >= 0 and top + side <= height and left + side <= width


def test_a_mirrored_image_is_preprocessed_to_the_mirror():
    image = photo(50, 50)
    preprocess = Preprocess(32, MEAN, STD, 0.8)
    np.testing.assert_allclose(preprocess.on_host(image)[:, ::-1], preprocess.on_host(image[:, ::-1]), atol=1e-3)


def test_under_jit_and_float_images():
    preprocess = Preprocess(16, MEAN, STD)
    images = photo(24, 30)[None]
    floats = jnp.asarray(images, jnp.float32)
    np.testing.assert_allclose(jax.jit(preprocess)(images), preprocess(floats), atol=1e-5)


def test_what_people_have_is_prepared_on_the_host_for_maps_too(tmp_path):
    """NumPy's arrays and files give the same numbers, and no size of them is compiled for."""
    preprocess = Preprocess(32, MEAN, STD, 0.875)
    Image.fromarray(photo(50, 70)).save(tmp_path / "photo.png")
    of_file = preprocess(tmp_path / "photo.png")
    assert of_file.shape == (1, 32, 32, 3)
    np.testing.assert_array_equal(preprocess(photo(50, 70)[None]), of_file)
    np.testing.assert_array_equal(preprocess([photo(50, 70), photo(33, 35)])[:1], of_file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax.image, "resize", lambda *_, **__: pytest.fail("resized on the device"))
        preprocess(photo(61, 43)[None])
    with pytest.raises(UserError, match="uint8"):
        preprocess(photo(32, 32)[None] / 255)
    with pytest.raises(UserError, match=r"an image is \[50, 70, 3\], but this model sees \[height, width, 4\]"):
        Preprocess(32, (0.5,) * 4, (0.5,) * 4)(photo(50, 70))


@pytest.mark.parametrize("shape", [(64, 64), (31, 90), (20, 20)])
def test_bilinear_is_pillows_on_host_and_device(shape):
    preprocess = Preprocess(32, MEAN, STD, 1.0, "bilinear")
    image = photo(*shape)
    on_host = preprocess.on_host(image)
    on_device = preprocess(jnp.asarray(image[None]))[0]
    assert np.abs(on_device - preprocess.normalize(on_host[None])[0]).max() < 2e-3
    top, left, side = preprocess.crop_box(*shape)
    square = Image.fromarray(image[top : top + side, left : left + side])
    assert np.abs(on_host - np.asarray(square.resize((32, 32), Image.BILINEAR), np.float32)).max() <= 1.0
    assert np.abs(on_host - Preprocess(32, MEAN, STD).on_host(image)).max() > 5


def test_one_channel_is_pillows_grey():
    preprocess = Preprocess(16, (0.0,), (1 / 255,))  # leaves 0..255 as it is
    image = photo(16, 16)
    grey = np.asarray(Image.fromarray(image).convert("L"), np.float32)[..., None]
    assert np.abs(preprocess(image[None])[0] - grey).max() <= 1.0
    np.testing.assert_allclose(preprocess(jnp.asarray(grey[None]))[0], grey, rtol=1e-5)
    assert [preprocess.takes(channels) for channels in (1, 3, 4)] == [True, True, False]
