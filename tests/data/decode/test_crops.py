import io

import numpy as np
import pytest
import simplejpeg
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from effnet_jax.data.decode import crops, images

OFFICIAL = crops.RandomCrop((0.08, 1.0), (3 / 4, 4 / 3))


def photograph(height, width):
    """Smooth colours, so that decoding at reduced size and resizing agree."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    return np.uint8(127 + 120 * np.stack([np.sin(5 * x + y), np.cos(4 * y), np.sin(3 * (x + y))], axis=-1))


def jpeg(pixels, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, subsampling=0, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(("height", "width"), [(375, 500), (500, 375), (40, 400), (3, 5), (1, 1)])
def test_crops_lie_inside_and_keep_area_and_shape(height, width):
    rng = np.random.default_rng(0)
    boxes = [OFFICIAL.draw(height, width, rng) for _ in range(300)]
    for box in boxes:
        assert box.left >= 0 and box.left + box.width <= width and box.top >= 0 and box.top + box.height <= height
        assert min(box.width, box.height) >= 1
    if min(height, width) < 100:
        return
    shares = np.array([box.width * box.height for box in boxes]) / (height * width)
    aspects = np.array([box.width / box.height for box in boxes])
    assert 0.08 <= shares.min() < 0.12 and 0.85 < shares.max() <= 1
    assert 0.74 < aspects.min() < 0.77 and 1.30 < aspects.max() < 1.35


def test_a_shape_that_never_fits_gives_the_central_square():
    assert OFFICIAL.draw(10, 1000, np.random.default_rng(0)) == crops.Box(495, 0, 10, 10)


@pytest.mark.parametrize(("side", "tolerance"), [(64, 1.5), (32, 6)])  # whole; at a half
def test_the_central_crop_follows_the_rule_of_prediction(side, tolerance):
    content = jpeg(photograph(150, 200))
    expected = images.central_square(images.decode_image(content, "it"), side, 0.875)
    found = crops.central_crop(content, "it", side, 0.875)
    assert found.shape == (side, side, 3) and found.dtype == np.uint8
    # Pillow rounds between its two passes; a reduced decode differs most at the edge of the crop.
    assert np.abs(found - expected).max() <= tolerance and np.abs(found - expected).mean() < 1.5


@pytest.mark.parametrize("side", [100, 40, 20, 10])  # decoded whole, at a half, a quarter, an eighth
def test_a_reduced_decode_shows_the_same_crop(side):
    pixels = photograph(240, 320)
    kinds = [jpeg(pixels), _png(pixels), crops.decode(jpeg(pixels), "it")]  # the second knows no reduced size
    reduced, exact, averaged = [
        crops.random_crop(kind, "it", side, OFFICIAL, np.random.default_rng(3)).astype(int) for kind in kinds
    ]
    assert np.abs(reduced - exact).mean() < 2.5 and np.abs(averaged - exact).mean() < 2.5
    if side == 100:
        np.testing.assert_array_equal(averaged, reduced)


def test_the_size_is_known_from_the_header():
    exif = Image.Exif()
    exif[0x0112] = 6
    for content in (jpeg(photograph(24, 32)), jpeg(photograph(32, 24), exif=exif), _png(photograph(24, 32))):
        assert crops.upright_size(content, "it") == (24, 32) == crops.decode(content, "it").shape[:2]


def _png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("fast", [True, False])
def test_a_reduced_decode_is_used(monkeypatch, fast):
    asked, decode, draft = [], simplejpeg.decode_jpeg, JpegImageFile.draft

    def decode_jpeg(content, colours, min_height, min_width):
        if not fast:
            raise ValueError("unusual colours")
        asked.append((min_width, min_height))
        return decode(content, colours, min_height=min_height, min_width=min_width)

    monkeypatch.setattr(simplejpeg, "decode_jpeg", decode_jpeg)
    monkeypatch.setattr(JpegImageFile, "draft", lambda *given: asked.append(given[2]) or draft(*given))
    content = jpeg(photograph(240, 320))
    for side in (100, 60, 30):
        assert crops.central_crop(content, "it", side, 1.0).shape == (side, side, 3)
    assert asked == ([(320, 240)] if fast else []) + [(160, 120), (80, 60)]


def test_colours_that_the_fast_decoder_refuses():
    buffer = io.BytesIO()
    Image.new("CMYK", (40, 40), (255, 0, 0, 0)).save(buffer, "JPEG")
    expected = images.decode_image(buffer.getvalue(), "it")[:8, :8]  # one colour all over
    np.testing.assert_allclose(crops.central_crop(buffer.getvalue(), "it", 8, 1.0), expected, atol=1)


@pytest.mark.parametrize("side", [64, 16])
def test_a_turned_photograph_is_cut_upright(side):
    pixels = photograph(160, 240)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned = crops.central_crop(jpeg(np.rot90(pixels).copy(), exif=exif), "it", side, 0.875)
    upright = crops.central_crop(jpeg(pixels), "it", side, 0.875)
    assert np.abs(turned.astype(int) - upright).max() <= 12 and np.abs(turned.astype(int) - upright).mean() < 1.5


def test_the_same_generator_draws_the_same_crop():
    content = jpeg(photograph(120, 90))
    crop = lambda seed: crops.random_crop(content, "it", 24, OFFICIAL, np.random.default_rng(seed))  # noqa: E731
    np.testing.assert_array_equal(crop(1), crop(1))
    assert (crop(1) != crop(2)).any()


@pytest.mark.parametrize("content", [b"", b"nothing", jpeg(photograph(50, 50))[:-300]])
def test_a_broken_image_is_named(content):
    with pytest.raises(images.UnreadableImageError, match=r"shelf/it\.jpg"):
        crops.central_crop(content, "shelf/it.jpg", 10, 1.0)


def test_grey_and_transparent_images_become_rgb():
    grey, clear = io.BytesIO(), io.BytesIO()
    Image.fromarray(photograph(20, 20)[..., 0]).save(grey, "JPEG")
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(clear, "PNG")
    assert crops.central_crop(grey.getvalue(), "it", 8, 1.0).shape == (8, 8, 3)
    np.testing.assert_array_equal(crops.central_crop(clear.getvalue(), "it", 8, 1.0), 255)
