"""The forms on disk in which datasets circulate, and how each is read and checked.

Letters: `n` pairs of the whole dataset; `d_i`, `d_t` widths of the image and the text features; `C` classes.
"""

import json
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpldan_jax.data.files.checks import DataError, first_few, name_rows, parse_key
from gpldan_jax.data.files.npy import expected_files
from gpldan_jax.data.files.reading import read_arrays, read_list
from gpldan_jax.data.labels import normalize_groups, normalize_labels
from gpldan_jax.data.paired import Pairs, as_features
from gpldan_jax.data.splits import apportion, grouped_split, stratified_split

SPLIT_SEED = 0
"""Seed of the splits that this package draws: not the training seed, or seeds would be compared on other test pairs."""
OWN_SHARES = (0.8, 0.1, 0.1)
"""Train, validation and test of features that come without a split."""

_MEANT = {"images": "image", "texts": "text", "labels": "label", "class": "label", "classes": "label", "y": "label"}
_MEANT |= {"splits": "split", "groups": "group"}  # what people call the keys of our own files


@dataclass(frozen=True)
class Shape:
    """The sizes of one dataset variant.

    Attributes:
        splits: pairs in train, validation, test.
        image: `d_i`.
        text: `d_t`.
        classes: C.
        several_classes: whether a pair may have several classes, or none.

    Example:
        >>> Shape((80, 10, 20), image=5, text=3, classes=2).held_out
        30
    """

    splits: tuple[int, int, int]
    image: int
    text: int
    classes: int
    several_classes: bool = False

    @property
    def pairs(self) -> int:
        """The number of all pairs, n."""
        return sum(self.splits)

    @property
    def held_out(self) -> int:
        """The pairs of validation and test, which circulate together as one test part."""
        return self.splits[1] + self.splits[2]


class FileContents(NamedTuple):
    """What the files of a layout hold."""

    splits: tuple[Pairs, ...]  # the checked pairs of train, validation and test
    features: dict[str, Any] | None = None  # how the features were computed, as `PairedDataset.features`
    class_names: Sequence[str] | None = None  # of the columns of labels `[n, C]`


@dataclass(frozen=True)
class Layout:
    """One form on disk.

    Attributes:
        files: file names, all of which are needed.
        holds: what the files must hold; `{shape.image}` and the like stand for the sizes.
        read: takes the paths of `files` and the shape (`None`: any) and returns the contents; `DataError` where the
            files do not hold them.

    Example:
        >>> CUB.files
        ('cub_googlenet_doc2vec_c10.mat',)
    """

    files: tuple[str, ...]
    holds: str
    read: Callable[[Sequence[Path], Any], FileContents]


@dataclass(frozen=True)
class Variant:
    """One dataset with one kind of features.

    Attributes:
        name: of the dataset, as `load_dataset` takes it.
        variant: of the features, as `load_dataset` takes it.
        shape: the sizes; `None` where the arrays themselves decide them.
        layouts: the forms on disk, in the order they are tried.
        circulates: where such files are found, in words.
        nonnegative_images: whether the image features are ReLU outputs or counts.
        title: what reports call it; `None` for the name, with the variant where there are several.

    Example:
        >>> Variant("mine", "own", None, own_layouts("mine"), "my own files").layouts[0].files
        ('mine.npz',)
    """

    name: str
    variant: str
    shape: Shape | None
    layouts: tuple[Layout, ...]
    circulates: str
    nonnegative_images: bool = False
    title: str | None = None


class _Stored(NamedTuple):
    """An array as a file stores it; `where` is the file and the key, for messages."""

    key: str
    where: str
    values: np.ndarray


def _read(
    path: Path,
    keys: Iterable[str],
    optional: Iterable[str] = (),
    others: Callable[[dict[str, str]], object] | None = None,
) -> dict[str, _Stored]:
    arrays = read_arrays(path, keys, optional=optional, others=others)
    return {key: _Stored(key, f"{path}[{key}]", values) for key, values in arrays.items()}


