"""What the shipped datasets have in common: how their files are read and written."""

import json
import sys
from importlib.resources import files

import numpy as np
import pytest

from gpldan_jax.data import SHIPPED, dataset_names, shipped, shipped_arrays, shipped_documents, shipped_pictures
from tests.data.loading import load_tool


def test_every_shipped_dataset_has_a_name_and_a_folder():
    assert set(SHIPPED) < set(dataset_names())
    for name in SHIPPED:
        assert files(f"gpldan_jax.data.{name}").joinpath("README.md").is_file()


@pytest.mark.parametrize("name", SHIPPED)
def test_rows_names_and_texts_belong_together(name):
    arrays = shipped_arrays(name)
    n = len(arrays.image)
    assert n == len(arrays.text) == len(arrays.label) == len(arrays.split) == len(shipped_documents(name))
    assert len(set(arrays.names)) == n and len(set(arrays.classes)) == len(arrays.classes) == arrays.label.max() + 1


@pytest.fixture
def sheet(tmp_path):
    pytest.importorskip("PIL", reason="a sheet needs Pillow")
    rows = np.arange(13)
    pictures = np.zeros((13, 64, 64, 3), np.uint8)
    pictures[:, 1, 2, 0], pictures[:, 1, 2, 1] = rows, 2 * rows
    said = load_tool("shipped_files").write_sheet(pictures, tmp_path / "sheet.webp", 5, lossless=True)
    return tmp_path / "sheet.webp", pictures, said


def test_a_sheet_comes_back_as_it_was_written(sheet):
    path, pictures, said = sheet
    assert said == {"file": "sheet.webp", "tile": 64, "columns": 5, "rows": 3}
    found = shipped.read_sheet(path, 5, 3, 64)
    np.testing.assert_array_equal(found[:13], pictures)
    assert (found[13:] == 255).all() and len(found) == 15


def test_a_sheet_of_another_size_is_refused(sheet):
    with pytest.raises(
        ValueError, match=r"sheet\.webp: expected a sheet of shape \(256, 320, 3\), found \(192, 320, 3\)"
    ):
        shipped.read_sheet(sheet[0], 5, 4, 64)


@pytest.mark.parametrize("name", SHIPPED)
def test_pictures_say_what_to_install(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=rf"pictures of {name}: .*: pip install 'gpldan_jax\[features\]'"):
        shipped_pictures(name)


@pytest.mark.parametrize("name", SHIPPED)
def test_files_that_do_not_fit_together_are_refused(name, tmp_path, monkeypatch):
    folder = files(f"gpldan_jax.data.{name}")
    (tmp_path / "features.npz").write_bytes(folder.joinpath("features.npz").read_bytes())
    described = json.loads(folder.joinpath("items.json").read_text(encoding="utf-8"))
    n = len(described["items"])
    described["items"].pop()
    (tmp_path / "items.json").write_text(json.dumps(described), encoding="utf-8")
    monkeypatch.setattr(shipped, "files", lambda package: tmp_path)
    with pytest.raises(ValueError, match=rf"features\.npz: expected {n - 1} rows as in items\.json, found {n}"):
        shipped_arrays(name)
