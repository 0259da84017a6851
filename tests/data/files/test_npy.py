"""Folders of .npy files: the names, parts, text files, and what is refused."""

import numpy as np
import pytest

from gpldan_jax import _checksums
from gpldan_jax.data import DataError, available_keys, read_arrays
from gpldan_jax.data.files.npy import is_npy_folder, read_features
from gpldan_jax.data.files.reading import map_arrays
from tests.data.files.refusals import message
from tests.data.files.test_npz import Trap
from tests.data.files.writers import IMAGES, TEXTS, npy_header


def put(folder, **arrays):
    folder.mkdir(exist_ok=True)
    for name, values in arrays.items():
        path = folder / f"{name.replace('__', '/')}.npy"
        path.parent.mkdir(exist_ok=True)
        np.save(path, values)
    return folder


@pytest.mark.parametrize("image", ["image", "images", "img_emb", "img_emb_0", "image_0", "img_emb__img_emb_0"])
@pytest.mark.parametrize("text", ["text", "texts", "text_emb", "text_emb_00", "text_emb__text_emb_0"])
def test_the_names_of_the_features(tmp_path, image, text):
    path = put(tmp_path, **{image: np.asfortranarray(IMAGES), text: TEXTS.astype(">f4")})
    arrays = read_arrays(path, ["image", "text"])
    np.testing.assert_array_equal(arrays["image"], IMAGES)
    np.testing.assert_array_equal(arrays["text"], TEXTS)
    assert arrays["text"].dtype == np.float32
    assert available_keys(path) == ("image", "text")


def test_single_files_are_mapped_and_not_charged(tmp_path):
    path = put(tmp_path, image=IMAGES, text=TEXTS)
    found = read_arrays(path, ["image"], max_bytes=1)["image"]
    assert isinstance(found.base, np.memmap) and not found.flags.writeable
    np.testing.assert_array_equal(found, IMAGES)


def test_parts_are_joined_in_the_order_of_their_numbers(tmp_path):
    parts = {f"img_emb__img_emb_{number}": np.full((2, 3), number) for number in (10, 2, 0, 1, 3, 4, 5, 6, 7, 8, 9)}
    path = put(tmp_path, **parts, text=TEXTS)
    assert read_arrays(path, ["image"])["image"][:, 0].tolist() == np.repeat(np.arange(11), 2).tolist()
    assert "[image]: expands to" in message(read_arrays, path, ["image"], max_bytes=100)
    (tmp_path / "img_emb" / "img_emb_3.npy").unlink()
    assert message(read_arrays, path, ["image"]).endswith(
        "no img_emb_3.npy, but img_emb_10.npy; parts are numbered from 0"
    )
    put(tmp_path, img_emb__img_emb_3=np.ones((2, 4)))
    assert "the parts of 'image' must have equally many columns, found [2, 3]" in message(read_arrays, path, ["image"])
    put(tmp_path, img_emb__img_emb_03=np.ones((2, 3)))
    assert "img_emb_03.npy and img_emb_3.npy have the same number" in message(read_arrays, path, ["image"])


def test_the_first_part_is_needed(tmp_path):
    path = put(tmp_path, img_emb_1=IMAGES, text=TEXTS)
    assert "no img_emb_0.npy, but img_emb_1.npy" in message(read_arrays, path, ["image"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat\ndog\n", ["cat", "dog"]),
        ("cat\r\n\r\nein Hund", ["cat", "", "ein Hund"]),
        ("\ufeff3\n-1\n0\n", [3, -1, 0]),
        ("007\n7\n", ["007", "7"]),
        ("1.5\n2\n", ["1.5", "2"]),
        ("a\u2028b\nc\n", ["a\u2028b", "c"]),
        ("", []),
    ],
)
def test_text_files_have_an_item_in_each_line(tmp_path, text, expected):
    (tmp_path / "labels.txt").write_bytes(text.encode())
    assert read_arrays(put(tmp_path, image=IMAGES, text=TEXTS), ["label"])["label"].tolist() == expected


