"""Reads the pairs of the paper's datasets from the images and texts that their authors released.

The formats are taken from the real lists of Wikipedia and, for the others, from public programs that read the releases;
each function names its sources.
"""

from __future__ import annotations

import html
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from gpldan_jax.data import apportion, read_list, variants
from gpldan_jax.data.own_features import OWN_SHARES, SPLIT_SEED
from gpldan_jax.extraction.pairs import NO_IMAGE, Pair, Unusable, clean_path, clean_text, is_image, list_files

NUSWIDE_CLASSES = ("animal", "clouds", "flowers", "food", "grass", "person", "sky", "toy", "water", "window")
_TEXT = re.compile(r"<text(?:\s[^<>]*)?>")
_ENTITY = re.compile(r"&#?\w+;")


def read_wikipedia(root: str | os.PathLike) -> list[Pair]:
    """Reads Wikipedia, the "wikipedia_dataset" of SVCL at UC San Diego.

    The folder holds `trainset_txt_img_cat.list` and `testset_txt_img_cat.list` (text, image and class number, with
    tabs), the texts between `<text>` and `</text>` in `texts/TEXT.xml`, the images as `images/CLASS/IMAGE.jpg` (in some
    copies `images/IMAGE.jpg`), and `categories.list`, a class name per line. The code of TextTopicNet and several
    reproductions of DSCMR read it in this way. The first 231 of the 693 test rows are validation, as for the features.

    The texts are not parsed as XML. Not all of them are well-formed, and a reader that knows no document types cannot
    be made to expand entities without end or to open other files.

    Args:
        root: the folder with the lists.

    Returns:
        2,866 pairs in the order of the lists; the ids are the names of the texts. Where there is no `categories.list`,
        the label is the number of the class.

    Raises:
        ValueError: no such folders, lists that are missing, damaged or not of the official length, a text that is in
            the lists twice, or classes that are not in `categories.list`.

    References:
        N. Rasiwasia et al., "A New Approach to Cross-Modal Multimedia Retrieval", ACM Multimedia 2010.
    """
    base = _check_folder(root)
    shape: Any = variants("wikipedia")[0].shape
    rows = []
    for name, size in (("trainset_txt_img_cat.list", shape.splits[0]), ("testset_txt_img_cat.list", shape.held_out)):
        found = read_list(base / name)
        if len(found) != size:
            raise ValueError(f"{base / name}: expected {size} lines, found {len(found)}")
        rows += found
    _check_once((text for text, *_ in rows), base)
    classes = _class_names(base / "categories.list", sorted({number for *_, number in rows}))
    folder, folder_of_texts = _find_folder(base, "images"), _find_folder(base, "texts")
    images = {Path(file).stem: Path(file) for file in sorted(list_files(folder, is_image))}
    pairs = []
    for (text, image, number), split in zip(rows, np.repeat(range(3), shape.splits).tolist(), strict=True):
        file = images.get(image, folder / f"{Path(image).name}.jpg")
        pairs.append(_pair(text, file, partial(_wikipedia_texts, folder_of_texts, text), classes[number], split))
    return pairs


def read_pascal(root: str | os.PathLike) -> list[Pair]:
    """Reads Pascal Sentence of UIUC: 20 classes of 50 images with five sentences each.

    The release is a web page. It circulates in the form that github.com/rupy/PascalSentenceDataset writes, with a
    sentence per line: `dataset/CLASS/2008_000123.jpg` and `sentence/CLASS/2008_000123txt` (forks write
    `2008_000123.txt`). The folders may also be called `images` and `sentences`, in upper or lower case. The files may
    lie in them without folders of classes; then the classes are unknown.

    Args:
        root: the folder that holds the two folders.

    Returns:
        A pair for each image or file of sentences, sorted by the ids, "CLASS/2008_000123". There is no official split,
        so none is set.

    Raises:
        ValueError: no such folders, no files in them, or two files with the same id in one of them.

    References:
        C. Rashtchian et al., "Collecting Image Annotations Using Amazon's Mechanical Turk", 2010.
    """
    base = _check_folder(root)
    folder, folder_of_texts = _find_folder(base, "dataset", "images"), _find_folder(base, "sentence", "sentences")
    images = _by_id(folder, is_image, r"\.\w+$")
    texts = _by_id(folder_of_texts, lambda name: name.endswith("txt"), r"\.?txt$")
    if not images and not texts:
        raise ValueError(f"{base}: expected images in {folder.name} and texts in {folder_of_texts.name}, found none")
    pairs = []
    for id in sorted({*images, *texts}):
        image, sentences = images.get(id, folder / f"{id}.jpg"), texts.get(id, folder_of_texts / f"{id}.txt")
        pairs.append(_pair(id, image, partial(_sentences, sentences), PurePosixPath(id).parent.name or None))
    return pairs


