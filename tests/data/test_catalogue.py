"""The catalogue: exact sizes, where files are found, and what is said where they are missing."""

import json

import numpy as np
import pytest

from gpldan_jax.data import SHIPPED, MissingFilesError, data_directory, dataset_names, load_dataset, variants
from tests.data.files.writers import save
from tests.data.loading import SIZES, refused, sizes


def test_every_entry_is_tested():
    listed = {(name, entry.variant) for name in dataset_names() for entry in variants(name)}
    assert listed == {*SIZES, *((name, "shipped") for name in SHIPPED)}


@pytest.mark.slow
@pytest.mark.parametrize("key", SIZES, ids="-".join)
def test_synthetic_data_have_the_exact_sizes(key, monkeypatch, tmp_path):
    monkeypatch.setenv("GPLDAN_DATA_DIR", str(tmp_path / "none"))
    name, variant = key
    data = load_dataset(name, variant=variant, synthetic=True)
    assert sizes(data) == SIZES[key]
    assert data.synthetic and data.title.endswith(" (synthetic)")
    for split in (data.train, data.validation, data.test):
        if split.labels.ndim == 2:
            assert split.labels.any(axis=0).all() and set(split.labels.sum(axis=1)) == {1, 2}
        else:
            assert len(np.unique(split.labels)) == len(data.class_names)


@pytest.mark.parametrize("name, pairs, classes", [("emoji", 1870, 9), ("openclipart", 1532, 18)])
def test_a_dataset_is_shipped(name, pairs, classes):
    data = load_dataset(name)
    assert len(data.train) + len(data.validation) + len(data.test) == pairs
    assert (data.image_dim, len(data.class_names), data.title) == (1952, classes, name)
    synthetic = load_dataset(name, synthetic=True)
    assert sizes(synthetic) == sizes(data)
    assert data.features["image"] == {"extractor": "hog_hsv"} and synthetic.features is None
    assert data.features["text"]["extractor"] == "bag_of_words"
    assert len(data.features["text"]["vocabulary"]) == data.text_dim
    assert json.loads(json.dumps(data.features)) == data.features
    assert "expected no path" in refused(name, path="somewhere")


def test_unknown_names_get_the_near_one():
    assert "did you mean 'wikipedia'?" in refused("wikipedai")
    assert "did you mean 'raw'?" in refused("wikipedia", variant="rwa")


def test_missing_files_are_described(monkeypatch, tmp_path):
    monkeypatch.setenv("GPLDAN_DATA_DIR", str(tmp_path))
    with pytest.raises(MissingFilesError) as caught:
        load_dataset("xmedia")
    text = str(caught.value)
    for part in (
        "xmedia (alexnet_bow)",
        "XMediaFeatures.mat",
        str(tmp_path),
        "I_tr_CNN [4000, 4096]",
        "I_te_CNN [1000, 4096]",
        "PKU-ICST-MIPL",
        "GPLDAN_DATA_DIR",
        "path=FILE_OR_FOLDER",
    ):
        assert part in text
    assert "--" not in text
    assert "gpldan_jax.extraction makes such files" in refused("pascal")
    assert "does not exist" in refused("cub", path=tmp_path / "none.mat")
    assert "X{1} [600, 1024]" in refused("cub") and "must hold" not in refused("cub", path=tmp_path / "none.mat")
    save(tmp_path, "raw_features.mat", b"x")
    text = refused("wikipedia", variant="raw", path=tmp_path / "raw_features.mat")
    assert "trainset_txt_img_cat.list, testset_txt_img_cat.list not beside" in text
    assert "no path is given" in refused("npz") and "GPLDAN_DATA_DIR" not in refused("npz")
    monkeypatch.delenv("GPLDAN_DATA_DIR")
    assert "no data directory is set" in refused("cub")


def test_the_data_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("GPLDAN_DATA_DIR", str(tmp_path))
    assert data_directory() == tmp_path
