"""The forms on disk: what each must hold, what it becomes, and the real files."""

import json
import warnings

import numpy as np
import pytest

from gpldan_jax.data import MissingFilesError, load_dataset
from gpldan_jax.data.layouts import SIX_FILES
from gpldan_jax.data.stored import Shape
from tests.data.files.mat_objects import MatObject, categorical, strings, table, write_objects5, write_objects73
from tests.data.files.writers import IMAGES, mat5_bytes, npz_bytes, save, write_mat73
from tests.data.loading import SIZES, refused, sizes


def own_arrays(count=20, **changes):
    random = np.random.default_rng(0)
    arrays = {
        "image": random.standard_normal((count, 5)),
        "text": random.standard_normal((count, 3)),
        "label": np.arange(count) % 2 + 1,
    } | changes
    return {key: value for key, value in arrays.items() if value is not None}


def write_own(folder, suffix, arrays):
    path = folder / f"own{suffix}"
    if suffix == ".npz":
        return save(folder, path.name, npz_bytes(**arrays))
    if suffix == ".mat":
        return save(folder, path.name, mat5_bytes(arrays))
    if suffix == ".v73.mat":
        return write_mat73(path, arrays | {"label": np.atleast_2d(arrays["label"])})
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(path, "w") as file:
        for key, value in arrays.items():
            file[key] = value.astype(object) if np.asarray(value).dtype.kind == "U" else value
    return path


def test_own_features_are_the_same_from_every_format(tmp_path):
    found = [
        load_dataset("npz", path=write_own(tmp_path, suffix, own_arrays()))
        for suffix in (".npz", ".mat", ".v73.mat", ".h5")
    ]
    assert len({data.fingerprint() for data in found}) == 1
    assert sizes(found[0]) == (16, 2, 2, 5, 3, 2)
    assert found[0].train.labels.sum() == 8


def test_splits_may_be_names(tmp_path):
    numbers = np.arange(20) % 3
    expected = load_dataset("npz", path=write_own(tmp_path, ".npz", own_arrays(split=numbers)))
    names = np.array(["Train", "dev", "testing"])[numbers]
    assert load_dataset("npz", path=write_own(tmp_path, ".npz", own_arrays(split=names))).fingerprint() == (
        expected.fingerprint()
    )


def test_own_split_and_no_labels(tmp_path):
    split = np.array([0, 1, 2, 0] * 5)
    arrays = own_arrays(split=split, label=None)
    data = load_dataset("npz", path=write_own(tmp_path, ".npz", arrays))
    assert data.class_names is None and data.train.labels is None
    np.testing.assert_array_equal(data.test.images, arrays["image"][split == 2].astype(np.float32))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"text": np.ones((19, 3))}, "[text]: expected as many rows as image has, 20, found 19"),
        ({"label": np.ones(19)}, "[label]: expected 20 labels"),
        ({"image": np.full((20, 5), np.nan)}, "[image]: expected finite float32 values"),
        ({"image": np.full((20, 5), "a")}, "[image]: expected real numbers, found <U1"),
        ({"image": None}, "no key 'image'"),
        ({"split": np.full(20, 3)}, "[split]: expected 0 (train), 1 (validation) or 2 (test)"),
        ({"split": np.full(20, "a")}, "[split]: expected train, validation or test, found 'a'"),
        ({"split": np.ones(20)}, "expected training pairs, found 0"),
        ({"label": np.full((20, 3), 2)}, "[label]: labels of shape [20, 3] must be 0 and 1, a column for each class"),
        ({"class_names": np.array(["a"])}, "labels: class names belong to labels in 0..0"),
        ({"class_names": np.array(["a", "a"])}, "[class_names]: expected different strings"),
        ({"class_names": np.arange(2)}, "[class_names]: expected different strings"),
        ({"label": np.r_[np.ones(10), [-1] * 10], "split": np.repeat([0, 2], 10)}, "test: no pair has a label"),
    ],
)
def test_own_features_that_are_refused(tmp_path, changes, expected):
    path = write_own(tmp_path, ".npz", own_arrays(**changes))
    assert expected in refused("npz", path=path)


