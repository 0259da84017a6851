"""Ids, captions and image files of the pairs of a dataset follow its splits, and what does not fit is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from gpldan_jax.data import SHIPPED, DataError, describe, load_dataset
from gpldan_jax.data.descriptions import pack_captions
from gpldan_jax.data.paired import SPLITS

N = 20


def write(path, **more):
    random = np.random.default_rng(0)
    arrays = {"image": random.random((N, 3)), "text": random.random((N, 2)), "id": np.arange(N), **more}
    np.savez(path, **arrays)
    return load_dataset("npz", path=path), arrays


@pytest.mark.parametrize("given", [True, False], ids=["given splits", "drawn splits"])
def test_each_pair_has_its_own_description(tmp_path, given):
    captions = [f"caption {row} ä" for row in range(N)]
    more = {"split": np.arange(N) % 3} if given else {}
    files = np.array([f"folder/{row}.jpg" for row in range(N)])
    manifest = json.dumps({"images_folder": "../photos"})
    (tmp_path / "features").mkdir()
    path = tmp_path / "features" / "mine.npz"
    dataset, arrays = write(path, **pack_captions(captions), image_file=files, manifest=manifest, **more)
    assert dataset.title == "mine"
    for splits in (SPLITS, ["test"], ["test", "train"]):
        found = describe(dataset, path, splits)
        images = np.concatenate([getattr(dataset, name).images for name in splits])
        assert len(found.ids) == len(images)
        for row, id in enumerate(found.ids):
            np.testing.assert_array_equal(images[row], arrays["image"][id].astype(np.float32))
            assert (found.captions[row], found.files[row]) == (captions[id], f"folder/{id}.jpg")
        assert found.folder == tmp_path / "photos"
        with pytest.raises(FileNotFoundError, match="photos, is not there"):
            found.pictures([0])
        assert found.pictures([0], tmp_path) == [tmp_path / found.files[0]]
        assert found.pictures([0], ".") == [Path(found.files[0])]


def test_captions_of_a_users_own_file_are_strings(tmp_path):
    dataset, _ = write(
        tmp_path / "mine.npz", caption=np.array([f"text {row}" for row in range(N)]), split=np.arange(N) % 3
    )
    assert describe(dataset, tmp_path / "mine.npz", ["validation"]).captions == [
        f"text {row}" for row in range(1, N, 3)
    ]


def test_captions_lie_beside_npy_files_in_a_text_file(tmp_path):
    for name in ("image", "text"):
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(0).random((N, 3)))
    (tmp_path / "captions.txt").write_text("".join(f"{row}\n" for row in range(N)))
    dataset = load_dataset("npz", path=tmp_path)
    assert describe(dataset, tmp_path, ["train"]).captions == [str(row) for row in dataset.file_rows[0]]
    assert dataset.title == tmp_path.name


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"caption": np.array(["a"])}, r"\[caption\]: expected 20 strings, one for each pair, found 1"),
        ({"caption_utf8": np.zeros(3, np.uint8), "caption_ends": np.zeros(N, int)}, "expected ends that grow up to 3"),
        ({"caption_utf8": np.zeros(3, np.uint8), "caption_ends": np.zeros(2, int)}, "expected 20 whole numbers"),
        ({"image_file": np.array(["a", "b"])}, r"\[image_file\]: expected 20 strings"),
    ],
)
def test_descriptions_that_do_not_fit_are_refused(tmp_path, more, message):
    dataset, _ = write(tmp_path / "mine.npz", **more)
    with pytest.raises(DataError, match=message):
        describe(dataset, tmp_path / "mine.npz", SPLITS)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_data_bring_their_names_and_pictures(name):
    pytest.importorskip("PIL", reason="the pictures need Pillow")
    dataset = load_dataset(name)
    found = describe(dataset, None, ["test"])
    assert len(found.ids) == len(dataset.test) and found.ids[0] != found.ids[1]
    assert found.pictures([0, 1])[1].shape == (64, 64, 3)
