"""The message of a refusal, and what a refusal may cost."""

import tracemalloc

import pytest

from gpldan_jax.data import DataError, read_arrays

# What one refusal may allocate besides the file itself; the bombs of the tests would expand to 64 MiB.
MODEST_BYTES = 4 << 20


def message(call, *args, **kwargs):
    with pytest.raises(DataError) as caught:
        call(*args, **kwargs)
    text = str(caught.value)
    assert "\n" not in text
    return text


def refuses_cheaply(path, key, max_bytes=1 << 20):
    tracemalloc.start()
    try:
        text = message(read_arrays, path, [key], max_bytes=max_bytes)
        assert tracemalloc.get_traced_memory()[1] < MODEST_BYTES
    finally:
        tracemalloc.stop()
    return text
