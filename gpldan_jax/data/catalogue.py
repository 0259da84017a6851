"""The datasets by name: what each is, where its files are looked for, and how to load it.

Table 1 of the paper (arXiv 2106.13552) gives the sizes. The authors' own features were never published, so most entries
name files that other work in this field uses.
"""

import functools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gpldan_jax.data import layouts, own_features
from gpldan_jax.data.files.checks import DataError, MissingFilesError, did_you_mean
from gpldan_jax.data.files.npy import is_npy_folder
from gpldan_jax.data.paired import PairedDataset, PairedSplit, Pairs, dataset_from_checked
from gpldan_jax.data.shipped import SHIPPED, shipped_arrays
from gpldan_jax.data.splits import synthetic_splits
from gpldan_jax.data.stored import FileContents, Layout, Shape, Variant
from gpldan_jax.models.column_statistics import Share


def _vgg19_bert(
    name: str, splits: tuple[int, int, int], classes: int, source: str, title: str | None = None
) -> Variant:
    return Variant(
        name,
        "vgg19_bert",
        Shape(splits, image=4096, text=1024, classes=classes),
        (*own_features.own_layouts(name), layouts.SIX_FILES),
        f"the paper's features are unpublished; gpldan_jax.extraction makes such files; {source}",
        nonnegative_images=True,
        title=title,
    )


_HASHING = (
    "copies are handed on among authors of cross-modal hashing; jiangqy/DCMH-CVPR2017 on GitHub links to files with "
    "pixels instead of features"
)
# The first variant of a name is its default.
_VARIANTS = (
    Variant(
        "wikipedia",
        "cnn128_text100",
        Shape((2173, 231, 462), image=128, text=100, classes=10),
        (layouts.WIKIPEDIA_CNN,),
        "handed on among authors of multi-view learning; we know of no public repository with it",
    ),
    Variant(
        "wikipedia",
        "raw",
        Shape((2173, 231, 462), image=128, text=10, classes=10),
        (layouts.WIKIPEDIA_RAW,),
        "the original release, on the 'crossmodal' project page of SVCL at UC San Diego",
        nonnegative_images=True,
    ),
    _vgg19_bert(
        "wikipedia",
        (2173, 231, 462),
        10,
        "the README of XinyuXia97/CPCMR links to a copy of Wikipedia features, whose kinds may differ",
    ),
    _vgg19_bert(
        "pascal",
        (800, 100, 100),
        20,
        "penghu-cs/DSCMR on GitHub holds Pascal Sentence as six .mat files, with text features of a sentence CNN, "
        "whose width may differ",
    ),
    _vgg19_bert(
        "nuswide",
        (8000, 1000, 1000),
        10,
        "the README of XinyuXia97/CPCMR links to a copy of NUS-WIDE features, whose kinds may differ",
        title="nuswide",
    ),
    Variant(
        "nuswide",
        "multilabel",
        Shape((10000, 2100, 2100), image=4096, text=1000, classes=21, several_classes=True),
        (layouts.NUSWIDE_TC21,),
        _HASHING,
        nonnegative_images=True,
    ),
    Variant(
        "mirflickr",
        "multilabel",
        Shape((10000, 2000, 2000), image=4096, text=1386, classes=24, several_classes=True),
        (layouts.FLICKR_25K,),
        _HASHING,
        nonnegative_images=True,
    ),
    Variant(
        "xmedia",
        "alexnet_bow",
        Shape((4000, 300, 700), image=4096, text=3000, classes=20),
        (layouts.XMEDIA,),
        "the XMedia page of PKU-ICST-MIPL, to which the READMEs of their GitHub repositories link",
        nonnegative_images=True,
    ),
    Variant(
        "cub",
        "googlenet_doc2vec",
        Shape((420, 60, 120), image=1024, text=300, classes=10),
        (layouts.CUB,),
        "collections for multi-view learning; hanmenghan/CPM_Nets on GitHub reads a file of this name",
        nonnegative_images=True,
    ),
    Variant("npz", "own", None, (own_features.OWN_FEATURES, own_features.NPY_FOLDER), "your own features"),
    *(Variant(name, "shipped", None, (), "shipped with the package", nonnegative_images=True) for name in SHIPPED),
)
# The sizes of generated features under the name "npz", which has none before a file is read.
_OWN_SHAPE = Shape((800, 100, 100), image=512, text=256, classes=10)


