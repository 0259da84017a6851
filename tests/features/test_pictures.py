"""Pictures from strangers: every mode and format, and every way in which a file can be wrong."""

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from gpldan_jax.features import crop_square, fit_square, read_image, read_images, read_picture

Image = pytest.importorskip("PIL.Image", reason="reading pictures needs Pillow")

FORMATS = "expected a complete PNG, JPEG, WEBP, GIF or BMP file"
UNREADABLE = f"the picture cannot be read: {FORMATS}"
JPEG_ERROR = 4  # of one picture of few flat colours at quality 100 without subsampling
ROUNDING = 1  # of a blend of two colours


generated = hypothesis.settings(deadline=None, derandomize=True)


def encoded(picture, form, **settings):
    file = io.BytesIO()
    picture.save(file, form, **settings)
    return file.getvalue()


def pixels(seed=0, shape=(64, 64, 3), values=(0, 40, 200, 255)):
    return np.random.default_rng(seed).choice(np.array(values, np.uint8), shape)


def flat(shape=(64, 64, 3)):
    """Four quarters of one colour each, which JPEG keeps."""
    picture = np.zeros(shape, np.uint8)
    picture[:32, 32:] = 250
    picture[32:, :32] = (200, 40, 40)
    picture[32:, 32:] = (20, 60, 180)
    return picture


def png_header(width, height):
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return start + struct.pack(">I", 10) + b"IDAT" + bytes(14)


def refused(file, **settings):
    with pytest.raises(ValueError) as caught:
        read_picture(file, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("form", ["png", "bmp", "webp"])
def test_a_picture_of_the_right_size_stays_as_it_is(form, tmp_path):
    file = encoded(Image.fromarray(pixels()), form, **({"lossless": True} if form == "webp" else {}))
    picture = read_picture(file)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, pixels())
    (tmp_path / "picture").write_bytes(file)
    np.testing.assert_array_equal(read_picture(tmp_path / "picture"), pixels())
    np.testing.assert_array_equal(read_picture(str(tmp_path / "picture")), pixels())


def test_gif_and_jpeg():
    np.testing.assert_array_equal(read_picture(encoded(Image.fromarray(flat()), "gif")), flat())
    found = read_picture(encoded(Image.fromarray(flat()), "jpeg", quality=100, subsampling=0))
    np.testing.assert_allclose(found, flat(), rtol=0, atol=JPEG_ERROR)


def test_grey_and_palettes():
    grey = pixels(shape=(64, 64))
    expected = np.repeat(grey[..., None], 3, axis=2)
    for form in ("png", "bmp", "gif", "jpeg"):
        found = read_picture(encoded(Image.fromarray(grey), form, **({"quality": 100} if form == "jpeg" else {})))
        np.testing.assert_allclose(found, expected, rtol=0, atol=JPEG_ERROR if form == "jpeg" else 0)
    bits = Image.fromarray(grey > 100)
    assert bits.mode == "1"
    for form in ("png", "bmp"):
        np.testing.assert_array_equal(read_picture(encoded(bits, form)), np.where(expected > 100, 255, 0))
    palette = Image.fromarray(flat()).quantize(8)
    for form in ("png", "bmp", "gif"):
        np.testing.assert_array_equal(read_picture(encoded(palette, form)), flat())


def test_sixteen_bits_are_not_clipped():
    deep = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    file = encoded(Image.fromarray(deep), "png")
    assert Image.open(io.BytesIO(file)).mode.startswith("I")
    np.testing.assert_array_equal(read_picture(file), np.repeat((deep >> 8)[..., None], 3, axis=2))


def test_cmyk():
    cmyk = np.zeros((64, 64, 4), np.uint8)
    cmyk[..., 1:3] = 255  # magenta and yellow are red
    cmyk[:32, :, 3] = 255  # and black is black
    file = encoded(Image.frombytes("CMYK", (64, 64), cmyk.tobytes()), "jpeg")
    found = read_picture(file).astype(int)
    np.testing.assert_allclose(found[:24], 0, atol=JPEG_ERROR)
    np.testing.assert_allclose(found[40:] - [255, 0, 0], 0, atol=JPEG_ERROR)