def read_nuswide(
    root: str | os.PathLike,
    images: str | os.PathLike | None = None,
    *,
    per_class: int = 1000,
    seed: int = SPLIT_SEED,
) -> list[Pair]:
    r"""Reads NUS-WIDE-10K: pairs of NUS-WIDE that belong to exactly one of its ten largest classes.

    The 10,000 pairs that the field uses are not published. Feng et al. name the ten classes, 1,000 pairs of each, and
    the split into 8,000, 1,000 and 1,000. Here the pairs of each class are drawn from all of NUS-WIDE in the order of a
    seeded shuffle of the lists: the first 80 % are training, the next 10 % validation, the last 10 % test. A pair that
    cannot be used, such as one without tags, is returned with its problem, and the next pair takes its place.

    The lists are those of the release, with one line per image: `ImageList/Imagelist.txt` (CLASS\NUMBER_ID.jpg),
    `NUS_WID_Tags/All_Tags.txt` (the ID, then the tags) and `Groundtruth/AllLabels/Labels_CLASS.txt` (0 or 1). The
    images are in `Flickr` or `images` of the root, each in the folder of its class (as released) or all in one folder
    (as on Kaggle). Sources: github.com/NExTplusplus/NUS-WIDE, "Pretreatment of NUS-WIDE dataset" at fatalerrors.org.

    Args:
        root: the folder of the lists.
        images: the folder of the images, if they are elsewhere.
        per_class: how many usable pairs of each class.
        seed: of the shuffle.

    Returns:
        10 `per_class` usable pairs, and the unusable ones before them, in the order of the lists. The text of a pair is
        its tags.

    Raises:
        ValueError: lists or images that are missing, lists of different lengths or with other labels than 0 and 1, or
            too few usable pairs of a class.

    References:
        T.-S. Chua et al., "NUS-WIDE: A Real-World Web Image Database", CIVR 2009.
        F. Feng, X. Wang, R. Li, "Cross-Modal Retrieval with Correspondence Autoencoder", ACM Multimedia 2014.
    """
    base = _check_folder(root)
    names = _lines(_find_file(base, "ImageList/Imagelist.txt", "ImageList/ImageList.txt", "Imagelist.txt"))
    tags = _lines(_find_file(base, "NUS_WID_Tags/All_Tags.txt", "All_Tags.txt"), len(names))
    classes = [f"Labels_{name}.txt" for name in NUSWIDE_CLASSES]
    labels = [_find_file(base, f"Groundtruth/AllLabels/{name}", f"AllLabels/{name}") for name in classes]
    member = np.stack([_binary(path, len(names)) for path in labels])
    member &= member.sum(axis=0) == 1
    folder = _find_folder(base, "flickr", "images") if images is None else _check_folder(images)
    splits = np.repeat(range(3), apportion(per_class, OWN_SHARES)).tolist()
    random = np.random.RandomState(seed)  # its stream is the same in every NumPy
    drawn = {}
    for label, pool in zip(NUSWIDE_CLASSES, member, strict=True):
        left, unusable = splits[::-1], ""
        for row in random.permutation(np.flatnonzero(pool)).tolist():
            if not left:
                break
            pair = drawn[row] = _nuswide_pair(names[row], tags[row], row, folder, label, left[-1])
            if pair.problem is None:
                left.pop()
            else:
                unusable = unusable or f"; {pair.id}: {pair.problem}"
        if left:
            raise ValueError(
                f"{base}: expected {per_class} usable pairs of the class {label}, "
                f"found {per_class - len(left)} of {pool.sum()}{unusable}"
            )
    pairs = [drawn[row] for row in sorted(drawn)]
    _check_once((pair.id for pair in pairs), base)
    return pairs


