"""Collections of a run and of own features: what they hold, and what cannot be built."""

import numpy as np
import pytest

from gpldan_jax import models
from gpldan_jax.config import dataset_config, with_values
from gpldan_jax.data import DataError
from gpldan_jax.data.emoji import load_emoji_arrays
from gpldan_jax.data.files.npy import read_features
from gpldan_jax.index import Index
from gpldan_jax.runs import session
from gpldan_jax.serving.building import build_from_features, build_from_run
from gpldan_jax.serving.collection import Collection
from gpldan_jax.serving.thumbnail_file import FILE
from gpldan_jax.studies.verification import DAMAGED, OK, verify
from tests.index import galleries

ROUNDING = 1e-6  # of the network, which rounds one input alone in another way than among others


@pytest.mark.slow
def test_a_collection_holds_the_pairs_of_the_run(built):
    emoji = load_emoji_arrays()
    for modality in ("image", "text"):
        index = Index.load(built / modality)
        assert index.modality == modality and sorted(index.ids.tolist()) == sorted(emoji.names)
        row = emoji.names.index("woman farmer")
        fields = index.entry("woman farmer").fields
        picture = fields.pop("picture", "")
        assert fields == {"group": "People & Body", "split": "test"} and bool(picture) == (modality == "image")
        own = getattr(emoji, modality)[row : row + 1]
        assert index.search(own, 1, modality=modality).distances[0, 0] < ROUNDING
        np.testing.assert_array_equal(index.search(index.entry("woman farmer").encoded, 1).distances, 0)


def test_splits_can_be_chosen(workdir, tmp_path, capsys):
    build_from_run(workdir, tmp_path / "c", ["test", "validation"])
    out = capsys.readouterr().out
    assert "470 images" in out and "470 texts" in out
    assert len(Index.load(tmp_path / "c/image")) == 470


def test_a_folder_without_a_finished_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no model\.safetensors: it is not the workdir of a finished run"):
        build_from_run(tmp_path, tmp_path / "c")


@pytest.mark.slow
def test_own_features_make_a_collection(tmp_path):
    models.save_model(tmp_path / "model.safetensors", galleries.model())
    np.save(tmp_path / "images.npy", galleries.features(20))
    (tmp_path / "ids.txt").write_text("\n".join(f"picture {i}" for i in range(20)) + "\n")
    (tmp_path / "texts.txt").write_text("\n".join(f"a text ä {i}" for i in range(20)), encoding="utf-8")

    def build(**files):
        model, features = tmp_path / "model.safetensors", tmp_path / "images.npy"
        build_from_features(model, features, "image", tmp_path / "mine", **files)
        return Index.load(tmp_path / "mine/image")

    described = {"ids": tmp_path / "ids.txt", "texts": tmp_path / "texts.txt"}
    assert build(**described).entry("picture 7").fields == {"text": "a text ä 7"}
    assert build().ids.tolist() == list(range(20))
    (tmp_path / "texts.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(DataError, match=r"texts\.txt must be UTF-8: "):
        build(**described)
    (tmp_path / "texts.txt").write_text("one")
    with pytest.raises(ValueError, match="field 'text' must be 20 strings, got 1 values"):
        build(**described)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.ones(3), r"expected real numbers \[rows, features\], found float64 \[3\]"),
        (np.array([["a"]]), r"found <U1 \[1, 1\]"),
        (None, "found an archive of several arrays"),
    ],
)
def test_features_that_are_no_matrix_are_refused(tmp_path, content, message):
    if content is None:
        np.savez(tmp_path / "features.npz", a=np.ones((2, 2)))
        (tmp_path / "features.npz").rename(tmp_path / "features.npy")
    else:
        np.save(tmp_path / "features.npy", content)
    with pytest.raises(DataError, match=message):
        read_features(tmp_path / "features.npy")