@pytest.mark.parametrize("form", ["png", "webp"])
def test_what_is_transparent_becomes_white(form):
    alpha = np.repeat([0, 128, 255, 255], 16)[:, None] * np.ones((1, 64), int)
    rgba = np.dstack([pixels(), alpha.astype(np.uint8)])
    settings = {"lossless": True, "exact": True} if form == "webp" else {}
    found = read_picture(encoded(Image.fromarray(rgba), form, **settings))
    expected = 255 - (255.0 - rgba[..., :3]) * rgba[..., 3:] / 255
    np.testing.assert_array_equal(found[:16], 255)
    np.testing.assert_array_equal(found[32:], rgba[32:, :, :3])
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING)


def test_a_transparent_colour_becomes_white():
    index = np.repeat([0, 1, 2, 3], 16)[:, None] * np.ones((1, 64), int)
    palette = Image.frombytes("P", (64, 64), index.astype(np.uint8).tobytes())
    palette.putpalette([0, 0, 0, 10, 20, 30, 200, 0, 0, 0, 0, 200])
    expected = np.array([[0, 0, 0], [255, 255, 255], [200, 0, 0], [0, 0, 200]], np.uint8)[index]
    for form, key in (("png", 1), ("png", b"\xff\x00\xff\xff"), ("gif", 1)):
        np.testing.assert_array_equal(read_picture(encoded(palette, form, transparency=key)), expected)
    grey = Image.fromarray((index * 60).astype(np.uint8))
    found = read_picture(encoded(grey, "png", transparency=60))
    np.testing.assert_array_equal(found[..., 0], np.where(index == 1, 255, index * 60))
    both = np.dstack([index * 60, np.where(index == 1, 0, 255)]).astype(np.uint8)
    found = read_picture(encoded(Image.fromarray(both), "png"))
    np.testing.assert_array_equal(found[..., 0], np.where(index == 1, 255, index * 60))


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda stored: stored),
        (2, lambda stored: stored[:, ::-1]),
        (3, lambda stored: stored[::-1, ::-1]),
        (4, lambda stored: stored[::-1]),
        (5, lambda stored: stored.swapaxes(0, 1)),
        (6, lambda stored: np.rot90(stored, -1)),
        (7, lambda stored: stored[::-1, ::-1].swapaxes(0, 1)),
        (8, lambda stored: np.rot90(stored)),
        (99, lambda stored: stored),
    ],
)
def test_exif_orientation(form, orientation, upright):
    stored = Image.fromarray(pixels(shape=(64, 32, 3)).repeat(2, axis=0).repeat(2, axis=1))
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned, plain = read_image(encoded(stored, form, exif=exif)), read_image(encoded(stored, form))
    np.testing.assert_array_equal(turned, upright(plain))
    assert turned.shape != plain.shape or (turned != plain).any() == (orientation not in (1, 99))
    np.testing.assert_array_equal(read_picture(encoded(stored, form, exif=exif)), fit_square(upright(plain)))


def test_the_first_frame_counts():
    first, second = Image.fromarray(flat()), Image.fromarray(255 - flat())
    for form in ("gif", "webp", "png"):
        settings = {"lossless": True} if form == "webp" else {}
        file = encoded(first, form, save_all=True, append_images=[second], **settings)
        assert Image.open(io.BytesIO(file)).n_frames == 2
        np.testing.assert_array_equal(read_picture(file), flat())


@generated
@hypothesis.given(st.integers(0, 99), st.integers(1, 4))
def test_whole_multiples_are_averaged(seed, times):
    small = pixels(seed)
    large = Image.fromarray(small.repeat(times, axis=0).repeat(times, axis=1))
    np.testing.assert_array_equal(read_picture(encoded(large, "bmp")), small)


@generated
@hypothesis.given(st.integers(1, 300), st.integers(1, 300))
def test_any_shape_is_centred_on_white(width, height):
    found = read_picture(encoded(Image.new("RGB", (width, height), (200, 0, 0)), "bmp"))
    assert found.shape == (64, 64, 3)
    coloured = (found == (200, 0, 0)).all(axis=2)
    assert (coloured | (found == 255).all(axis=2)).all()
    rows, columns = np.flatnonzero(coloured.any(axis=1)), np.flatnonzero(coloured.any(axis=0))
    assert coloured[np.ix_(rows, columns)].all()
    for lines, length in ((rows, height), (columns, width)):
        assert abs(len(lines) - max(1, 64 * length / max(width, height))) <= 0.5
        assert abs(lines[0] - (63 - lines[-1])) <= 1


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (2, 3)])
def test_extreme_sizes(size):
    found = read_picture(encoded(Image.new("RGB", size, (200, 0, 0)), "png"))
    assert (found == (200, 0, 0)).all(axis=2).sum() == 64 * max(1, round(64 * min(size) / max(size)))


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "gif", "bmp"])
def test_incomplete_files_are_refused(form):
    file = encoded(Image.fromarray(pixels(shape=(128, 128, 3))), form)
    for share in (0.1, 0.5, 0.9):
        assert refused(file[: int(share * len(file))]) == UNREADABLE
    assert refused(file[:5]) == UNREADABLE