@pytest.mark.parametrize(
    "name, meant", [("labels", "label"), ("Label", "label"), ("y", "label"), ("splits", "split"), ("Groups", "group")]
)
@pytest.mark.parametrize("suffix", [".npz", ".mat", ".h5"])
def test_a_near_miss_of_a_key_is_an_error(tmp_path, suffix, name, meant):
    path = write_own(tmp_path, suffix, own_arrays(label=None) | {name: np.arange(20) % 3})
    assert f"no key is called {name!r}: did you mean {meant!r}?" in refused("npz", path=path)


def test_what_is_not_used_is_named(tmp_path):
    path = write_own(tmp_path, ".npz", own_arrays(labels=np.arange(20), extra=np.arange(3), id=np.arange(20)))
    with pytest.warns(UserWarning, match=r"own\.npz: not used: labels, extra$"):
        data = load_dataset("npz", path=path)
    assert len(data.class_names) == 2  # of `label`, which is there


def write_objects(folder, version, **variables):
    if version == "7.3":
        pytest.importorskip("h5py", reason="h5py is not installed")
        return write_objects73(folder / "own.mat", own_arrays(label=None) | variables)
    return write_objects5(folder / "own.mat", own_arrays(label=None) | variables)


LABELS = ["cat", "dog"] * 10


@pytest.mark.parametrize("version", ["5", "7.3"])
@pytest.mark.parametrize(
    "label",
    [strings(LABELS), categorical([1, 2] * 10, ["cat", "dog"]), LABELS, table(name=strings(LABELS))],
    ids=["string", "categorical", "cellstr", "table"],
)
def test_text_labels_of_matlab_are_the_classes(tmp_path, version, label):
    data = load_dataset("npz", path=write_objects(tmp_path, version, label=label))
    assert data.class_names == ("cat", "dog")
    same = load_dataset("npz", path=write_own(tmp_path, ".npz", own_arrays(label=np.array(LABELS))))
    assert data.fingerprint() == same.fingerprint()


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_a_label_that_matlab_keeps_in_another_class_is_refused_by_name(tmp_path, version):
    when = MatObject("datetime", {"data": np.arange(20.0)})
    text = refused("npz", path=write_objects(tmp_path, version, label=when))
    reason = "label is a MATLAB datetime, which is not read; in MATLAB, save it as text: label = cellstr(label)"
    assert text.endswith(f"own.mat[label]: {reason}")
    two = table(a=np.arange(20.0)[:, None], b=strings(LABELS))
    text = refused("npz", path=write_objects(tmp_path, version, label=two))
    assert "label is a MATLAB table, and no array (its columns: a, b)" in text
    text = refused("npz", path=write_objects(tmp_path, version, label={"a": np.arange(20.0)}))
    assert "[label]: expected an array, found a" in text
    text = refused("npz", path=write_objects(tmp_path, version, labels=strings(LABELS)))
    assert "no key is called 'labels': did you mean 'label'?" in text


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_objects_that_are_not_used_are_named_with_their_class(tmp_path, version):
    path = write_objects(
        tmp_path,
        version,
        label=np.arange(20.0)[:, None] % 2,
        when=MatObject("datetime", {"data": np.arange(3.0)}),
        names=strings(["a"]),
        more=table(a=IMAGES, b=IMAGES),
        plain=np.arange(3.0)[None],
    )
    with pytest.warns(UserWarning, match=r"own\.mat: not used: ") as caught:
        data = load_dataset("npz", path=path)
    assert len(data.class_names) == 2
    listed = str(caught[0].message).partition("not used: ")[2].split(", ")
    expected = ["when (a MATLAB datetime)", "names (a MATLAB string)", "more (a MATLAB table)", "plain"]
    assert sorted(listed) == sorted(expected)


def write_folder(folder, **arrays):
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    return folder


