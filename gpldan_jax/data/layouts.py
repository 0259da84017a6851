"""The forms on disk in which datasets circulate, and how each is read and checked.

Letters: `n` pairs of the whole dataset; `d_i`, `d_t` widths of the image and the text features; `C` classes.
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from gpldan_jax.data.files.checks import DataError, name_rows
from gpldan_jax.data.files.reading import read_list
from gpldan_jax.data.labels import normalize_labels
from gpldan_jax.data.own_features import SPLIT_SEED, consecutive_rows
from gpldan_jax.data.paired import Pairs
from gpldan_jax.data.splits import stratified_split
from gpldan_jax.data.stored import (
    FileContents,
    Layout,
    Shape,
    Stored,
    check_count,
    cut_pairs,
    read_stored,
    stored_labels,
    stored_pairs,
)


def _train_and_held_out(shape: Shape, train: Pairs, held_out: Pairs) -> FileContents:
    """Train as it is; the official test part is validation first, then test."""
    return FileContents((train, *cut_pairs(held_out, consecutive_rows(shape.splits[1:]))))


def _read_wikipedia_cnn(paths: Sequence[Path], shape: Shape) -> FileContents:
    # The file also has a `split`, which is not the official one.
    arrays = read_stored(paths[0], ["data.X1", "data.X2", "data.Y"])
    images, texts = stored_pairs(arrays["data.X1"], arrays["data.X2"], shape, columns=True)
    check_count(arrays["data.X1"], images, shape.pairs)
    labels = stored_labels(arrays["data.Y"], shape.pairs)
    return FileContents(cut_pairs(Pairs(images, texts, labels), consecutive_rows(shape.splits)))


def _read_wikipedia_raw(paths: Sequence[Path], shape: Shape) -> FileContents:
    path, train_list, test_list = paths
    arrays = read_stored(path, ["I_tr", "T_tr", "I_te", "T_te"])
    parts: list[Pairs] = []
    for part, list_path, count in (("tr", train_list, shape.splits[0]), ("te", test_list, shape.held_out)):
        rows = read_list(list_path)
        if len(rows) != count:
            raise DataError(f"{list_path}: expected {count} lines, found {len(rows)}")
        images, texts = stored_pairs(arrays[f"I_{part}"], arrays[f"T_{part}"], shape, count, like=parts)
        parts.append(Pairs(images, texts, np.array([row[2] for row in rows], np.int64)))
    return _train_and_held_out(shape, *parts)


def _read_xmedia(paths: Sequence[Path], shape: Shape) -> FileContents:
    counts = {"tr": shape.splits[0], "te": shape.held_out}
    kinds = ("I_{}_CNN", "T_{}_BOW", "{}ImgCat", "{}TxtCat")
    arrays = read_stored(paths[0], [kind.format(part) for part in counts for kind in kinds])
    parts: list[Pairs] = []
    for part, count in counts.items():
        image, text, image_class, text_class = (arrays[kind.format(part)] for kind in kinds)
        images, texts = stored_pairs(image, text, shape, count, like=parts)
        labels = stored_labels(image_class, count)
        differ = labels != stored_labels(text_class, count)
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
        image, text, label = read_stored(paths[0], keys).values()
        train, _, test = shape.splits
        parts = []
        for stored, width in ((image, shape.image), (text, shape.text), (label, shape.classes)):
            # Files of MATLAB 7.3 circulate in both orders of the axes.
            values = stored.values.T if stored.values.shape == (width, rows) else stored.values
            if values.shape != (rows, width):
                hint = "; pixels are no features: `extract` makes features of pictures" if values.ndim == 4 else ""
                raise DataError(f"{stored.where}: expected [{rows}, {width}], found {list(stored.values.shape)}{hint}")
            parts.append(stored._replace(values=values[: shape.pairs]))
        images, texts = stored_pairs(parts[0], parts[1], shape)
        labels = normalize_labels(parts[2].values, len(images), where=label.where, per_item="any")
        warnings.warn(f"{paths[0]}: not used: the last {rows - shape.pairs:,} of {rows:,} pairs", stacklevel=2)
        order = (slice(test, test + train), slice(test + train, None), slice(0, test))
        return FileContents(cut_pairs(Pairs(images, texts, labels), order))

    return read


def _read_six_files(paths: Sequence[Path], shape: Shape) -> FileContents:
    arrays: dict[str, Stored] = {}
    for path in paths:
        arrays |= read_stored(path, [path.stem])
    parts: list[Pairs] = []
    for part, count in (("train", shape.splits[0]), ("test", shape.held_out)):
        images, texts = stored_pairs(arrays[f"{part}_img"], arrays[f"{part}_txt"], shape, count, like=parts)
        parts.append(Pairs(images, texts, stored_labels(arrays[f"{part}_img_lab"], count)))
    return _train_and_held_out(shape, *parts)


def _read_cub(paths: Sequence[Path], shape: Shape) -> FileContents:
    # There is no official split.
    arrays = read_stored(paths[0], ["X{1}", "X{2}", "Y"])
    images, texts = stored_pairs(arrays["X{1}"], arrays["X{2}"], shape, shape.pairs)
    labels = stored_labels(arrays["Y"], shape.pairs)
    rows = stratified_split(labels, shape.splits, seed=SPLIT_SEED)
    return FileContents(cut_pairs(Pairs(images, texts, labels), rows))


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
