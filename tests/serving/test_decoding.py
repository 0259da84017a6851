"""Pictures of users, decoded in a process of its own."""

import dataclasses
import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpldan_jax.features import read_image
from gpldan_jax.serving.decoding import Decoder, DecodingError
from gpldan_jax.serving.limits import Limits
from tests.commands import ROOT
from tests.serving import served

PICTURE = {"Content-Type": "image/png"}


def file_of(picture, form="png", **settings):
    file = io.BytesIO()
    picture.save(file, form, **settings)
    return file.getvalue()


def noise(width, height):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


@pytest.fixture(scope="module")
def bomb():
    """A file of 56 kB with 15.9 megapixels."""
    return file_of(Image.new("RGB", (3990, 3990), "red"))


@pytest.fixture
def decoder():
    made = []

    def make(**limits):
        made.append(Decoder(dataclasses.replace(Limits(), **limits)))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "gif", "bmp"])
def test_it_is_what_read_image_returns(decoder, form):
    file = file_of(noise(300, 200), form)
    np.testing.assert_array_equal(decoder()(file), read_image(file))


def test_sixteen_bits_transparency_and_orientation_too(decoder):
    decode, exif = decoder(), Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(np.arange(65536, dtype=np.uint16).reshape(256, 256))
    for file in (file_of(deep), file_of(noise(9, 7).convert("LA")), file_of(noise(9, 7), "jpeg", exif=exif)):
        np.testing.assert_array_equal(decode(file), read_image(file))


def test_a_large_picture_is_reduced(decoder):
    decode = decoder(shorter_side=100)
    picture = noise(700, 310)
    np.testing.assert_array_equal(decode(file_of(picture)), np.asarray(picture.reduce(3)))
    assert decode(file_of(picture, "jpeg")).shape == (155, 350, 3)
    assert decode(file_of(noise(700, 199))).shape == (199, 700, 3)


@pytest.mark.parametrize(
    ("limits", "form", "message"),
    [
        ({"pixels": 19_999}, "png", "expected at most 19,999 pixels, or 40,000,000 in a JPEG file"),
        ({"pixels": 5_000, "shorter_side": 50}, "jpeg", None),
        ({"pixels": 5_000, "jpeg_pixels": 19_999}, "jpeg", "expected at most 19,999 pixels"),
    ],
)
def test_too_many_pixels_are_refused_before_they_are_decoded(decoder, limits, form, message):
    decode, file = decoder(**limits), file_of(noise(200, 100), form)
    if message is None:
        assert decode(file).shape == (50, 100, 3)
        return
    with pytest.raises(DecodingError, match=message) as caught:
        decode(file)
    assert caught.value.is_too_large


def test_what_is_no_picture_is_refused(decoder):
    with pytest.raises(DecodingError, match="cannot be read: expected a complete PNG") as caught:
        decoder()(b"GIF89a")
    assert not caught.value.is_too_large


@pytest.mark.skipif(sys.platform != "linux", reason="the memory is limited on Linux")
def test_too_much_memory_is_refused(decoder, bomb):
    with pytest.raises(DecodingError, match="takes more than 50,000,000 bytes to decode") as caught:
        decoder(decoding_bytes=50_000_000)(bomb)
    assert caught.value.is_too_large


def test_too_much_time_is_refused_and_the_next_picture_is_read(decoder, bomb):
    decode = decoder(decoding_seconds=0.3)
    with pytest.raises(DecodingError, match=r"more than 0\.3 seconds to decode"):
        decode(bomb)
    decode._limits = Limits()
    decode.close()
    assert decode(file_of(noise(30, 20))).shape == (20, 30, 3)


def test_a_decoder_that_dies_is_replaced(decoder):
    decode, file = decoder(), file_of(noise(30, 20))
    decode.start()
    decode._spare.kill()
    decode._spare.wait()
    assert decode(file).shape == (20, 30, 3)  # it ended before
    decode._spare.send_signal(signal.SIGSTOP)  # it gets no further
    threading.Timer(0.1, decode._spare.kill).start()
    with pytest.raises(DecodingError, match="what decodes it has failed"):
        decode(file)
    assert decode(file).shape == (20, 30, 3)


def is_decoder(process):
    """Whether a process of this number decodes pictures."""
    try:
        return b"serving.decoding" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
def test_no_process_is_left_when_the_server_is_killed(decoder):
    code = (
        "import time; from gpldan_jax.serving import decoding, limits; decoder = decoding.Decoder(limits.Limits()); "
        "decoder.start(); print(decoder._spare.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        child = int(server.stdout.readline())
        server.kill()
    deadline = time.monotonic() + 10
    while is_decoder(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_page_says_that_a_picture_is_too_large(emoji):
    with served.serving(emoji, pixels=5_000) as port:
        status, _, content = served.ask(port, "/api/search", "POST", file_of(noise(100, 60)), PICTURE)
        assert (status, content["error"].split(":")[0]) == (413, "the picture is too large")
        assert served.ask(port, "/api/search?k=3", "POST", file_of(noise(60, 60)), PICTURE)[0] == 200


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
def test_large_pictures_leave_no_memory_behind(emoji, bomb):
    def memory():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    with served.serving(emoji) as port:
        assert served.ask(port, "/api/search", "POST", file_of(noise(60, 60)), PICTURE)[0] == 200
        before = memory()
        for _ in range(6):
            assert served.ask(port, "/api/search", "POST", bomb, PICTURE)[0] == 200
        assert memory() - before < 100e6
