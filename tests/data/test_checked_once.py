"""An array is checked once, when it comes in, and a file is opened once."""

import builtins
import io
import os

import numpy as np
import pytest

from gpldan_jax.data import PairedDataset, PairedSplit, load_dataset, paired_dataset, standardize
from tests.data.files.writers import npz_bytes, save

IMAGES = np.random.default_rng(0).normal(size=(40, 5))
TEXTS = np.random.default_rng(1).normal(size=(40, 3))
LABELS = np.arange(40) % 2


@pytest.fixture
def checked(monkeypatch):
    """The shapes of the matrices that were searched for NaN and Inf, in order."""
    shapes, isfinite = [], np.isfinite

    def count(values, *args, **kwargs):
        if np.ndim(values) == 2:
            shapes.append(np.shape(values))
        return isfinite(values, *args, **kwargs)

    monkeypatch.setattr(np, "isfinite", count)
    return shapes


@pytest.fixture
def opened(monkeypatch):
    """The names of the files that were opened, in order."""
    names, open_file = [], builtins.open

    def count(file, *args, **kwargs):
        if isinstance(file, str | os.PathLike):
            names.append(os.path.basename(file))
        return open_file(file, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", count)
    monkeypatch.setattr(io, "open", count)
    return names


@pytest.mark.parametrize("more", [{}, {"split": np.arange(40) % 3}, {"manifest": np.array("{}")}], ids=str)
def test_from_a_file_to_scaled_features(tmp_path, checked, opened, more):
    path = save(tmp_path, "own.npz", npz_bytes(image=IMAGES, text=TEXTS, label=LABELS, **more))
    opened.clear()
    raw = load_dataset("npz", path=path)
    assert opened == ["own.npz"]
    scaled, _ = standardize(raw, image=True, text=True)
    assert checked == [(40, 5), (40, 3)]
    assert opened == ["own.npz"]
    assert scaled.fingerprint() != raw.fingerprint()


def test_from_arrays_to_scaled_features(checked):
    parts = {"train": slice(0, 30), "validation": slice(30, 34), "test": slice(34, 40)}
    raw = paired_dataset("mine", **{name: (IMAGES[rows], TEXTS[rows], LABELS[rows]) for name, rows in parts.items()})
    standardize(raw, image=True, text=False)
    assert checked == [(30, 5), (30, 3), (4, 5), (4, 3), (6, 5), (6, 3)]


def test_from_splits_to_scaled_features(checked):
    split = PairedSplit(IMAGES, TEXTS, LABELS)
    standardize(PairedDataset("mine", split, split, split), image=True, text=True)
    assert checked == [(40, 5), (40, 3)]


def test_generated_features_are_not_checked(checked):
    standardize(load_dataset("cub", synthetic=True), image=True, text=True)
    assert checked == []