@pytest.mark.slow
def test_an_image_of_several_captions_is_in_the_collection_once(tmp_path):
    random = np.random.default_rng(0)
    rows = np.repeat(np.arange(30), 2)
    np.savez(
        tmp_path / "own.npz",
        image=random.standard_normal((30, 6))[rows],
        text=random.standard_normal((60, 4)),
        group=rows,
        split=rows % 3,
        label=np.where(rows % 5 == 0, "", "cat"),
    )
    values = {"dataset.path": str(tmp_path / "own.npz"), "train.epochs": 1, "train.batch_size": 8}
    values |= {"model.hidden": 8, "model.width": 8, "model.parts": 2}
    with pytest.warns(UserWarning, match="pairs without a label"):
        assert session.run(with_values(dataset_config("npz"), values), tmp_path / "run") == 0
    with pytest.warns(UserWarning, match="pairs without a label"):
        build_from_run(tmp_path / "run", tmp_path / "collection")
    images, texts = (Index.load(tmp_path / "collection" / of) for of in ("image", "text"))
    assert (len(images), len(texts)) == (30, 60)
    assert images.ids[:2].tolist() == ["train 0", "train 2"] and texts.ids[:2].tolist() == ["train 0", "train 1"]
    assert images.entry("train 0").fields["group"] == "" and images.entry("train 2").fields["group"] == "cat"


@pytest.mark.slow
def test_ids_beside_the_features_are_those_of_the_collection(tmp_path):
    random = np.random.default_rng(0)
    features = {"image": random.standard_normal((60, 6)), "text": random.standard_normal((60, 4))}
    (tmp_path / "own").mkdir()
    for name, values in (features | {"split": np.arange(60) % 3}).items():
        np.save(tmp_path / "own" / f"{name}.npy", values)
    values = {"dataset.path": str(tmp_path / "own"), "train.epochs": 1, "train.batch_size": 8}
    values |= {"model.hidden": 8, "model.width": 8, "model.parts": 2}
    assert session.run(with_values(dataset_config("npz"), values), tmp_path / "run") == 0

    def ids(**beside):
        for name, given in beside.items():
            np.save(tmp_path / "own" / f"{name}.npy", given)
        build_from_run(tmp_path / "run", tmp_path / "collection", ["train"])
        return Index.load(tmp_path / "collection" / "text").ids

    assert ids()[:2].tolist() == ["train 0", "train 1"]
    assert ids(id=np.array([f"{row}.jpg" for row in range(60)]))[:2].tolist() == ["0.jpg", "3.jpg"]
    large = np.arange(60, dtype=np.uint64) + 2**63
    assert ids(id=large).tolist() == large[::3].tolist()
    with pytest.warns(UserWarning, match=r"own: id is not used \(ids must be all different, 7 comes 60 times\); pairs"):
        assert ids(id=np.full(60, 7))[:2].tolist() == ["train 0", "train 1"]
    np.savez(tmp_path / "own.npz", **features, id=np.arange(60))
    values |= {"dataset.path": str(tmp_path / "own.npz")}
    assert session.run(with_values(dataset_config("npz"), values), tmp_path / "drawn") == 0
    build_from_run(tmp_path / "drawn", tmp_path / "other", ["test"])  # a split that was drawn
    rows = Index.load(tmp_path / "other" / "text").ids
    test = session.load(dict(with_values(dataset_config("npz"), values)["dataset"]))[0].file_rows[2]
    assert rows.tolist() == test.tolist()


def test_what_a_collection_of_a_run_lacks_is_said(workdir, tmp_path):
    out = tmp_path / "c"
    build_from_run(workdir, out, ["validation"])
    assert {checked.state for checked in verify(out)} == {OK}
    (out / FILE).rename(tmp_path / "pictures")
    with pytest.warns(UserWarning, match=f"{FILE} is missing, so the page shows no pictures"):
        Collection.load(out)
    (tmp_path / "pictures").rename(out / FILE)
    (out / "image" / "index.json").unlink()
    with pytest.raises(ValueError, match=r"image/index\.json is missing; build the collection again"):
        Collection.load(out)
    assert [checked.path for checked in verify(out) if checked.state == DAMAGED] == [out / "image" / "index.json"]
