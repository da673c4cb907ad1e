"""Images as people have them: in memory they are what they are in a file."""

import io

import numpy as np
import pytest
from PIL import Image

from effnet_jax.data.decode.images import UnreadableImageError, read_image
from effnet_jax.data.decode.inputs import as_list, pixels
from effnet_jax.errors import UserError

SHAPES = {"grey": (8, 12), "colour": (8, 12, 3), "transparent": (8, 12, 4)}


def array(shape) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("kind", SHAPES)
def test_an_image_in_memory_is_what_its_file_is(kind, tmp_path):
    values, path = array(SHAPES[kind]), tmp_path / "image.png"
    Image.fromarray(values).save(path)
    expected = read_image(path)
    assert expected.shape == (8, 12, 3)
    with path.open("rb") as opened:
        same = (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), opened, Image.open(path), values)
        for given in same:
            np.testing.assert_array_equal(pixels(given), expected, err_msg=type(given).__name__)
    np.testing.assert_array_equal(pixels(values[..., None] if values.ndim == 2 else values), expected)


def test_a_pillow_image_of_any_mode_and_turned(tmp_path):
    image = Image.fromarray(array((8, 12, 3)))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    assert pixels(Image.open(tmp_path / "turned.png")).shape == (12, 8, 3)
    for mode in ("1", "L", "LA", "P", "CMYK", "I;16", "RGBA"):
        assert pixels(image.convert("L" if mode == "I;16" else mode).convert(mode)).shape == (8, 12, 3), mode


def test_a_model_of_other_channels_takes_its_own():
    for channels in (2, 4, 5):
        values = array((8, 12, channels))
        assert pixels(values, channels) is values
    assert pixels(array((8, 12)), 4).shape == (8, 12, 3)


@pytest.mark.parametrize(
    "bad, message",
    [
        (array((8, 12, 3)) / 255, r"uint8 of values 0..255, not float64: multiply"),
        ((array((8, 12, 3)) / 255).astype(np.float32), r"not float32: multiply"),
        (array((8, 12, 3)).astype(np.int64), "not int64"),
        (array((3, 8, 12)), r"an image is \[height, width, 3\] .* given of \[3, 8, 12\]"),
        (array((0, 12, 3)), r"given of \[0, 12, 3\]"),
        (array((1, 8, 12, 3)), r"given of \[1, 8, 12, 3\]"),
        (7, "paths, the bytes of files, Pillow images, or uint8 arrays .*, not int"),
        (None, "not NoneType"),
        (io.StringIO("text"), "not StringIO"),
    ],
)
def test_anything_else_is_answered_with_what_is_wanted(bad, message):
    with pytest.raises(UserError, match=message):
        pixels(bad)


def test_what_should_be_a_file_and_is_none(tmp_path):
    path = tmp_path / "cut.png"
    Image.fromarray(array((80, 120, 3))).save(path)
    content = path.read_bytes()[:900]
    path.write_bytes(content)
    for bad, message in (
        (b"", "an image of 0 bytes: an empty file"),
        (b"GIF?", "an image of 4 bytes: not an image"),
        (io.BytesIO(content), "an image of 900 bytes: cannot be read"),
        (Image.open(path), "cut.png: .*truncated"),
    ):
        with pytest.raises(UnreadableImageError, match=message):
            pixels(bad)


def test_one_image_or_several(tmp_path):
    one = array((8, 12, 3))
    for single in ("a.png", tmp_path, b"bytes", io.BytesIO(), Image.fromarray(one), one, one[..., 0]):
        assert len(as_list(single)) == 1
    assert as_list("a.png") == ["a.png"]
    for several in (["a", "b"], ("a", "b"), iter("ab"), np.array(["a", "b"]), [one, one], np.stack([one, one])):
        assert len(as_list(several)) == 2
    for bad, message in (
        ([], "no image"),
        (np.zeros((0, 8, 8, 3), np.uint8), "no image"),
        (5, "not int"),
        (np.zeros((1, 2, 8, 8, 3), np.uint8), r"\[1, 2, 8, 8, 3\]"),
        (np.uint8(3), r"not \[\]"),
    ):
        with pytest.raises(UserError, match=message):
            as_list(bad)
