"""Any image a person has is read, and any file that is none is named."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from effnet_jax.data.decode.image_files import EXTENSIONS, find_images
from effnet_jax.data.decode.images import UnreadableImageError, read_image
from effnet_jax.errors import UserError

SIZE = (12, 8)  # width, height


def picture() -> Image.Image:
    """Red on the left, blue on the right."""
    pixels = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    pixels[:, : SIZE[0] // 2, 0] = 250
    pixels[:, SIZE[0] // 2 :, 2] = 250
    return Image.fromarray(pixels)


def png(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".gif", ".tiff"])
def test_formats(suffix, tmp_path):
    picture().save(tmp_path / f"image{suffix}", **({"quality": 95} if suffix in (".jpg", ".webp") else {}))
    image = read_image(tmp_path / f"image{suffix}")
    assert (image.shape, image.dtype) == ((8, 12, 3), np.uint8)
    assert image[4, 1, 0] > 200 > 60 > image[4, 1, 2]
    assert image[4, 10, 2] > 200 > 60 > image[4, 10, 0]


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr", "LA", "RGBA", "I;16", "F"])
def test_modes(mode, tmp_path):
    suffix = ".tiff" if mode in ("CMYK", "YCbCr", "F") else ".png"
    source = picture().convert("L").convert("I") if mode == "I;16" else picture()
    # Pillow before 13 cannot read the uncompressed YCbCr that it writes itself.
    options = {"compression": "jpeg"} if mode == "YCbCr" else {}
    source.convert(mode).save(tmp_path / f"image{suffix}", **options)
    assert read_image(tmp_path / f"image{suffix}").shape == (8, 12, 3)


def test_sixteen_bits_of_grey_keep_their_range(tmp_path):
    Image.fromarray(np.array([[0, 32896, 65535]], np.uint16)).save(tmp_path / "grey.png")
    assert read_image(tmp_path / "grey.png")[0, :, 0].tolist() == [0, 128, 255]


def test_transparency_is_white(tmp_path):
    clear = Image.new("RGBA", SIZE, (255, 0, 0, 0))
    clear.save(tmp_path / "clear.png")
    assert (read_image(tmp_path / "clear.png") == 255).all()
    palette = picture().quantize(4)
    palette.save(tmp_path / "palette.png", transparency=palette.getpixel((0, 0)))
    image = read_image(tmp_path / "palette.png")
    assert (image[:, :6] == 255).all() and image[0, 11, 2] > 200


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation, tmp_path):
    """Stored so that each of the eight orientations shows the same picture."""
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose that undoes it
    stored = picture() if orientation == 1 else picture().transpose(Image.Transpose(back[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "image.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "image.png"), np.asarray(picture()))


def test_the_first_frame_of_an_animation(tmp_path):
    picture().save(tmp_path / "a.gif", save_all=True, append_images=[Image.new("RGB", SIZE, "green")])
    assert read_image(tmp_path / "a.gif")[4, 1, 0] > 200


BAD = {
    "empty": (b"", "an empty file"),
    "text": (b"hello, I am no image", "not an image"),
    "bomb": (png(60_000, 60_000), "too many"),
    "wide bomb": (png(18_000, 10_000), "too many"),
    "lying": (png(300, 300), "cannot be read"),
}


@pytest.mark.parametrize(("content", "reason"), BAD.values(), ids=BAD)
def test_bad_files_are_named(content, reason, tmp_path):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(UnreadableImageError, match=f"bad.png: .*{reason}"):
        read_image(path)


def test_a_path_that_is_none(tmp_path):
    with pytest.raises(UnreadableImageError, match=r"absent.jpg: cannot be read \(No such file"):
        read_image(tmp_path / "absent.jpg")
    with pytest.raises(UnreadableImageError, match="cannot be read"):
        read_image(tmp_path)


def _encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    Image.fromarray(noise).save(buffer, kind)
    return buffer.getvalue()


ENCODED = {kind: _encoded(kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@given(kind=st.sampled_from(list(ENCODED)), data=st.data())
@settings(max_examples=300)
def test_damage_of_any_kind_is_one_error(kind, data, tmp_path_factory):
    """Cut off or with bytes overwritten, a file is an image or an `UnreadableImageError`, nothing else."""
    content = bytearray(ENCODED[kind])
    for _ in range(data.draw(st.integers(0, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        assert read_image(path).dtype == np.uint8
    except UnreadableImageError as error:
        assert str(path) in str(error)


def test_pillow_opens_what_is_called_an_image():
    by_name = Image.registered_extensions()
    not_opened = {name for name in EXTENSIONS if by_name.get(name) not in Image.OPEN}
    assert not_opened <= {".avif", ".avifs"}  # which Pillow opens since 11.3


def test_folders(tmp_path):
    hidden = (".ipynb_checkpoints", "sub/.trash", "__MACOSX")
    for folder in ("sub", *hidden):
        (tmp_path / folder).mkdir()
    for name in ("b.PNG", "a.jpeg", "sub/c.webp", "notes.txt", "._a.jpeg", *(f"{folder}/d.png" for folder in hidden)):
        (tmp_path / name).write_bytes(b"x")
    found = find_images([tmp_path, tmp_path / "notes.txt", "absent.png"])
    names = [str(path.relative_to(tmp_path)) if path.is_absolute() else str(path) for path in found]
    assert names == ["a.jpeg", "b.PNG", "sub/c.webp", "notes.txt", "absent.png"]
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match=r"no image in the folder .*none, which holds nothing"):
        find_images([tmp_path / "none"])
