"""Decodes the picture of a user in a process of its own, with limits of memory and time.

A new process decodes each picture and ends, so its memory is returned and nothing of a picture is left for the next.
It is started before it is needed. The parent sends the file through a pipe and reads a line of JSON, the size of the
picture or what is wrong, and the pixels. `python -m gpldan_jax.serving.decoding` is that process.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpldan_jax import _decoding

if TYPE_CHECKING:
    import numpy as np

    from gpldan_jax.serving.limits import Limits

_PACKAGES = Path(__file__).parents[2]
_LAST = 5  # seconds of the processor, beyond the limit of time, after which the system ends a process without a parent
_LONGEST_HEAD = 1000  # bytes
_NICE = 10  # searches come first


class DecodingError(ValueError):
    """A picture cannot be decoded; the message says why, and `is_too_large` whether its size is the reason."""

    def __init__(self, message: str, is_too_large: bool = False):
        super().__init__(message)
        self.is_too_large = is_too_large


class Decoder:
    """Decodes pictures, each in a new process. One thread may call it at a time.

    Args:
        limits: of the server: `decoding_seconds`, `decoding_bytes`, `pixels`, `jpeg_pixels`, `shorter_side`.
    """

    def __init__(self, limits: "Limits"):
        self._limits = limits
        self._spare: subprocess.Popen[bytes] | None = None

    def __call__(self, content: bytes) -> "np.ndarray":
        """Decodes a picture.

        Args:
            content: of the file.

        Returns:
            uint8 `[h, w, 3]` in RGB. A picture whose shorter side has at least twice `shorter_side` pixels is reduced
            by a whole number.

        Raises:
            DecodingError: it is no picture, too large, or takes too much memory or time.
        """
        import numpy as np

        if self._spare and self._spare.poll() is not None:  # someone ended it
            self.close()
        process, self._spare = self._spare or self._start(), None
        timer = threading.Timer(self._limits.decoding_seconds, process.kill)
        timer.start()
        try:
            answer, pixels = self._converse(process, content)
        finally:
            is_late = timer.finished.is_set()
            timer.cancel()
            self._spare = self._start()
        if error := answer.get("error"):
            raise DecodingError(error, answer["is_too_large"])
        if is_late:
            raise DecodingError(
                f"the picture takes more than {self._limits.decoding_seconds:g} seconds to decode", True
            )
        if not pixels:  # the system ended the process, or an error of a library
            raise DecodingError("the picture cannot be read: what decodes it has failed")
        width, height = answer["size"]
        return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)

    def start(self) -> None:
        """Starts the process that will decode the next picture."""
        self._spare = self._spare or self._start()

    def close(self) -> None:
        """Ends the process that waits for a picture."""
        if self._spare:
            self._spare.kill()
            with self._spare:
                self._spare = None

    def _converse(self, process, content) -> tuple[dict[str, Any], bytes]:
        """What a process answers, and the pixels; nothing where it has ended before."""
        with contextlib.suppress(OSError), process:  # it has ended, and does not read
            process.stdin.write(content)
            process.stdin.close()
            head = process.stdout.readline(_LONGEST_HEAD)
            if head.endswith(b"\n"):
                answer = json.loads(head)
                width, height = answer.get("size", (0, 0))
                pixels = process.stdout.read(3 * width * height)
                return answer, pixels if len(pixels) == 3 * width * height else b""
        return {}, b""

    def _start(self):
        values = (self._limits.decoding_bytes, self._limits.decoding_seconds + _LAST, self._limits.jpeg_pixels)
        values += (self._limits.pixels, self._limits.shorter_side)
        path = os.pathsep.join(filter(None, [str(_PACKAGES), os.environ.get("PYTHONPATH")]))
        return subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, *(str(round(value)) for value in values)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": path},
        )


def _main(memory, seconds, max_pixels, most_decoded, shorter_side):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server's end closes the pipe, which ends this process
    import PIL.Image  # before the limits

    PIL.Image.init()
    _limit_this_process(memory, seconds)
    content = sys.stdin.buffer.read()
    pixels = b""
    try:
        with _decoding.without_warnings():
            limits = {"max_pixels": max_pixels, "most_decoded": most_decoded, "smallest": shorter_side}
            picture = _decoding.decode(content, **limits)
        factor = min(picture.size) // shorter_side
        picture = picture.reduce(factor) if factor > 1 else picture
        pixels, answer = picture.tobytes(), {"size": picture.size}
    except MemoryError:
        answer = {"error": f"the picture takes more than {memory:,} bytes to decode", "is_too_large": True}
    except ValueError as error:
        answer = {"error": str(error), "is_too_large": isinstance(error, _decoding.TooLargeError)}
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + pixels)


def _limit_this_process(memory, seconds):
    """Limits the memory that this process may take from now on, and its time; the memory on Linux only."""
    try:
        import resource
    except ImportError:  # Windows
        return
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    with contextlib.suppress(OSError, ValueError):
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + memory, taken + memory))


if __name__ == "__main__":
    _main(*map(int, sys.argv[1:]))