def test_text_that_is_refused(tmp_path):
    path = put(tmp_path, image=IMAGES, text=TEXTS)
    (path / "label.txt").write_bytes(b"caf\xe9\n")
    assert "label.txt: expected UTF-8" in message(read_arrays, path, ["label"])
    (path / "label.txt").write_text("a\n" * 100)
    assert "label.txt: expands to 200 bytes" in message(read_arrays, path, ["label"], max_bytes=100)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["image", "images"], "image.npy and images.npy are both 'image'; leave one of them"),
        (["img_emb", "img_emb_0"], "img_emb.npy and img_emb_0.npy are both 'image'; leave one of them"),
        (["img_emb_0", "img_emb__img_emb_0"], "img_emb/img_emb_0.npy and img_emb_0.npy are both 'image'"),
        (["image", "label", "labels"], "label.npy and labels.npy are both 'label'; leave one of them"),
    ],
)
def test_two_files_of_one_key_are_an_error(tmp_path, names, expected):
    path = put(tmp_path, text=TEXTS, **dict.fromkeys(names, IMAGES))
    assert message(read_arrays, path, ["text"]).startswith(f"{path}: {expected}")


def test_a_missing_file_is_named_with_all_its_names(tmp_path):
    path = put(tmp_path, image=IMAGES, notes=TEXTS)
    expected = (
        "no file for 'text': expected text.npy or texts.npy or text_emb.npy or the parts text_emb_0.npy, "
        "text_emb_1.npy, ...; the folder has image, notes.npy"
    )
    assert message(read_arrays, path, ["image", "text"]) == f"{path}: {expected}"
    assert "no key 'imge' (did you mean 'image'?)" in message(read_arrays, path, ["imge"])


def test_other_folders_are_none(tmp_path):
    assert not is_npy_folder(tmp_path) and not is_npy_folder(put(tmp_path / "a", label=IMAGES))
    (tmp_path / "image.txt").write_text("a\n")
    (tmp_path / "images").mkdir()
    assert not is_npy_folder(tmp_path)
    assert message(read_arrays, tmp_path, ["image"]).endswith("expected a file, found a directory")


def test_pickles_are_not_executed(tmp_path):
    objects = np.empty(1, object)
    objects[0] = Trap(tmp_path / "sprung")
    path = put(tmp_path / "a", image=objects, text=TEXTS)
    assert "image.npy: expected numbers, found pickled objects" in message(read_arrays, path, ["image"])
    objects.dump(path / "image.npy")
    assert "unreadable or damaged" in message(read_arrays, path, ["image"])
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("shape", [(5, 3), (3, 3), (1 << 40, 1 << 20), (0, 1 << 70), (-1, 4), (3,) * 70])
def test_shapes_that_the_file_contradicts(tmp_path, shape):
    path = put(tmp_path, image=IMAGES, text=TEXTS)
    (path / "image.npy").write_bytes(npy_header(shape) + IMAGES.tobytes())
    assert message(read_arrays, path, ["image"]).startswith(str(path))
    (path / "image.npy").write_bytes(npy_header((4, 3))[:50])
    assert "unreadable or damaged" in message(read_arrays, path, ["image"])


def test_files_with_checksums_are_compared_before_they_are_read(tmp_path):
    path = put(tmp_path / "made", image=IMAGES, text=TEXTS, label=np.arange(len(IMAGES)))
    _checksums.write_folder(path, {})
    assert read_arrays(path, ["image"])["image"].shape == IMAGES.shape
    put(path, text=TEXTS + 1)
    for read in (read_arrays, map_arrays):
        assert read(path, ["image"])  # each file for itself
        assert "text.npy is damaged: its SHA-256 differs; extract the features again" in message(read, path, ["text"])
    assert map_arrays(path, ["text"], check=False)
    with pytest.raises(DataError, match=r"text\.npy is damaged"):
        read_features(path / "text.npy")
    (path / "label.npy").unlink()
    assert "label.npy is missing" in message(read_arrays, path, ["image"])
    (path / "checksums.json").unlink()  # of a user's own files nothing is known
    np.testing.assert_array_equal(read_arrays(path, ["text"])["text"], TEXTS + 1)


def test_strings_that_are_no_text_are_refused(tmp_path):
    path = put(tmp_path, image=IMAGES, id=np.array(["a", "b"]))
    content = bytearray((path / "id.npy").read_bytes())
    content[-1] = 0x7F
    (path / "id.npy").write_bytes(content)
    assert "id]: damaged; expected text, found the number" in message(read_arrays, path, ["id"])