def _pairs(
    image: _Stored, text: _Stored, shape: Shape | None, count: int | None = None, *, columns: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The checked images and texts of `count` pairs (`None`: any number), stored as rows or as columns."""
    image_width, text_width = (shape.image, shape.text) if shape else (None, None)
    images = _features(image, image_width, columns)
    if count is not None:
        _check_count(image, images, count)
    texts = _features(text, text_width, columns)
    _check_equal_counts(image, text, images, texts)
    return images, texts


def _check_equal_counts(image: _Stored, text: _Stored, images: np.ndarray, texts: np.ndarray) -> None:
    if len(images) != len(texts):
        raise DataError(f"{text.where}: expected as many rows as {image.key} has, {len(images)}, found {len(texts)}")


def _features(stored: _Stored, width: int | None, columns: bool) -> np.ndarray:
    features = as_features(stored.values.T if columns else stored.values, where=stored.where)
    if width is not None and features.shape[1] != width:
        hint = " (transposed?)" if len(features) == width else ""
        raise DataError(
            f"{stored.where}: expected {width} features, found {features.shape[1]} in shape "
            f"{list(stored.values.shape)}{hint}"
        )
    return features


def _labels(stored: _Stored, count: int) -> np.ndarray:
    return normalize_labels(stored.values, count, where=stored.where)


def _check_count(stored: _Stored, features: np.ndarray, expected: int) -> None:
    if len(features) != expected:
        raise DataError(f"{stored.where}: expected {expected} pairs, found {len(features)}")


def _stored_split(stored: _Stored, count: int) -> list[np.ndarray]:
    values = _labels(stored, count)
    wrong = ~np.isin(values, (0, 1, 2)) if values.dtype.kind == "i" else np.ones(count, bool)
    if wrong.any():
        raise DataError(
            f"{stored.where}: expected 0 (train), 1 (validation) or 2 (test), found "
            f"{values[np.argmax(wrong)]} in {name_rows(wrong)}"
        )
    return [np.flatnonzero(values == part) for part in range(3)]


def _read_manifest(arrays: dict[str, _Stored]) -> dict[str, Any] | None:
    """What the JSON of `manifest` says under `image` and `text`; `None` for a manifest of another kind."""
    try:
        manifest = json.loads(str(arrays["manifest"].values))
        features = {modality: dict(manifest[modality]) for modality in ("image", "text")}
    except (KeyError, TypeError, ValueError):
        return None
    return features if all("extractor" in described for described in features.values()) else None


def _consecutive(sizes: Sequence[int]) -> list[slice]:
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def _cut(pairs: Pairs, rows: Iterable[np.ndarray | slice]) -> tuple[Pairs, ...]:
    return tuple(pairs.take(part) for part in rows)


def _train_and_held_out(shape: Shape, train: Pairs, held_out: Pairs) -> FileContents:
    """Train as it is; the official test part is validation first, then test."""
    return FileContents((train, *_cut(held_out, _consecutive(shape.splits[1:]))))


def _name_others(path: Path, others: dict[str, str], found: Iterable[str]) -> None:
    """Names what a file of ours holds and is not used; `DataError` for what was meant to be used."""
    # In a folder others are whole names of files.
    names = {key if path.is_dir() else parse_key(key)[0]: kind for key, kind in reversed(others.items())}
    # `id` is for search; HDF5 files of MATLAB have parts of their own, such as `#refs#`.
    unused = {str(name): names[name] for name in reversed(names) if name != "id" and not str(name).startswith("#")}
    for name in unused:
        stem = Path(name).stem.lower() if path.is_dir() else name.lower()
        meant = _MEANT.get(stem, stem)
        if meant in _MEANT.values() and meant not in found:
            what = f"{name!r} is not read" if path.is_dir() else f"no key is called {name!r}"
            file = f"{meant}.npy" if path.is_dir() else meant
            raise DataError(f"{path}: {what}: did you mean {file!r}? Rename it, or leave it out")
    if unused:
        listed = [f"{name} ({kind})" if kind else name for name, kind in unused.items()]
        warnings.warn(f"{path}: not used: {first_few(listed, limit=10)}", stacklevel=2)


def _read_generic(paths: Sequence[Path], shape: Shape | None) -> FileContents:
    """With a shape, labels are needed and rows without a split are train, validation, test; else a split is drawn."""
    required, optional = ["image", "text"], ["split", "group", "class_names", "image_of", "text_of", "manifest"]
    (optional if shape is None else required).append("label")
    others: dict[str, str] = {}
    arrays = _read(paths[0], required, optional, others.update)
    _name_others(paths[0], others, arrays)
    images, texts = _items(arrays, shape)
    labels = groups = None
    if "label" in arrays:
        per_item = "any" if shape is None or shape.several_classes else "one"
        labels = normalize_labels(arrays["label"].values, len(images), where=arrays["label"].where, per_item=per_item)
    if "group" in arrays:
        groups = normalize_groups(arrays["group"].values, len(images), where=arrays["group"].where)
    rows: Sequence[np.ndarray | slice]
    if "split" in arrays:
        rows = _stored_split(arrays["split"], len(images))
        found = tuple(map(len, rows))
        if shape is not None and found != shape.splits:
            raise DataError(f"{arrays['split'].where}: expected {shape.splits} rows, found {found}")
    elif shape is not None:
        _check_count(arrays["image"], images, shape.pairs)
        rows = _consecutive(shape.splits)
    elif groups is not None:
        rows = grouped_split(groups, labels, OWN_SHARES, seed=SPLIT_SEED)
    else:
        rows = stratified_split(labels, apportion(len(images), OWN_SHARES), seed=SPLIT_SEED)
    names = _class_names(arrays["class_names"]) if "class_names" in arrays else None
    return FileContents(_cut(Pairs(images, texts, labels, groups), rows), _read_manifest(arrays), names)


def _items(arrays: dict[str, _Stored], shape: Shape | None) -> tuple[np.ndarray, np.ndarray]:
    """The images and texts of the pairs; a file may hold an image once and say which pairs have it, in `image_of`."""
    sides = []
    for modality, width in (("image", shape.image if shape else None), ("text", shape.text if shape else None)):
        features, rows = _features(arrays[modality], width, False), arrays.get(f"{modality}_of")
        if rows is not None:
            if rows.values.ndim != 1 or rows.values.dtype.kind not in "iu":
                raise DataError(f"{rows.where}: expected whole numbers [rows], found {rows.values.dtype}")
            outside = (rows.values < 0) | (rows.values >= len(features))
            if outside.any():
                raise DataError(
                    f"{rows.where}: expected rows of {modality}, 0 to {len(features) - 1}, found "
                    f"{rows.values[np.argmax(outside)]} in {name_rows(outside)}"
                )
            features = features[rows.values]
        sides.append(features)
    _check_equal_counts(arrays["image"], arrays["text"], *sides)
    return sides[0], sides[1]


def _class_names(stored: _Stored) -> list[str]:
    values = np.ravel(stored.values)
    if values.dtype.kind == "O" and all(isinstance(value, str) for value in values):
        values = values.astype(str)
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    if values.dtype.kind != "U" or len(set(values.tolist())) < len(values):
        raise DataError(f"{stored.where}: expected different strings, one for each class, found {values.dtype}")
    return values.tolist()


def _read_wikipedia_cnn(paths: Sequence[Path], shape: Shape) -> FileContents:
    # The file also has a `split`, which is not the official one.
    arrays = _read(paths[0], ["data.X1", "data.X2", "data.Y"])
    images, texts = _pairs(arrays["data.X1"], arrays["data.X2"], shape, columns=True)
    _check_count(arrays["data.X1"], images, shape.pairs)
    labels = _labels(arrays["data.Y"], shape.pairs)
    return FileContents(_cut(Pairs(images, texts, labels), _consecutive(shape.splits)))


def _read_wikipedia_raw(paths: Sequence[Path], shape: Shape) -> FileContents:
    path, train_list, test_list = paths
    arrays = _read(path, ["I_tr", "T_tr", "I_te", "T_te"])
    parts = []
    for part, list_path, count in (("tr", train_list, shape.splits[0]), ("te", test_list, shape.held_out)):
        rows = read_list(list_path)
        if len(rows) != count:
            raise DataError(f"{list_path}: expected {count} lines, found {len(rows)}")
        images, texts = _pairs(arrays[f"I_{part}"], arrays[f"T_{part}"], shape, count)
        parts.append(Pairs(images, texts, np.array([row[2] for row in rows], np.int64)))
    return _train_and_held_out(shape, *parts)


def _read_xmedia(paths: Sequence[Path], shape: Shape) -> FileContents:
    counts = {"tr": shape.splits[0], "te": shape.held_out}
    kinds = ("I_{}_CNN", "T_{}_BOW", "{}ImgCat", "{}TxtCat")
    arrays = _read(paths[0], [kind.format(part) for part in counts for kind in kinds])
    parts = []
    for part, count in counts.items():
        image, text, image_class, text_class = (arrays[kind.format(part)] for kind in kinds)
        images, texts = _pairs(image, text, shape, count)
        labels = _labels(image_class, count)
        differ = labels != _labels(text_class, count)
        if differ.any():
            raise DataError(
                f"{image_class.where}: expected the class of {text_class.key} for every pair, found another in "
                f"{name_rows(differ)}"
            )
        parts.append(Pairs(images, texts, labels))
    return _train_and_held_out(shape, *parts)


def _read_hashing(keys: tuple[str, str, str], rows: int) -> Callable[[Sequence[Path], Shape], FileContents]:
    """Reads a file of the hashing literature: `rows` pairs, the queries first and the training pairs after them."""

    def read(paths: Sequence[Path], shape: Shape) -> FileContents:
        image, text, label = _read(paths[0], keys).values()
        train, _, test = shape.splits
        parts = []
        for stored, width in ((image, shape.image), (text, shape.text), (label, shape.classes)):
            # Files of MATLAB 7.3 circulate in both orders of the axes.
            values = stored.values.T if stored.values.shape == (width, rows) else stored.values
            if values.shape != (rows, width):
                hint = "; pixels are no features: `extract` makes features of pictures" if values.ndim == 4 else ""
                raise DataError(f"{stored.where}: expected [{rows}, {width}], found {list(stored.values.shape)}{hint}")
            parts.append(stored._replace(values=values[: shape.pairs]))
        images, texts = _pairs(parts[0], parts[1], shape)
        labels = normalize_labels(parts[2].values, len(images), where=label.where, per_item="any")
        order = (slice(test, test + train), slice(test + train, None), slice(0, test))
        return FileContents(_cut(Pairs(images, texts, labels), order))

    return read


def _read_six_files(paths: Sequence[Path], shape: Shape) -> FileContents:
    arrays: dict[str, _Stored] = {}
    for path in paths:
        arrays |= _read(path, [path.stem])
    parts = []
    for part, count in (("train", shape.splits[0]), ("test", shape.held_out)):
        images, texts = _pairs(arrays[f"{part}_img"], arrays[f"{part}_txt"], shape, count)
        parts.append(Pairs(images, texts, _labels(arrays[f"{part}_img_lab"], count)))
    return _train_and_held_out(shape, *parts)


def _read_cub(paths: Sequence[Path], shape: Shape) -> FileContents:
    # There is no official split.
    arrays = _read(paths[0], ["X{1}", "X{2}", "Y"])
    images, texts = _pairs(arrays["X{1}"], arrays["X{2}"], shape, shape.pairs)
    labels = _labels(arrays["Y"], shape.pairs)
    rows = stratified_split(labels, shape.splits, seed=SPLIT_SEED)
    return FileContents(_cut(Pairs(images, texts, labels), rows))


_GENERIC = (
    "image [{shape.pairs}, {shape.image}], text [{shape.pairs}, {shape.text}], label [{shape.pairs}], and optionally "
    "split [{shape.pairs}] of 0, 1, 2; without split the rows are {shape.splits[0]} train, {shape.splits[1]} "
    "validation, {shape.splits[2]} test"
)


def own_layouts(stem: str) -> tuple[Layout, ...]:
    """Returns the forms of a dataset in one file of this package's own keys."""
    return tuple(Layout((stem + suffix,), _GENERIC, _read_generic) for suffix in (".npz", ".h5", ".mat"))


OWN_FEATURES = Layout(
    ("FILE.npz",),
    "image [rows, features], text [rows, features], and optionally label [rows] or [rows, classes] of 0 and 1 (with "
    "class_names [classes]), group [rows] (the same for pairs that belong together) and split [rows] of 0, 1, 2; where "
    "pairs share an image it may be there once, and image_of [rows] say which row of image each pair has; .h5 and .mat "
    "will do as well",
    _read_generic,
)
"""Features of any sizes."""
NPY_FOLDER = Layout(
    ("FOLDER of .npy files",),
    f"one file for each key ({expected_files()}; .txt with an item in each line)",
    _read_generic,
)
"""Features as CLIP tools write them."""
WIKIPEDIA_CNN = Layout(
    ("wiki_cnn128_text100.mat",),
    "data.X1 [{shape.image}, {shape.pairs}], data.X2 [{shape.text}, {shape.pairs}], data.Y one-hot [{shape.classes}, "
    "{shape.pairs}], in the order of the official train and test lists",
    _read_wikipedia_cnn,
)
"""One file whose columns are the pairs."""
WIKIPEDIA_RAW = Layout(
    ("raw_features.mat", "trainset_txt_img_cat.list", "testset_txt_img_cat.list"),
    "I_tr [{shape.splits[0]}, {shape.image}], T_tr [.., {shape.text}], I_te [{shape.held_out}, {shape.image}], T_te "
    "[.., {shape.text}]; the class is the third column of the lists",
    _read_wikipedia_raw,
)
"""The original release."""
XMEDIA = Layout(
    ("XMediaFeatures.mat",),
    "I_tr_CNN [{shape.splits[0]}, {shape.image}], T_tr_BOW [.., {shape.text}], I_te_CNN [{shape.held_out}, "
    "{shape.image}], T_te_BOW [.., {shape.text}], and the classes trImgCat, trTxtCat, teImgCat, teTxtCat",
    _read_xmedia,
)
"""The PKU release. The paper takes 300 pairs of its test part for validation; here, the first, as for Wikipedia."""
SIX_FILES = Layout(
    tuple(f"{part}_{kind}.mat" for part in ("train", "test") for kind in ("img", "txt", "img_lab")),
    "one variable each, called as the file: images [{shape.splits[0]} and {shape.held_out}, {shape.image}], texts [.., "
    "{shape.text}], labels",
    _read_six_files,
)
"""The form of the DSCMR code; validation and test are the first and the last rows of the test part."""
CUB = Layout(
    ("cub_googlenet_doc2vec_c10.mat",),
    "X{{1}} [{shape.pairs}, {shape.image}], X{{2}} [{shape.pairs}, {shape.text}], Y [{shape.pairs}]",
    _read_cub,
)
"""One file of two cells, without a split."""
FLICKR_25K = Layout(
    ("FLICKR-25K.mat",),
    "images [20015, {shape.image}] (features, not pixels), YAll [20015, {shape.text}], LAll [20015, {shape.classes}]; "
    "the first {shape.splits[2]} rows are test (the field's queries), the next {shape.splits[0]} train, the next "
    "{shape.splits[1]} validation; the rest of the field's database is not used",
    _read_hashing(("images", "YAll", "LAll"), 20015),
)
"""MIRFlickr-25K as the code of DADH (Bai et al., ICMR 2020) reads it: 20,015 pairs with tags that are not rare."""
NUSWIDE_TC21 = Layout(
    ("NUS-WIDE-TC21.mat",),
    "image [195834, {shape.image}] (features, not pixels), text [195834, {shape.text}], label [195834, "
    "{shape.classes}]; the first {shape.splits[2]} rows are test (the field's queries), the next {shape.splits[0]} "
    "train, the next {shape.splits[1]} validation; the rest of the field's database is not used",
    _read_hashing(("image", "text", "label"), 195834),
)
"""NUS-WIDE with the 21 most frequent concepts, as the code of DADH reads it."""
