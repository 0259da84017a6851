"""Blocks of features, and files whose bytes depend on their content alone."""

import numpy as np
import pytest

from gpldan_jax.extraction.feature_blocks import block_path, compute_blocks, read_block, write_npz
from tests.extraction.folders import flags

pytest.importorskip("PIL.Image", reason="images need Pillow")


def test_a_damaged_block_is_named(folder, own, call):
    own.STOP = 6
    assert call(*flags(folder), "--batch=32")[0] == 130
    own.STOP = None
    block = block_path(folder / "features.npz.parts/blocks", "image", 0)
    block.write_bytes(block.read_bytes()[:-100])
    status, _, err = call(*flags(folder), "--batch=32")
    assert status == 2 and str(block) in err and "is damaged" in err and not (folder / "features.npz").exists()


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("None", "the encoder was given 32 items: expected real numbers [32, d], found object []"),
        ("[[1]] * (len(p) - 1)", "expected real numbers [32, d], found int64 [31, 1]"),
        ("[['x']] * len(p)", "expected real numbers [32, d], found <U1 [32, 1]"),
        (
            "[[float('nan')]] * len(p)",
            "the first is '0.png': the image encoder gave features that are NaN, Inf or past the range of float32",
        ),
        ("[[1e300]] * len(p)", "past the range of float32"),
        ("[[1] * (1 + len(p) // 100)] * len(p)", "the encoder gave arrays of [1, 2] features"),
    ],
)
def test_an_encoder_that_does_not_do_its_part(folder, own, call, returned, message):
    own.wrong = eval(f"lambda p: {returned}")
    status, _, err = call(
        *flags(folder, image_model="own:wrong"), "--batch=32" if "//" not in returned else "--batch=100"
    )
    assert status == 2 and err.count("\n") == 1 and message in err and not (folder / "features.npz").exists()


def test_blocks_are_computed_once_and_in_order(tmp_path):
    encoded, seen = [], []

    def read(items):
        return [ValueError("odd") if item % 2 else (item, bytes([item % 256]) * 32) for item in items]

    def encode(items):
        encoded.extend(items)
        return [[item] for item in items]

    def compute(count):
        seen.clear()
        on_block = lambda start, block: seen.append((start, block.features[:, 0].tolist()))  # noqa: E731
        compute_blocks(tmp_path, "some", range(count), read, encode, batch=50, on_block=on_block)

    compute(256)
    block_path(tmp_path, "some", 0).unlink()
    encoded.clear()
    compute(300)
    assert encoded == [*range(0, 128, 2), *range(256, 300, 2)]
    assert seen == [(start, list(range(start, min(start + 128, 300), 2))) for start in (0, 128, 256)]
    block = read_block(block_path(tmp_path, "some", 256))
    assert block.rows.tolist() == list(range(0, 44, 2)) and block.problems == dict.fromkeys(range(1, 44, 2), "odd")
    np.testing.assert_array_equal(block.digests[:, 0], np.arange(0, 44, 2))


def test_a_file_has_the_same_bytes_whatever_its_parts(tmp_path):
    features, names = np.arange(12, dtype=np.float32).reshape(4, 3), np.array(["a", "b"])
    write_npz(tmp_path / "whole.npz", {"image": features, "id": names})
    write_npz(tmp_path / "parts.npz", {"image": ((4, 3), iter([features[:1], features[1:]])), "id": names})
    assert (tmp_path / "whole.npz").read_bytes() == (tmp_path / "parts.npz").read_bytes()
    with np.load(tmp_path / "parts.npz") as found:
        np.testing.assert_array_equal(found["image"], features)
        np.testing.assert_array_equal(found["id"], names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts.npz", "whole.npz"]