def test_what_is_no_picture_is_refused(tmp_path):
    for content in (b"", b"not a picture", b"\x89PNG\r\n\x1a\n", b"<svg/>", b"%PDF-1.4", bytes(1000)):
        assert refused(content) == UNREADABLE
    tiff = encoded(Image.fromarray(flat()), "tiff")
    assert refused(tiff) == UNREADABLE
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    assert refused(text) == f"{text} cannot be read: {FORMATS}"
    assert refused(tmp_path / "none.png") == f"{tmp_path / 'none.png'} cannot be read: No such file or directory"
    assert refused(str(tmp_path)) == f"{tmp_path} cannot be read: Is a directory"


def test_zero_sized_pictures_are_refused():
    for size in ((0, 64), (64, 0), (0, 0)):
        assert refused(png_header(*size)) == UNREADABLE


@pytest.mark.parametrize(
    "side", [6_400, 10_000, 20_000, 2_000_000_000]
)  # Pillow warns from 9,460 and raises from 13,378
def test_bombs_are_refused_before_they_are_decoded(side):
    message = "the picture is too large: expected at most 40,000,000 pixels"
    with ThreadPoolExecutor(4) as threads:  # a warning would be an error here, in whichever thread
        assert set(threads.map(refused, [png_header(side, side)] * 40)) == {message}
    assert refused(png_header(6_300, 6_300)) == UNREADABLE  # 39.7 million: decoded, and found empty


def test_the_limit_on_pixels():
    file = encoded(Image.fromarray(flat()), "png")
    np.testing.assert_array_equal(read_picture(file, max_pixels=4096), flat())
    assert refused(file, max_pixels=4095) == "the picture is too large: expected at most 4,095 pixels"


@generated
@hypothesis.given(st.data())
def test_any_change_of_a_file_is_read_or_refused(data):
    form = data.draw(st.sampled_from(["png", "jpeg", "webp", "gif", "bmp"]))
    file = bytearray(encoded(Image.fromarray(flat()).resize((20, 15)), form))
    places = st.integers(0, len(file) - 1)
    for place, value in data.draw(st.dictionaries(places, st.integers(0, 255), min_size=1, max_size=6)).items():
        file[place] = value
    try:
        picture = read_picture(bytes(file))
    except ValueError as error:
        assert str(error).startswith("the picture ") and len(str(error)) < 100
    else:
        assert picture.shape == (64, 64, 3) and picture.dtype == np.uint8


def test_other_types_are_refused():
    with pytest.raises(TypeError):
        read_picture(5)


@pytest.mark.parametrize("threads", [1, 3])
def test_many_are_read_side_by_side(tmp_path, threads):
    for row in range(10):
        Image.fromarray(pixels(row, (row + 1, 5, 3))).save(tmp_path / f"{row}.png")
    (tmp_path / "3.png").write_bytes(b"broken")
    files = [tmp_path / "0.png", *(tmp_path / f"{row}.png" for row in range(1, 9)), (tmp_path / "9.png").read_bytes()]

    def prepare(picture):
        if len(picture) == 6:
            raise ValueError("this one is too tall")
        return picture.copy()

    found = read_images(files, prepare, threads=threads, max_pixels=45)
    assert "3.png cannot be read" in str(found[3]) and str(found[5]) == "this one is too tall"
    assert str(found[9]) == "the picture is too large: expected at most 45 pixels"
    for row in (0, 1, 2, 4, 6, 7, 8):
        np.testing.assert_array_equal(found[row], pixels(row, (row + 1, 5, 3)))


def test_what_is_no_fault_of_a_picture_is_raised(tmp_path):
    Image.fromarray(flat()).save(tmp_path / "a.png")
    with pytest.raises(ZeroDivisionError):
        read_images([tmp_path / "a.png"], lambda picture: 1 // 0, threads=2)


def test_a_crop_of_what_is_too_narrow():
    assert crop_square(np.zeros((10, 1, 3), np.uint8)).shape == (224, 224, 3)
    with pytest.raises(ValueError, match="1 x 9000 pixels is too narrow"):
        crop_square(np.zeros((9000, 1, 3), np.uint8))
