"""Thumbnails: what a build makes, uses again and leaves out, and what a damaged file does."""

import errno
import io
import os
import sqlite3
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from gpldan_jax.features import thumbnails as making
from gpldan_jax.serving import thumbnail_file
from gpldan_jax.serving.thumbnail_file import FILE, build_thumbnails, open_thumbnails
from gpldan_jax.studies.verification import DAMAGED, OK, verify


def write_pictures(folder, count, side=400):
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{row}.jpg" for row in range(count)]
    for row, path in enumerate(paths):
        Image.new("RGB", (side, side // 2), (5 * row, 9, 200)).save(path)
    return paths


def size_of(file):
    return Image.open(io.BytesIO(file)).size


def test_each_picture_has_a_small_copy_called_by_its_content(tmp_path):
    paths = write_pictures(tmp_path / "photos", 3)
    (tmp_path / "photos" / "again.jpg").write_bytes(paths[0].read_bytes())
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no picture")
    done = []
    every = [*paths, tmp_path / "photos" / "again.jpg", tmp_path / "photos" / "broken.jpg", tmp_path / "gone.jpg"]
    names = build_thumbnails(tmp_path, every, threads=2, on_items=done.append)
    assert names[3] == names[0] and names[4:] == ["", ""] and len(set(names[:3])) == 3 and done == [6]
    found = open_thumbnails(tmp_path)
    assert len(found) == 3 and size_of(found.file(names[0])) == (256, 128)
    colour = np.asarray(Image.open(io.BytesIO(found.file(names[1]))))[64, 128]
    assert np.abs(colour.astype(int) - [5, 9, 200]).max() < 8
    assert found.file("0" * 32) is None and found.file("' OR 1=1") is None
    assert open_thumbnails(tmp_path / "photos") is None


def test_a_second_build_makes_what_is_new_and_drops_what_is_gone(tmp_path, monkeypatch):
    paths, made = write_pictures(tmp_path / "photos", 4), []
    monkeypatch.setattr(
        thumbnail_file, "make_thumbnail", lambda picture: made.append(1) or making.make_thumbnail(picture)
    )
    first = build_thumbnails(tmp_path, paths[:3], threads=1)
    assert len(made) == 3
    second = build_thumbnails(tmp_path, paths[1:], threads=1)
    assert len(made) == 4 and second[:2] == first[1:]
    assert len(open_thumbnails(tmp_path)) == 3 and open_thumbnails(tmp_path).file(first[0]) is None


def test_an_interrupted_build_leaves_the_old_file_and_goes_on(tmp_path, monkeypatch):
    paths, made = write_pictures(tmp_path / "photos", 40), []
    first = build_thumbnails(tmp_path, paths[:2], threads=1)
    monkeypatch.setattr(
        thumbnail_file, "make_thumbnail", lambda picture: made.append(1) or making.make_thumbnail(picture)
    )

    def stop(done):
        if done > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_thumbnails(tmp_path, paths, threads=1, on_items=stop)
    assert len(open_thumbnails(tmp_path)) == 2 and len(made) == 30
    names = build_thumbnails(tmp_path, paths, threads=1)
    assert len(made) == 38 and names[:2] == first and len(open_thumbnails(tmp_path)) == 40
    assert not list(tmp_path.glob(".tmp-*"))


def test_what_an_interrupted_build_left_damaged_is_made_again(tmp_path):
    paths = write_pictures(tmp_path / "photos", 2)
    (tmp_path / f".tmp-{FILE}").write_bytes(b"no database at all, but as long as the header of one would be" * 10)
    assert len(set(build_thumbnails(tmp_path, paths, threads=1))) == 2 and len(open_thumbnails(tmp_path)) == 2


def test_a_damaged_file_is_refused(tmp_path):
    names = build_thumbnails(tmp_path, [np.zeros((9, 9, 3), np.uint8)], threads=1)
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("UPDATE pictures SET file = zeroblob(100)")
    connection.close()
    with pytest.raises(ValueError, match=r"pictures\.sqlite is damaged at [0-9a-f]{32}; build the collection again"):
        open_thumbnails(tmp_path).file(names[0])
    (tmp_path / FILE).write_bytes(b"x" * 5000)
    with pytest.raises(ValueError, match=r"pictures\.sqlite is no file of thumbnails"):
        open_thumbnails(tmp_path)
    (tmp_path / FILE).unlink()
    with sqlite3.connect(tmp_path / FILE) as connection:  # a view would be run
        connection.execute("CREATE VIEW pictures AS SELECT 'a' AS name, 1 AS crc, 'b' AS file")
    connection.close()
    with pytest.raises(ValueError, match=r"pictures\.sqlite is no file of thumbnails"):
        open_thumbnails(tmp_path)


def test_a_file_whose_structure_is_no_text_is_refused_by_name(tmp_path):
    build_thumbnails(tmp_path, [np.zeros((9, 9, 3), np.uint8)], threads=1)
    content = (tmp_path / FILE).read_bytes()
    assert content.count(b"CREATE TABLE pictures") == 1
    (tmp_path / FILE).write_bytes(content.replace(b"CREATE TABLE pictures", b"CREATE TABL\xff pictures"))
    with pytest.raises(ValueError, match=r"pictures\.sqlite is no file of thumbnails"):  # SQLite quotes it
        open_thumbnails(tmp_path)
    assert [of.state for of in verify(tmp_path / FILE)] == [DAMAGED]


def test_a_small_picture_is_kept_to_the_pixel():
    picture = np.random.default_rng(0).integers(0, 256, (50, 128, 3)).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(making.make_thumbnail(picture)))), picture)


@pytest.mark.parametrize("part", [b"webp", b"index"])
def test_a_build_uses_no_damaged_thumbnails_again(tmp_path, part):
    paths = write_pictures(tmp_path / "photos", 3)
    names = build_thumbnails(tmp_path, paths, threads=1)
    whole = [open_thumbnails(tmp_path).file(name) for name in names]
    content = (tmp_path / FILE).read_bytes()
    found = whole[1][40:60] if part == b"webp" else names[1].encode()  # the name stands in the index first
    (tmp_path / FILE).write_bytes(content.replace(found, found[:-1] + bytes([found[-1] ^ 1]), 1))
    (checked,) = verify(tmp_path / FILE)
    assert checked.state == DAMAGED
    assert build_thumbnails(tmp_path, paths, threads=1) == names
    assert [open_thumbnails(tmp_path).file(name) for name in names] == whole
    assert [checked.state for checked in verify(tmp_path / FILE)] == [OK]


def test_a_limit_of_file_sizes_is_named_with_the_file(tmp_path):
    pytest.importorskip("resource", reason="Windows has no limit of file sizes")
    code = """
import resource, sys
from pathlib import Path
import numpy as np
from gpldan_jax.serving.thumbnail_file import build_thumbnails
pictures = list(np.random.default_rng(0).integers(0, 255, (40, 64, 64, 3), dtype=np.uint8))
resource.setrlimit(resource.RLIMIT_FSIZE, (16384, 16384))
try:
    build_thumbnails(Path(sys.argv[1]), pictures, threads=1)
except OSError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout == f"[Errno {errno.EFBIG}] {os.strerror(errno.EFBIG)}: '{tmp_path / FILE}'\n"
