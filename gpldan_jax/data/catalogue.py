"""Where the files of a dataset are, and what to say when they are not there.

The datasets by name: what each is, where its files are looked for, and how to load it.

Table 1 of the paper (arXiv 2106.13552) gives the sizes. The authors' own features were never
published, so most entries name the de-facto files of this line of work.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from gpldan_jax.data.files.checks import DataError
from gpldan_jax.data.layouts import (
    Layout,
    Shape,
    Variant,
    read_cub,
    read_extractors,
    read_generic,
    read_six_files,
    read_wikipedia_cnn,
    read_wikipedia_raw,
    read_xmedia,
)
from gpldan_jax.data.paired import SPLITS, PairedDataset, PairedSplit, paired_dataset
from gpldan_jax.data.synthetic import synthetic_splits


def data_directory() -> Path | None:
    """The folder that the environment variable `GPLDAN_DATA_DIR` names, else `None`."""
    named = os.environ.get("GPLDAN_DATA_DIR")
    return Path(named) if named else None


def locate(entry: Variant, path: str | os.PathLike | None) -> tuple[Layout, Sequence[Path]]:
    """Finds the first layout of `entry` whose files are all there.

    Args:
        entry: the dataset variant.
        path: a file, a folder with the files or with a folder called `entry.name` with them, or
            None for `data_directory()`.

    Returns:
        The layout, and the paths of its files in its order.

    Raises:
        DataError: files are missing; a few lines say which, what they must hold and where to put
            them.
    """
    root = Path(path) if path else None if entry.name == "npz" else data_directory()
    if root is None:
        raise DataError(_missing(entry, "no data directory is set"))
    if root.is_dir():
        folders = (root / entry.name, root)
        choices = [(layout, folder) for layout in entry.layouts for folder in folders]
        for layout, folder in choices:
            files = [folder / name for name in layout.files]
            if all(file.is_file() for file in files):
                return layout, files
        raise DataError(_missing(entry, f"not in {root} nor in {root / entry.name}"))
    if not root.exists():
        raise DataError(_missing(entry, f"{root} does not exist"))
    # A file of any name is taken for the first file of the first layout; the rest lie beside it.
    layout = next((item for item in entry.layouts if root.name in item.files), entry.layouts[0])
    files = [root.parent / name for name in layout.files]
    if root.name not in layout.files:
        files[0] = root
    absent = [file.name for file in files if not file.exists()]
    if absent:
        raise DataError(_missing(entry, f"{', '.join(absent)} not beside {root}"))
    return layout, files


def _missing(entry: Variant, problem: str) -> str:
    wanted = " or ".join(" + ".join(layout.files) for layout in entry.layouts)
    holds = dict.fromkeys(layout.holds for layout in entry.layouts)
    return "\n".join(
        [
            f"{entry.name} ({entry.variant}): {problem}; looked for {wanted}",
            *(f"It must hold {text.format(shape=entry.shape)}." for text in holds),
            f"Such files: {entry.circulates}.",
            "Say where with GPLDAN_DATA_DIR=FOLDER or --config.dataset.path=FILE_OR_FOLDER. What "
            "runs now, with data that are shipped: configs/emoji.py",
        ]
    )


_SIX_FILES = tuple(f"{part}_{kind}.mat" for part in ("train", "test") for kind in ("img", "txt", "img_lab"))
_GENERIC = (
    "image [{shape.pairs}, {shape.image}], text [{shape.pairs}, {shape.text}], label "
    "[{shape.pairs}], and optionally split [{shape.pairs}] of 0, 1, 2; without split the rows are "
    "{shape.splits[0]} train, {shape.splits[1]} validation, {shape.splits[2]} test"
)
_SIX = (
    "one variable each, called as the file: images [{shape.splits[0]} and {shape.held_out}, "
    "{shape.image}], texts [.., {shape.text}], labels"
)


def _generic(stem: str) -> tuple[Layout, ...]:
    suffixes = (".npz", ".h5", ".mat")
    return tuple(Layout((stem + suffix,), _GENERIC, read_generic) for suffix in suffixes)


# The first variant of a name is its default.
_VARIANTS = (
    Variant(
        "wikipedia",
        "cnn128_text100",
        Shape((2173, 231, 462), image=128, text=100, classes=10),
        (
            Layout(
                ("wiki_cnn128_text100.mat",),
                "data.X1 [{shape.image}, {shape.pairs}], data.X2 [{shape.text}, {shape.pairs}], "
                "data.Y one-hot [{shape.classes}, {shape.pairs}], in the order of the official "
                "train and test lists",
                read_wikipedia_cnn,
            ),
        ),
        "handed on among authors of multi-view learning; we know of no public repository with it",
    ),
    Variant(
        "wikipedia",
        "raw",
        Shape((2173, 231, 462), image=128, text=10, classes=10),
        (
            Layout(
                (
                    "raw_features.mat",
                    "trainset_txt_img_cat.list",
                    "testset_txt_img_cat.list",
                ),
                "I_tr [{shape.splits[0]}, {shape.image}], T_tr [.., {shape.text}], I_te "
                "[{shape.held_out}, {shape.image}], T_te [.., {shape.text}]; the class is the "
                "third column of the lists",
                read_wikipedia_raw,
            ),
        ),
        "the original release, on the 'crossmodal' project page of SVCL at UC San Diego",
        nonnegative_images=True,
    ),
    Variant(
        "wikipedia",
        "vgg19_bert",
        Shape((2173, 231, 462), image=4096, text=1024, classes=10),
        (*_generic("wikipedia"), Layout(_SIX_FILES, _SIX, read_six_files)),
        "the paper's features are unpublished; experiments/extract.py makes such; "
        "the README of XinyuXia97/CPCMR links to a copy of "
        "Wikipedia features, whose kinds may differ",
        nonnegative_images=True,
    ),
    Variant(
        "pascal",
        "vgg19_bert",
        Shape((800, 100, 100), image=4096, text=1024, classes=20),
        (*_generic("pascal"), Layout(_SIX_FILES, _SIX, read_six_files)),
        "the paper's features are unpublished; experiments/extract.py makes such; "
        "penghu-cs/DSCMR on GitHub holds Pascal Sentence as "
        "six .mat files, with text features of a sentence CNN, whose width may differ",
        nonnegative_images=True,
    ),
    Variant(
        "nuswide",
        "vgg19_bert",
        Shape((8000, 1000, 1000), image=4096, text=1024, classes=10),
        (*_generic("nuswide"), Layout(_SIX_FILES, _SIX, read_six_files)),
        "the paper's features are unpublished; experiments/extract.py makes such; "
        "the README of XinyuXia97/CPCMR links to a copy of "
        "NUS-WIDE features, whose kinds may differ",
        nonnegative_images=True,
    ),
    Variant(
        "xmedia",
        "alexnet_bow",
        Shape((4000, 300, 700), image=4096, text=3000, classes=20),
        (
            Layout(
                ("XMediaFeatures.mat",),
                "I_tr_CNN [{shape.splits[0]}, {shape.image}], T_tr_BOW [.., {shape.text}], "
                "I_te_CNN [{shape.held_out}, {shape.image}], T_te_BOW [.., {shape.text}], and the "
                "classes trImgCat, trTxtCat, teImgCat, teTxtCat",
                read_xmedia,
            ),
        ),
        "the XMedia page of PKU-ICST-MIPL, to which the READMEs of their GitHub repositories link",
        nonnegative_images=True,
    ),
    Variant(
        "cub",
        "googlenet_doc2vec",
        Shape((420, 60, 120), image=1024, text=300, classes=10),
        (
            Layout(
                ("cub_googlenet_doc2vec_c10.mat",),
                "X{{1}} [{shape.pairs}, {shape.image}], X{{2}} [{shape.pairs}, {shape.text}], Y [{shape.pairs}]",
                read_cub,
            ),
        ),
        "collections for multi-view learning; hanmenghan/CPM_Nets on GitHub reads a file so called",
        nonnegative_images=True,
    ),
    Variant(
        "npz",
        "own",
        None,
        (
            Layout(
                ("FILE.npz",),
                "image [rows, features], text [rows, features], and optionally label [rows] and "
                "split [rows] of 0, 1, 2; .h5 and .mat will do as well",
                read_generic,
            ),
        ),
        "your own features",
    ),
    Variant("emoji", "shipped", None, (), "shipped with the package", nonnegative_images=True),
)
# Stands in for features of one's own, which have no sizes until they are read.
_OWN_SHAPE = Shape((800, 100, 100), image=512, text=256, classes=10)


def dataset_names() -> tuple[str, ...]:
    """The names that `load_dataset` takes.

    Example:
        >>> dataset_names()
        ('wikipedia', 'pascal', 'nuswide', 'xmedia', 'cub', 'npz', 'emoji')
    """
    return tuple(dict.fromkeys(entry.name for entry in _VARIANTS))


def variants(name: str) -> tuple[Variant, ...]:
    """The variants of a dataset, the default first.

    Raises:
        DataError: an unknown name.

    Example:
        >>> [entry.variant for entry in variants("wikipedia")]
        ['cnn128_text100', 'raw', 'vgg19_bert']
    """
    found = tuple(entry for entry in _VARIANTS if entry.name == name)
    if not found:
        raise DataError(_unknown("dataset", name, dataset_names()))
    return found


def load_dataset(
    name: str,
    *,
    variant: str | None = None,
    path: str | os.PathLike | None = None,
    synthetic: bool = False,
    seed: int = 0,
) -> PairedDataset:
    """Loads a dataset, or generated features of its exact sizes.

    Splits are the official ones. Where none exists (`cub`, and `npz` without `split`) one is drawn
    with a fixed seed, whatever `seed` is, so that runs of several seeds share their test pairs.

    Args:
        name: one of `dataset_names()`.
        variant: one of `variants(name)`; None is the first.
        path: the file, or the folder that holds it or holds a folder called `name` with it; None is
            `data_directory()`. Needed for "npz".
        synthetic: generate the features; needs no files.
        seed: seed of the generated features; not used otherwise.

    Returns:
        The dataset, called `name`, or `name/variant` where there are several variants.

    Raises:
        DataError: an unknown name or variant, missing files (the message says what must be where),
            or files that do not hold what the dataset needs.

    Example:
        >>> data = load_dataset("wikipedia", variant="raw", synthetic=True)
        >>> data.title, len(data.train), len(data.validation), len(data.test)
        ('wikipedia/raw (synthetic)', 2173, 231, 462)
    """
    known = variants(name)
    entry = next((item for item in known if item.variant == (variant or known[0].variant)), None)
    if entry is None:
        raise DataError(_unknown(f"{name} variant", variant, [item.variant for item in known]))
    title = name if len(known) == 1 else f"{name}/{entry.variant}"
    features = None
    if synthetic:
        shape = entry.shape or (_emoji_shape() if name == "emoji" else _OWN_SHAPE)
        splits = synthetic_splits(
            shape.splits,
            image_dim=shape.image,
            text_dim=shape.text,
            classes=shape.classes,
            nonnegative_images=entry.nonnegative_images,
            seed=seed,
        )
    elif name == "emoji":
        return _emoji(path)
    else:
        layout, files = locate(entry, path)
        splits = layout.read(files, entry.shape)
        if layout.read is read_generic:
            features = read_extractors(files[0])
    dataset = paired_dataset(title, **dict(zip(SPLITS, splits, strict=True)), synthetic=synthetic, features=features)
    found = len(dataset.class_names or ())
    if entry.shape and found != entry.shape.classes:
        raise DataError(f"{title}: expected {entry.shape.classes} classes, found {found}")
    return dataset


def _unknown(kind: str, name: str | None, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"unknown {kind} {name!r}{hint}; expected one of {', '.join(known)}"


def _emoji_shape() -> Shape:
    emoji = _emoji(None)
    sizes = (len(emoji.train), len(emoji.validation), len(emoji.test))
    return Shape(sizes, emoji.image_dim, emoji.text_dim, len(emoji.class_names))


def _emoji(path: str | os.PathLike | None) -> PairedDataset:
    from gpldan_jax.data.emoji import load_emoji_arrays

    if path:
        raise DataError(f"emoji: shipped with the package, expected no path, found {path}")
    arrays = load_emoji_arrays()
    splits = {}
    for part, split in enumerate(SPLITS):
        rows = arrays.split == part
        splits[split] = PairedSplit(arrays.image[rows], arrays.text[rows], arrays.label[rows])
    features = {
        "image": {"extractor": "hog_hsv"},
        "text": {"extractor": "bag_of_words", "vocabulary": list(arrays.vocabulary)},
    }
    return PairedDataset("emoji", **splits, class_names=tuple(arrays.groups), features=features)