def _wikipedia_texts(folder, name):
    found = [part.partition("</text>") for part in _TEXT.split(_read(folder / clean_path(f"{name}.xml")))[1:]]
    if not found or not all(end for _, end, _ in found):
        raise Unusable("there is no <text> with an end in the XML")
    text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), " ".join(text for text, *_ in found))
    return [" ".join(text.split())]


def _sentences(path):
    return [line for line in _read(path).splitlines() if line.strip()]


def _nuswide_pair(name, tags, row, folder, label, split):
    try:
        id = clean_path(name.decode("utf-8", "surrogateescape").replace("\\", "/"))
    except Unusable as error:
        return Pair(f"line {row + 1}", Path(), (), label, split, str(error))
    places = (folder / id, folder / PurePosixPath(id).name)
    image = next(filter(os.path.isfile, places), places[0])
    return _pair(id, image, partial(_tags, tags, PurePosixPath(id).stem.rpartition("_")[2]), label, split)


def _tags(line, number):
    found = line.decode("utf-8", "surrogateescape").split()
    if found[:1] != [number]:
        raise Unusable("the tags are those of another image")
    return [" ".join(found[1:])]


def _pair(
    id: str, image: Path, read: Callable[[], Sequence[str]], label: str | None = None, split: int | None = None
) -> Pair:
    """The pair of an image and the texts that `read` returns; its problem where there is no image or no text."""
    texts: tuple[str, ...] = ()
    problem = None
    try:
        texts = tuple(clean_text(text, "text") for text in read())
        if not any(texts):
            raise Unusable("the text is empty")
    except Unusable as error:
        texts, problem = (), str(error)
    if not os.path.isfile(image):
        problem = NO_IMAGE
    return Pair(id, image, texts, label, split, problem)


def _class_names(path, numbers):
    """The name of each class by its number."""
    if not path.is_file():
        return {number: str(number) for number in numbers}
    try:
        names = [clean_text(line, "class name") for line in _read(path).splitlines() if line.strip()]
    except Unusable as error:
        raise ValueError(f"{path}: {error}") from None
    if len(set(names)) < len(names) or not 1 <= numbers[0] <= numbers[-1] <= len(names):
        raise ValueError(f"{path}: expected {numbers[-1]} different class names, one per line, found {len(set(names))}")
    return dict(enumerate(names, start=1))


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig", "surrogateescape")
    except FileNotFoundError:
        raise Unusable("there is no such text file") from None
    except OSError as error:
        raise Unusable(f"the text file cannot be read ({error.strerror})") from None


def _lines(path: Path, expected: int | None = None) -> list[bytes]:
    lines = [line.strip() for line in path.read_bytes().removesuffix(b"\n").split(b"\n")]
    if expected is not None and len(lines) != expected:
        raise ValueError(f"{path}: expected {expected} lines, one per image, found {len(lines)}")
    return lines


def _binary(path, expected):
    lines = _lines(path, expected)
    for number, line in enumerate(lines, start=1):
        if line not in (b"0", b"1"):
            raise ValueError(f"{path}: line {number}: expected 0 or 1, found {line[:20]!r}")
    return np.array(lines) == b"1"


def _by_id(folder, wanted, end):
    """The files by their paths in the folder, without the end of their names that matches `end`."""
    found = {}
    for file in list_files(folder, wanted):
        name = re.sub(end, "", Path(file).relative_to(folder).as_posix())
        id = name.encode("utf-8", "backslashreplace").decode()  # ids are written as UTF-8
        if id in found:
            raise ValueError(f"{folder}: expected one file called {id}, found {found[id].name} and {Path(file).name}")
        found[id] = Path(file)
    return found


def _check_folder(folder):
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    return folder


def _find_folder(root, *names):
    found = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
    for name in names:
        if name in found:
            return found[name]
    raise ValueError(f"{root}: expected a folder {' or '.join(names)}, found none")


def _find_file(root, *names):
    for name in names:
        if (root / name).is_file():
            return root / name
    raise ValueError(f"{root}: expected a file {names[0]}, found none")


def _check_once(ids: Iterable[str], root) -> None:
    seen = set()
    for id in ids:
        if id in seen:
            raise ValueError(f"{root}: {id} is in the lists twice")
        seen.add(id)


RELEASES: Mapping[str, Callable[[str | os.PathLike], list[Pair]]] = {
    "wikipedia": read_wikipedia,
    "pascal": read_pascal,
    "nuswide": read_nuswide,
}
"""The function that reads each release, by the name of the dataset."""