def test_a_folder_of_npy_files_is_the_same_as_one_file(tmp_path):
    arrays = own_arrays(split=np.arange(20) % 3, group=np.array([f"g{row % 3}" for row in range(20)]))
    one_file = load_dataset("npz", path=write_own(tmp_path, ".npz", arrays))
    folder = tmp_path / "folder"
    folder.mkdir()
    write_folder(folder, img_emb=arrays["image"], text_emb=arrays["text"], labels=arrays["label"], ids=np.arange(20))
    for name in ("split", "group"):
        (folder / f"{name}.txt").write_text("".join(f"{value}\n" for value in arrays[name]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = load_dataset("npz", path=folder)
    assert found.fingerprint() == one_file.fingerprint() and found.class_names == one_file.class_names
    # Without a split one is drawn, the same one.
    (folder / "split.txt").unlink()
    (folder / "group.txt").unlink()
    drawn = load_dataset("npz", path=write_own(tmp_path, ".npz", own_arrays()))
    assert load_dataset("npz", path=folder).fingerprint() == drawn.fingerprint()


def test_other_files_of_a_folder_are_named(tmp_path):
    arrays = own_arrays()
    write_folder(tmp_path, image=arrays["image"], text=arrays["text"], label=arrays["label"], extra=np.arange(3))
    for name in ("labels.csv", "a{b.md", ".hidden"):
        (tmp_path / name).write_text("1\n")
    (tmp_path / "metadata").mkdir()
    with pytest.warns(UserWarning, match=r"not used: \.hidden, a\{b\.md, extra\.npy, labels\.csv, metadata$"):
        load_dataset("npz", path=tmp_path)


@pytest.mark.parametrize("name, meant", [("labels.csv", "label"), ("Label.npy", "label"), ("y.npy", "label")])
def test_a_near_miss_of_a_file_is_an_error(tmp_path, name, meant):
    arrays = own_arrays()
    write_folder(tmp_path, image=arrays["image"], text=arrays["text"])
    np.save(tmp_path / "label", arrays["label"])
    (tmp_path / "label.npy").rename(tmp_path / name)
    text = refused("npz", path=tmp_path)
    assert text == f"{tmp_path}: {name!r} is not read: did you mean '{meant}.npy'? Rename it, or leave it out"


def test_folders_that_are_refused(tmp_path):
    arrays = own_arrays()
    write_folder(tmp_path, image=arrays["image"], text=arrays["text"][:19])
    assert "[text]: expected as many rows as image has, 20, found 19" in refused("npz", path=tmp_path)
    write_folder(tmp_path, text=arrays["text"], label=np.arange(19))
    assert "[label]: expected 20 labels" in refused("npz", path=tmp_path)
    (tmp_path / "text.npy").unlink()
    assert "no file for 'text': expected text.npy or texts.npy or text_emb.npy" in refused("npz", path=tmp_path)
    (tmp_path / "image.npy").unlink()
    with pytest.raises(
        MissingFilesError, match=r"img_emb_0\.npy, img_emb_1\.npy, \.\.\.; text: text\.npy or texts\.npy"
    ):
        load_dataset("npz", path=tmp_path)


def test_groups_stay_together_and_belong_to_the_data(tmp_path):
    groups = np.array([f"{row // 4}.jpg" for row in range(40)])
    grouped = load_dataset("npz", path=write_own(tmp_path, ".npz", own_arrays(40, group=groups)))
    splits = [grouped.train, grouped.validation, grouped.test]
    assert [len(split) for split in splits] == [32, 4, 4]
    found = [set(split.groups.tolist()) for split in splits]
    assert sum(map(len, found)) == len(set.union(*found)) == 10
    alone = load_dataset("npz", path=write_own(tmp_path, ".npz", own_arrays(40)))
    assert alone.train.groups is None and alone.fingerprint() != grouped.fingerprint()
    path = write_own(tmp_path, ".npz", own_arrays(40, group=groups, split=np.arange(40) % 3))
    assert "train and validation share 10 groups, such as 0.jpg, 1.jpg, 2.jpg and 7 more" in refused("npz", path=path)


def several_classes(count):
    """Rows of bools: of three classes, some rows with two and some with none."""
    rows = np.arange(count)
    return np.stack([rows % 2 == 0, rows % 3 == 0, rows % 5 == 0], axis=1)


def test_pairs_with_several_classes_or_none(tmp_path):
    several = several_classes(60)
    arrays = own_arrays(60, label=several.astype(float), class_names=np.array(["animal", "pet", "red"]))
    with pytest.warns(UserWarning, match=r"pairs without a label \(-1, empty or NaN\): .* in train") as caught:
        found = [load_dataset("npz", path=write_own(tmp_path, suffix, arrays)) for suffix in (".npz", ".h5")]
    assert len({data.fingerprint() for data in found}) == 1
    splits = [found[0].train, found[0].validation, found[0].test]
    assert [len(split) for split in splits] == [48, 6, 6] and found[0].class_names == ("animal", "pet", "red")
    assert sum(int((~split.labels.any(axis=1)).sum()) for split in splits) == int((~several.any(axis=1)).sum()) == 16
    assert "figures by labels leave them out" in str(caught[0].message)
    # A column of an image finds its row of labels again.
    rows = [np.flatnonzero((arrays["image"].astype(np.float32) == image).all(axis=1))[0] for image in splits[2].images]
    np.testing.assert_array_equal(splits[2].labels, several[rows])
    # Each class is in proportion, as far as six pairs can be.
    np.testing.assert_allclose(splits[2].labels.sum(axis=0), several.sum(axis=0) / 10, atol=1)


@pytest.mark.parametrize("missing", [-1, np.nan, ""])
def test_pairs_without_a_class_are_counted_and_have_none(tmp_path, missing):
    label = np.where(np.arange(20) % 5 == 0, missing, np.arange(20) % 2 + 1)
    if missing == "":
        label = np.where(np.arange(20) % 5 == 0, "", "cat")
    arrays = own_arrays(label=label, split=np.arange(20) % 3)
    with pytest.warns(UserWarning, match="2 of 7 in train, 1 of 7 in validation, 1 of 6 in test"):
        data = load_dataset("npz", path=write_own(tmp_path, ".npz", arrays))
    assert data.class_names == (("cat",) if missing == "" else ("1", "2"))
    assert (data.train.labels == -1).sum() == 2


def test_a_split_that_cuts_groups_may_be_allowed(tmp_path):
    arrays = own_arrays(group=np.arange(20) // 2, split=np.arange(20) % 3)
    path = write_own(tmp_path, ".npz", arrays)
    assert "cut_groups=True, the setting dataset.cut_groups, allows others" in refused("npz", path=path)
    assert len(load_dataset("npz", path=path, cut_groups=True).test) == 6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "variant", "file", "keys", "rows"),
    [
        ("mirflickr", "multilabel", "FLICKR-25K.mat", ("images", "YAll", "LAll"), 20015),
        ("nuswide", "multilabel", "NUS-WIDE-TC21.mat", ("image", "text", "label"), 195834),
    ],
)
def test_files_of_the_hashing_literature(tmp_path, name, variant, file, keys, rows):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    train, validation, test, image_dim, text_dim, classes = SIZES[name, variant]
    used = train + validation + test
    label = np.zeros((rows, classes), np.uint8)
    label[np.arange(rows), np.arange(rows) % classes] = label[np.arange(rows), np.arange(rows) % 7] = 1
    with h5py.File(tmp_path / file, "w") as stored:  # chunks that were never written take no room
        image = stored.create_dataset(keys[0], (rows, image_dim), np.uint8, chunks=(500, image_dim), fillvalue=1)
        image[0, 0] = 7
        image[test, 0] = 8
        image[used - 1, 0] = 9
        stored.create_dataset(keys[1], (rows, text_dim), np.uint8, chunks=(500, text_dim), fillvalue=1)
        stored[keys[2]] = label
    with pytest.warns(UserWarning, match=f"not used: the last {rows - used:,} of {rows:,} pairs"):
        data = load_dataset(name, variant=variant, path=tmp_path / file)
    assert sizes(data) == SIZES[name, variant]
    assert (data.test.images[0, 0], data.train.images[0, 0], data.validation.images[-1, 0]) == (7, 8, 9)
    np.testing.assert_array_equal(data.test.labels, label[:test].astype(bool))
    with h5py.File(tmp_path / file, "a") as stored:
        del stored[keys[0]]
        stored.create_dataset(keys[0], (rows, 3, 2, 2), np.uint8, chunks=(500, 3, 2, 2), fillvalue=1)
    assert "pixels are no features" in refused(name, variant=variant, path=tmp_path / file)


def pascal(**changes):
    arrays = {
        "image": np.ones((1000, 4096), np.uint8),
        "text": np.ones((1000, 1024), np.uint8),
        "label": np.arange(1000) % 20 + 1,
    }
    return npz_bytes(compressed=True, **(arrays | changes))


def test_generic_arrays_of_a_named_dataset(tmp_path):
    (tmp_path / "pascal").mkdir()
    order = np.roll(np.repeat([0, 1, 2], [800, 100, 100]), 7)
    save(tmp_path / "pascal", "pascal.npz", pascal(split=order))
    assert sizes(load_dataset("pascal", path=tmp_path)) == SIZES["pascal", "vgg19_bert"]
    path = save(tmp_path, "any.npz", pascal())
    assert sizes(load_dataset("pascal", path=path)) == SIZES["pascal", "vgg19_bert"]
    for changes, expected in (
        ({"text": np.ones((1000, 300))}, "[text]: expected 1024 features, found 300"),
        ({"image": np.ones((4096, 1000))}, "(transposed?)"),
        ({"split": np.zeros(1000)}, "expected (800, 100, 100) rows, found (1000, 0, 0)"),
        ({"label": np.ones(1000)}, "expected 20 classes, found 1"),
    ):
        assert expected in refused("pascal", path=save(tmp_path, "bad.npz", pascal(**changes)))


def test_the_six_files_of_the_dscmr_code(tmp_path):
    values = {}
    for part, count in (("train", 800), ("test", 200)):
        values[f"{part}_img"] = np.ones((count, 4096), np.uint8)
        values[f"{part}_txt"] = np.ones((count, 1024), np.uint8)
        values[f"{part}_img_lab"] = (np.arange(count) % 20)[:, None]
    values["test_img"][100:] = 2
    for name, value in values.items():
        save(tmp_path, f"{name}.mat", mat5_bytes({name: value}, compressed=True))
    data = load_dataset("pascal", path=tmp_path)
    assert sizes(data) == SIZES["pascal", "vgg19_bert"]
    assert (data.validation.images == 1).all() and (data.test.images == 2).all()
    named = load_dataset("pascal", path=tmp_path / "train_img.mat")
    assert named.fingerprint() == data.fingerprint()
    save(tmp_path, "test_img.mat", mat5_bytes({"test_img": values["test_img"][:100]}))
    assert "[test_img]: expected 200 pairs, found 100" in refused("pascal", path=tmp_path)


def test_held_out_files_are_kept_as_the_training_files_are(tmp_path):
    """Alone, the held-out images would not need float64: they are all the same."""
    rng = np.random.default_rng(0)
    arrays = {"train_img": 1.7e9 + rng.normal(size=(20, 3)), "test_img": np.full((4, 3), 1.7e9 + 0.3)}
    arrays |= {"train_txt": rng.normal(size=(20, 2)), "test_txt": rng.normal(size=(4, 2))}
    arrays |= {"train_img_lab": np.arange(20)[:, None] % 2, "test_img_lab": np.arange(4)[:, None] % 2}
    files = []
    for name, values in arrays.items():
        files.append(save(tmp_path, f"{name}.mat", mat5_bytes({name: values})))
    splits = SIX_FILES.read(files, Shape((20, 2, 2), image=3, text=2, classes=2)).splits
    assert [part.images.dtype for part in splits] == [np.float64] * 3 and splits[0].texts.dtype == np.float32
    assert (splits[1].images == 1.7e9 + 0.3).all()


def xmedia(**changes):
    values = {}
    for part, count in (("tr", 4000), ("te", 1000)):
        values[f"I_{part}_CNN"] = np.zeros((count, 4096), np.uint8)
        values[f"T_{part}_BOW"] = np.zeros((count, 3000), np.uint8)
        # One row of 1-based classes, and one column: both are in use.
        values[f"{part}ImgCat"] = (np.arange(count) % 20 + 1)[None, :]
        values[f"{part}TxtCat"] = (np.arange(count) % 20 + 1.0)[:, None]
    values["I_te_CNN"][300:] = 1
    return mat5_bytes(values | changes, compressed=True)


@pytest.mark.slow
def test_xmedia(tmp_path):
    path = save(tmp_path, "XMediaFeatures.mat", xmedia())
    data = load_dataset("xmedia", path=path)
    assert sizes(data) == SIZES["xmedia", "alexnet_bow"]
    assert not data.validation.images.any() and data.test.images.all()
    assert data.class_names[:2] == ("1", "2")


def test_xmedia_pairs_of_two_classes_are_refused(tmp_path):
    classes = np.arange(1000) % 20 + 1
    classes[[3, 8]] = 20
    path = save(tmp_path, "XMediaFeatures.mat", xmedia(teTxtCat=classes))
    expected = "[teImgCat]: expected the class of teTxtCat for every pair, found another in rows 3"
    assert expected in refused("xmedia", path=path)


def test_real_wikipedia(real_data):
    strong = load_dataset("wikipedia", path=real_data)
    raw = load_dataset("wikipedia", variant="raw", path=real_data / "wikipedia")
    assert sizes(strong) == SIZES["wikipedia", "cnn128_text100"]
    assert sizes(raw) == SIZES["wikipedia", "raw"]
    for name in ("train", "validation", "test"):
        expected = getattr(raw, name).labels
        np.testing.assert_array_equal(getattr(strong, name).labels, expected)
        assert len(np.unique(expected)) == 10
    # Counted from the third column of the two lists.
    total = sum(np.bincount(getattr(raw, name).labels) for name in ("train", "validation", "test"))
    assert total.tolist() == [172, 360, 340, 333, 267, 236, 237, 185, 285, 451]


def test_real_wikipedia_lists_must_fit(real_data, tmp_path):
    for source in (real_data / "wikipedia").iterdir():
        if source.suffix == ".list" or source.name == "raw_features.mat":
            (tmp_path / source.name).symlink_to(source)
    short = tmp_path / "testset_txt_img_cat.list"
    short.unlink()
    short.write_text("t\ti\t1\n")
    text = refused("wikipedia", variant="raw", path=tmp_path)
    assert text == f"{short}: expected 693 lines, found 1"


def test_real_cub(real_data):
    data = load_dataset("cub", path=real_data)
    assert sizes(data) == SIZES["cub", "googlenet_doc2vec"]
    for split, count in ((data.train, 42), (data.validation, 6), (data.test, 12)):
        assert (np.bincount(split.labels) == count).all()
    assert load_dataset("cub", path=real_data, seed=1).fingerprint() == data.fingerprint()


def test_real_files_as_scipy_reads_them(real_data):
    scipy_io = pytest.importorskip("scipy.io")
    path = real_data / "wikipedia" / "wiki_cnn128_text100.mat"
    stored = scipy_io.loadmat(path)["data"][0, 0]
    data = load_dataset("wikipedia", path=path)
    images = np.concatenate([data.train.images, data.validation.images, data.test.images])
    np.testing.assert_array_equal(images, stored["X1"].T.astype(np.float32))
    labels = np.concatenate([data.train.labels, data.validation.labels, data.test.labels])
    np.testing.assert_array_equal(labels, np.asarray(stored["Y"].toarray()).argmax(axis=0))


def test_what_made_own_features_comes_with_them(tmp_path):
    made = {"image": {"extractor": "hog_hsv"}, "text": {"extractor": "bag_of_words", "vocabulary": ["red"]}}
    manifest = made | {"pairs": 20, "skipped": []}
    path = write_own(tmp_path, ".npz", own_arrays(manifest=np.array(json.dumps(manifest))))
    assert load_dataset("npz", path=path).features == made
    assert load_dataset("npz", path=path, synthetic=True).features is None
    for other in (
        "no json",
        "[]",
        '{"image": {}, "text": {}}',
        '{"image": 3, "text": 4}',
        '{"image": {"extractor": 1}}',
    ):
        path = write_own(tmp_path, ".npz", own_arrays(manifest=np.array(other)))
        assert load_dataset("npz", path=path).features is None
    path = write_own(tmp_path, ".npz", own_arrays(manifest=np.ones(3)))
    assert load_dataset("npz", path=path).features is None


def test_an_image_may_be_stored_once(tmp_path):
    rows = np.repeat(np.arange(10), 2)
    arrays = own_arrays(20, group=rows, split=rows % 3)
    arrays["image"] = arrays["image"][rows]
    expected = load_dataset("npz", path=write_own(tmp_path, ".npz", arrays))
    once = arrays | {"image": arrays["image"][::2], "image_of": rows}
    assert load_dataset("npz", path=write_own(tmp_path, ".npz", once)).fingerprint() == expected.fingerprint()
    for image_of, message in (
        (rows + 1, "[image_of]: expected rows of image, 0 to 9, found 10 in rows 18, 19"),
        (rows * 0.5, "[image_of]: expected whole numbers [rows], found float64"),
        (rows[:19], "[text]: expected as many rows as image has, 19, found 20"),
    ):
        assert message in refused("npz", path=write_own(tmp_path, ".npz", once | {"image_of": image_of}))