def data_directory() -> Path | None:
    """Returns the folder in which datasets are looked for: the environment variable `GPLDAN_DATA_DIR`.

    Returns:
        The folder, which may not exist; `None` where the variable is not set or empty.

    Example:
        >>> import os, unittest.mock
        >>> with unittest.mock.patch.dict(os.environ, GPLDAN_DATA_DIR="datasets"):
        ...     data_directory().name
        'datasets'
    """
    named = os.environ.get("GPLDAN_DATA_DIR")
    return Path(named) if named else None


def dataset_names() -> tuple[str, ...]:
    """Returns the names that `load_dataset` takes.

    Returns:
        The names.

    Example:
        >>> dataset_names()
        ('wikipedia', 'pascal', 'nuswide', 'mirflickr', 'xmedia', 'cub', 'npz', 'emoji', 'openclipart')
    """
    return tuple(dict.fromkeys(entry.name for entry in _VARIANTS))


def variants(name: str) -> tuple[Variant, ...]:
    """Returns the variants of a dataset, the default first.

    Args:
        name: one of `dataset_names()`.

    Returns:
        One entry for each kind of features.

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
    cut_groups: bool = False,
    on_disk: bool = False,
    share: Share | None = None,
) -> PairedDataset:
    """Loads a dataset, or generates features of its exact sizes.

    Splits are the official ones. Where none exists (`cub`, and `npz` without `split`) one is drawn with a fixed seed,
    whatever `seed` is, so that runs of several seeds share their test pairs.

    Args:
        name: one of `dataset_names()`.
        variant: one of `variants(name)`; `None` is the first.
        path: the file, or the folder that holds it or holds a folder called `name` with it; `None` is
            `data_directory()`. Needed for "npz", where it may be a folder of `.npy` files too.
        synthetic: generate the features; needs no files.
        seed: seed of the generated features; not used otherwise.
        cut_groups: allow a split in the file that has pairs of one group in several parts.
        on_disk: leave the features of a folder of `.npy` files there, as `FeaturesOnDisk`, and read mini-batches from
            it, for features that do not fit in memory. Other data are loaded.
        share: with `on_disk`, the part of the rows that this process reads for checks and statistics, where several
            processes load the same data together; `None` for all rows.

    Returns:
        The dataset; its name is `name`, or `name/variant` where there are several variants, and that of the file or the
        folder, without its ending, for "npz".

    Raises:
        MissingFilesError: files are missing; the message says what must be where.
        DataError: an unknown name or variant, or files that do not hold what the dataset needs.

    Example:
        >>> data = load_dataset("wikipedia", variant="raw", synthetic=True)
        >>> data.title, len(data.train), len(data.validation), len(data.test)
        ('wikipedia/raw (synthetic)', 2173, 231, 462)
    """
    known = variants(name)
    entry = next((item for item in known if item.variant == (variant or known[0].variant)), None)
    if entry is None:
        raise DataError(_unknown(f"{name} variant", variant, [item.variant for item in known]))
    if name in SHIPPED and not synthetic:
        return _load_shipped(name, path)
    if synthetic:
        contents = FileContents(_generate(entry, seed))
    else:
        layout, files = _locate(entry, path)
        stays = on_disk and layout is own_features.NPY_FOLDER
        read = functools.partial(own_features.read_on_disk, share=share) if stays else layout.read
        contents = read(files, entry.shape)
    title = entry.title or (name if len(known) == 1 else f"{name}/{entry.variant}")
    if name == "npz" and not synthetic:
        place = files[0].absolute()
        title = place.stem if place.is_file() else place.name
    dataset = dataset_from_checked(
        title,
        contents.splits,
        synthetic=synthetic,
        features=contents.features,
        class_names=contents.class_names,
        cut_groups=cut_groups,
        file_rows=contents.rows,
    )
    found = len(dataset.class_names or ())
    if entry.shape and found != entry.shape.classes:
        raise DataError(f"{title}: expected {entry.shape.classes} classes, found {found}")
    return dataset


def _generate(entry: Variant, seed: int) -> tuple[Pairs, ...]:
    shape = _shipped_shape(entry.name) if entry.name in SHIPPED else entry.shape or _OWN_SHAPE
    generated = synthetic_splits(
        shape.splits,
        image_dim=shape.image,
        text_dim=shape.text,
        classes=shape.classes,
        nonnegative_images=entry.nonnegative_images,
        seed=seed,
    )
    if not shape.several_classes:
        return tuple(Pairs(*arrays) for arrays in generated)
    return tuple(Pairs(images, texts, _with_second_class(labels, shape.classes)) for images, texts, labels in generated)


def _with_second_class(labels: np.ndarray, classes: int) -> np.ndarray:
    """Rows of bools: the class of each item, and of every other item the next class too."""
    second = np.where(np.arange(len(labels)) % 2, (labels + 1) % classes, labels)
    return np.eye(classes, dtype=bool)[labels] | np.eye(classes, dtype=bool)[second]


def _shipped_shape(name: str) -> Shape:
    arrays = shipped_arrays(name)
    train, validation, test = np.bincount(arrays.split).tolist()
    return Shape((train, validation, test), arrays.image.shape[1], arrays.text.shape[1], len(arrays.classes))


def _load_shipped(name: str, path: str | os.PathLike | None) -> PairedDataset:
    if path:
        raise DataError(f"{name}: shipped with the package, expected no path, found {path}")
    arrays = shipped_arrays(name)
    train, validation, test = (
        PairedSplit(*(array[arrays.split == part] for array in (arrays.image, arrays.text, arrays.label)))
        for part in range(3)
    )
    features = {
        "image": {"extractor": "hog_hsv"},
        "text": {"extractor": "bag_of_words", "vocabulary": list(arrays.vocabulary)},
    }
    rows = tuple(np.flatnonzero(arrays.split == part) for part in range(3))
    return PairedDataset(name, train, validation, test, arrays.classes, features=features, file_rows=rows)


def _locate(entry: Variant, path: str | os.PathLike | None) -> tuple[Layout, Sequence[Path]]:
    """The first layout of `entry` whose files are all there, and the paths of its files in its order."""
    root = Path(path) if path else None if entry.name == "npz" else data_directory()
    if root is None:
        problem = "no path is given" if entry.name == "npz" else "no data directory is set"
        raise _missing_files_error(entry, problem)
    if entry.name == "npz" and is_npy_folder(root):
        return own_features.NPY_FOLDER, [root]
    if root.is_dir():
        for layout in entry.layouts:
            for folder in (root / entry.name, root):
                files = [folder / name for name in layout.files]
                if all(file.is_file() for file in files):
                    return layout, files
        raise _missing_files_error(entry, f"not in {root} nor in {root / entry.name}")
    if not root.exists():
        raise _missing_files_error(entry, f"{root} does not exist", is_mistyped=bool(path))
    # A file of any name is taken for the first file of the first layout. The others must be beside it.
    layout = next((item for item in entry.layouts if root.name in item.files), entry.layouts[0])
    files = [root.parent / name for name in layout.files]
    if root.name not in layout.files:
        files[0] = root
    absent = [file.name for file in files if not file.exists()]
    if absent:
        raise _missing_files_error(entry, f"{', '.join(absent)} not beside {root}")
    return layout, files


def _missing_files_error(entry: Variant, problem: str, *, is_mistyped: bool = False) -> MissingFilesError:
    """What is missing and what would do; where a path was perhaps only mistyped, not what files must hold."""
    wanted = " or ".join(" + ".join(layout.files) for layout in entry.layouts)
    holds = dict.fromkeys(layout.holds for layout in entry.layouts)
    directory = "" if entry.name == "npz" else " or the environment variable GPLDAN_DATA_DIR=FOLDER"
    lines = (
        f"{entry.name} ({entry.variant}): {problem}; looked for {wanted}",
        *(f"It must hold {text.format(shape=entry.shape)}." for text in holds if not is_mistyped),
        *([] if is_mistyped else [f"Such files: {entry.circulates}."]),
        f"Say where they are with the argument path=FILE_OR_FOLDER{directory}.",
    )
    return MissingFilesError("\n".join(lines))


def _unknown(kind: str, name: str | None, known: Sequence[str]) -> str:
    return f"unknown {kind} {name!r}{did_you_mean(str(name), known)}; expected one of {', '.join(known)}"
