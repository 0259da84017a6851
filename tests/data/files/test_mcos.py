"""MATLAB's objects in both versions: strings, categoricals and tables are read, other classes are named."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpldan_jax.data import DataError, available_keys, read_arrays
from gpldan_jax.data.files.mcos import is_reference
from tests.data.files.mat_objects import MARK, MatObject, categorical, strings, table, write_objects5, write_objects73
from tests.data.files.refusals import message
from tests.data.files.writers import IMAGES, save


def write5_plain(path, variables, version=4):
    return write_objects5(path, variables, version, compressed=False)


WRITERS = [write_objects5, write5_plain, write_objects73]


@pytest.fixture(params=WRITERS, ids=["5 compressed", "5", "7.3"])
def write(request):
    if request.param is write_objects73:
        pytest.importorskip("h5py", reason="h5py is not installed")
    return request.param


def test_strings_and_categoricals_are_text(tmp_path, write):
    variables = {
        "image": IMAGES,
        "s": strings(["cat", "", None, "Gürteltier", "𝄞 clef", "犬"], (2, 3)),
        "label": categorical([2, 1, 0, 2], ["cat", "dog"]),
        "none": categorical([], []),
        "data": {"inner": strings(["a", "b"])},
    }
    path = write(tmp_path / "a.mat", variables)
    arrays = read_arrays(path, ["image", "s", "label", "none", "data.inner"])
    np.testing.assert_array_equal(arrays["image"], IMAGES)
    assert arrays["s"].tolist() == [["cat", "", "𝄞 clef"], ["", "Gürteltier", "犬"]]
    assert arrays["label"].tolist() == [["dog"], ["cat"], [""], ["dog"]]
    assert arrays["none"].size == 0 and arrays["none"].dtype.kind == "U"
    assert arrays["data.inner"].ravel().tolist() == ["a", "b"]


def test_columns_of_a_table(tmp_path, write):
    columns = {
        "image": IMAGES,
        "name": ["a.jpg", "b.jpg", "c.jpg", "d.jpg"],
        "label": categorical([1, 2, 2, 1], ["cat", "dog"]),
        "text": strings(["one", "two", "three", "four"]),
    }
    path = write(tmp_path / "a.mat", {"T": table(**columns), "one": table(label=strings(["x", "y"]))})
    assert {"T.image", "T.name", "T.label", "T.text", "one.label"} == set(available_keys(path))
    arrays = read_arrays(path, ["T.image", "T.name", "T.label", "T.text", "one"])
    np.testing.assert_array_equal(arrays["T.image"], IMAGES)
    assert arrays["T.name"].tolist() == columns["name"]
    assert arrays["T.label"].ravel().tolist() == ["cat", "dog", "dog", "cat"]
    assert arrays["T.text"].ravel().tolist() == ["one", "two", "three", "four"]
    assert arrays["one"].ravel().tolist() == ["x", "y"]
    expected = "T is a MATLAB table, and no array (its columns: image, name, label, text); in MATLAB, save a column"
    assert expected in message(read_arrays, path, ["T"])
    assert "no key 'T.lable' (did you mean 'T.label'?)" in message(read_arrays, path, ["T.lable"])


@pytest.mark.parametrize(
    "name, fix",
    [
        ("datetime", "label = cellstr(label)"),
        ("duration", "label = seconds(label)"),
        ("containers.Map", "label = values(label)"),
        ("timetable", "label = label.NAME"),
        ("mine.Class", "label = cellstr(label) or label = double(label)"),
    ],
)
def test_other_classes_are_refused_by_name(tmp_path, write, name, fix):
    path = write(tmp_path / "a.mat", {"label": MatObject(name, {"data": np.arange(3.0)}), "image": IMAGES})
    text = message(read_arrays, path, ["label"])
    assert text.startswith(f"{path}[label]: label is a MATLAB {name}, which is not read; in MATLAB, ")
    assert text.endswith(fix)
    np.testing.assert_array_equal(read_arrays(path, ["image"])["image"], IMAGES)
    others: dict[str, str] = {}
    read_arrays(path, ["image"], others=others.update)
    assert others == {"label": f"a MATLAB {name}"}


def test_a_function_handle_does_not_damage_the_file(tmp_path):
    path = write_objects5(tmp_path / "a.mat", {"image": IMAGES}, function="f")
    others: dict[str, str] = {}
    read_arrays(path, ["image"], others=others.update)
    assert others == {"f": "a MATLAB function handle"}
    assert "f is a MATLAB function handle, which is not read" in message(read_arrays, path, ["f"])


@pytest.mark.parametrize("version, read", [(2, True), (3, True), (5, False)])
def test_versions_of_the_objects(tmp_path, write, version, read):
    path = write(tmp_path / "a.mat", {"label": strings(["a"]), "image": IMAGES, "T": table(a=IMAGES)}, version)
    if read:
        assert read_arrays(path, ["label"])["label"].tolist() == [["a"]]
        return
    text = message(read_arrays, path, ["label"])
    assert "label is a MATLAB string, which cannot be decoded (expected objects of version 2, 3 or 4, found 5)" in text
    assert set(available_keys(path)) == {"label", "image", "T"}
    np.testing.assert_array_equal(read_arrays(path, ["image"])["image"], IMAGES)


def test_a_file_without_its_objects(tmp_path):
    path = write_objects5(tmp_path / "a.mat", {"label": strings(["a"]), "image": IMAGES}, compressed=False)
    content = path.read_bytes()
    for end in (b" " * 8, bytes(8), b"\x80" + bytes(7)):
        path = save(tmp_path, "b.mat", content[:116] + end + content[124:])
        text = message(read_arrays, path, ["label"])
        assert "label is a MATLAB string, which cannot be decoded" in text
        assert "image" in available_keys(path)


def test_forged_objects_are_refused(tmp_path, write):
    long = np.array([[1, 2, 1 << 40, 1 << 40, 3]], np.uint64)
    cut = np.array([[1, 2, 1, 1, 1 << 50, 3]], np.uint64)
    for label in (
        MatObject("string", {"any": long}),
        MatObject("string", {"any": cut}),
        MatObject("string", {"any": np.array([[7, 2, 1, 1, 0]], np.uint64)}),
        MatObject("string", {"any": IMAGES}),
        categorical([3], ["a", "b"]),
        MatObject("categorical", {"categoryNames": IMAGES, "codes": np.array([[1]], np.uint8)}),
    ):
        path = write(tmp_path / "a.mat", {"label": label})
        assert f"label is a MATLAB {label.class_name}, which cannot be decoded (" in message(
            read_arrays, path, ["label"]
        )


def test_strings_are_charged_before_they_expand(tmp_path, write):
    label = strings(["a" * 5000] + ["b"] * 3000)
    text = message(read_arrays, write(tmp_path / "a.mat", {"label": label}), ["label"], max_bytes=1 << 20)
    assert "[label]: expands to 60020000 bytes" in text
    label = categorical([1] * 3000, ["a" * 5000])
    text = message(read_arrays, write(tmp_path / "a.mat", {"label": label}), ["label"], max_bytes=1 << 20)
    assert "[label]: expands to 60000000 bytes" in text


def test_what_is_a_reference():
    assert is_reference(np.array([[MARK], [2], [1], [1], [5], [1]], np.uint32))
    assert is_reference(np.array([[MARK], [2], [0], [0], [1]], np.uint32))
    for numbers in ([MARK, 2, 1, 1, 5], [MARK, 2, 2, 1, 5, 1], [1, 2, 1, 1, 5, 1], [MARK, 9, 1, 1, 5, 1], [MARK]):
        assert not is_reference(np.array([numbers], np.uint32))
    assert not is_reference(np.array([[MARK, 2, 1, 1, 5, 1]], np.float64))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(items=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=6))
def test_any_text_comes_back(tmp_path, items):
    found = read_arrays(write_objects5(tmp_path / "a.mat", {"s": strings(items)}), ["s"])["s"]
    assert found.ravel().tolist() == [item.rstrip("\0") for item in items]  # as NumPy's own strings


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_objects_raise_nothing_else(tmp_path, write, data):
    variables = {"s": strings(["a", "b"]), "c": categorical([1], ["x"]), "T": table(a=IMAGES, b=strings(["q"]))}
    path = write(tmp_path / "a.mat", variables)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        for key in available_keys(path):
            read_arrays(path, [key], max_bytes=1 << 20)
    except DataError as error:
        assert "\n" not in str(error)
