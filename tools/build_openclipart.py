"""Build the embedded clip art, `gpldan_jax/data/openclipart`, from two Debian packages.

Drawings of objects, in the public domain; the folders of the packages decide the classes. The sheet of pictures is
written first and read back, and the picture features are computed from what was read, so that anyone can compute them
again from the committed file. The same packages and library versions give the same bytes.

    apt-get download openclipart-png openclipart-svg
    for package in openclipart-*.deb; do dpkg -x $package unpacked; done
    python tools/build_openclipart.py unpacked

`n` is the number of items.
"""

import argparse
import collections
import gzip
import re
import sys
from pathlib import Path

import numpy as np
import shipped_files
from openclipart_items import CLASSES, class_of, class_of_folder, read_items, words_of

from gpldan_jax.data.shipped import read_sheet
from gpldan_jax.features import BagOfWords, fit_square, hog_hsv, read_image

VERSION = "1:0.18+dfsg-19"
OUT = shipped_files.DATA / "openclipart"
SPLIT_SHARES = {2: 0.22, 1: 0.06}  # test and validation, of the items of each class
COLUMNS = 50
LEVELS = 32  # of each colour channel; all 256 would make the sheet 1 MB larger

LARGEST_SERIES = 8  # drawings of one series that are kept
FEWEST_PIXELS = 12  # of the longer side of a drawing
INK = 8  # a pixel belongs to the drawing if a channel is this far from white
SAME, NEAR = 0.999, 0.97  # correlations of the pixels of two small pictures: the same drawing, the same series

NOTICE = """\
The drawings in sprites.webp, their titles, keywords, creators and file names in items.json, and the features in
features.npz computed from them, are from the Open Clip Art Library, https://openclipart.org, as Debian ships it:
packages openclipart-png and openclipart-svg {version}. Only files were taken whose own metadata say that they are in
the public domain. Modified: each drawing was cut to its ink, put on white and reduced to 64 x 64 pixels and 32 levels
of each colour, and titles and keywords were also turned into a binary bag of words.

Below: the copyright file of both Debian packages.
"""


def read_drawing(path):
    """The drawing at `path`, uint8 `[64, 64, 3]`, cut to its ink; `None` where there is no drawing to see."""
    try:
        pixels = read_image(path)
    except ValueError:  # more pixels than the package reads
        return None
    rows, columns = (np.flatnonzero((pixels < 255 - INK).any(axis=2).any(axis=axis)) for axis in (1, 0))
    if not len(rows) or max(np.ptp(rows), np.ptp(columns)) < FEWEST_PIXELS:
        return None
    cut = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    margin = max(1, max(cut.shape) // 32)
    small = fit_square(np.pad(cut, ((margin, margin), (margin, margin), (0, 0)), constant_values=255))
    return np.round(np.round(small * ((LEVELS - 1) / 255)) * (255 / (LEVELS - 1))).astype(np.uint8)


def correlations(pictures):
    """Correlations between the pixels of `pictures`, uint8 `[n, 64, 64, 3]`, at 16 x 16: float32 `[n, n]`."""
    small = pictures.reshape(-1, 16, 4, 16, 4, 3).mean(axis=(2, 4), dtype=np.float32).reshape(len(pictures), -1)
    small -= small.mean(axis=1, keepdims=True)
    small /= np.linalg.norm(small, axis=1, keepdims=True)
    return small @ small.T


def connected(n, links):
    """The smallest row that each of `n` rows is linked to, through any number of `links`: int64 `[n]`."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first, second = (np.array([link[side] for link in links], int) for side in (0, 1))
    _, component = connected_components(coo_array((np.ones(len(links)), (first, second)), shape=(n, n)), directed=False)
    _, smallest = np.unique(component, return_index=True)
    return smallest[component]


def merge_same(items, pictures):
    """One item for each different drawing that has one class, with its `class`: the rows of `items`."""
    same = connected(len(items), np.argwhere(correlations(pictures) > SAME))
    members = collections.defaultdict(list)
    for row, drawing in enumerate(same):
        members[drawing].append(row)
    kept = []
    for rows in members.values():
        name = class_of([items[row]["file"] for row in rows])
        if name is not None:
            row = next(row for row in rows if class_of_folder(items[row]["file"]) == name)
            items[row]["class"] = name
            kept.append(row)
    return sorted(kept)


def series_of(items, pictures):
    """The series of each item, int64 `[n]`: drawings that look alike, or with one name but for numbers and colours."""
    by_name = {}
    links = np.argwhere(correlations(pictures) > NEAR).tolist()
    for row, item in enumerate(items):
        name = item["name"].partition("(")[0] or item["name"]
        words = [word.rstrip("0123456789") for word in words_of(name)]
        links.append((row, by_name.setdefault(" ".join(word for word in words if word not in ("", "bw")), row)))
    return connected(len(items), links)


def with_shared_words(items):
    """The items each of whose texts has a word that another one has."""
    while True:
        count = collections.Counter(word for item in items for word in set(item["text"].split()))
        kept = [item for item in items if any(count[word] > 1 for word in item["text"].split())]
        if len(kept) == len(items):
            return kept
        items = kept


def split_series(labels, series, seed):
    """A split stratified by class that keeps each series whole: uint8 `[n]`, 0 train, 1 validation, 2 test.

    Series are taken in a random order and go where every class of theirs has room; the rest is for training. Unlike
    `gpldan_jax.data.grouped_split`, which counts series, this gives each class its share of the items.
    """
    counts = collections.Counter(labels.tolist())
    room = {part: {label: round(share * n) for label, n in counts.items()} for part, share in SPLIT_SHARES.items()}
    split = np.zeros(len(labels), np.uint8)
    for one in np.random.default_rng(seed).permutation(np.unique(series)):
        rows = np.flatnonzero(series == one)
        needed = collections.Counter(labels[rows].tolist())
        part = next((part for part, left in room.items() if all(left[label] >= n for label, n in needed.items())), 0)
        if part:
            split[rows] = part
            for label, n in needed.items():
                room[part][label] -= n
    return split


def choose(root):
    """The items of the dataset, ordered by class and file, and their pictures, uint8 `[n, 64, 64, 3]`."""
    items, refused = read_items(root)
    print(f"{len(items)} files with a class; {len(refused)} more do not say that they are in the public domain")
    drawings = [read_drawing(root / "png" / f"{item['file']}.png") for item in items]
    seen = [row for row, drawing in enumerate(drawings) if drawing is not None]
    items, pictures = [items[row] for row in seen], np.stack([drawings[row] for row in seen])

    kept = merge_same(items, pictures)
    print(f"{len(kept)} different drawings with one class")
    items, pictures = [items[row] for row in kept], pictures[kept]
    for item, one, picture in zip(items, series_of(items, pictures).tolist(), pictures, strict=True):
        item["series"], item["picture"] = one, picture
    items = with_shared_words(sorted(items, key=lambda item: (item["class"], item["file"])))
    print(f"{len(items)} of them have a word that another one has")
    size = collections.Counter()
    chosen = []
    for item in items:
        size[item["series"]] += 1
        if size[item["series"]] <= LARGEST_SERIES:
            chosen.append(item)
    chosen = with_shared_words(chosen)
    print(f"{len(chosen)} chosen, {LARGEST_SERIES} of a series at most")
    number_names(chosen)
    order = {one: number for number, one in enumerate(dict.fromkeys(item["series"] for item in chosen))}
    for item in chosen:
        item["series"] = order[item["series"]]
    return chosen, np.stack([item.pop("picture") for item in chosen])


def number_names(items):
    """Add a number to each name that an item before it has, so that all are different."""
    taken = set()
    for item in items:
        name, number = item["name"], 1
        while item["name"].lower() in taken:
            number += 1
            item["name"] = f"{name} ({number})"
        taken.add(item["name"].lower())


def find_packages(folder):
    """The folder of the drawings and the copyright file in `folder`, where both packages were unpacked.

    Raises `MissingRequirementError` where they are not there, or are of another version.
    """
    root, terms = folder / "usr/share/openclipart", folder / "usr/share/doc/openclipart-svg/copyright"
    if not ((root / "svg").is_dir() and (root / "png").is_dir() and terms.is_file()):
        raise shipped_files.MissingRequirementError(
            f"{folder} lacks usr/share/openclipart: apt-get download openclipart-png openclipart-svg, and dpkg -x each"
        )
    changes = folder / "usr/share/doc/openclipart-svg/changelog.Debian.gz"
    found = re.search(r"\((.*?)\)", gzip.decompress(changes.read_bytes()).decode())
    if not found or found[1] != VERSION:
        raise shipped_files.MissingRequirementError(
            f"{folder} has version {found[1] if found else 'unknown'} of the packages, expected {VERSION} of Debian 12"
        )
    return root, terms


def build(folder, packages, seed):
    """Write the dataset's files in `folder` from the unpacked `packages`; the split is drawn with `seed`."""
    root, terms = find_packages(packages)
    libraries = shipped_files.library_versions()
    items, pictures = choose(root)
    labels = np.array([CLASSES.index(item["class"]) for item in items], np.uint8)
    series = np.array([item["series"] for item in items])
    documents = [item["text"] for item in items]

    sprites = shipped_files.write_sheet(pictures, folder / "sprites.webp", COLUMNS, lossless=True, quality=75)
    sheet = read_sheet(folder / sprites["file"], COLUMNS, sprites["rows"], sprites["tile"])
    image = hog_hsv(sheet[: len(items)])
    split = split_series(labels, series, seed)
    shipped_files.write_features(folder / "features.npz", image, BagOfWords.fit(documents), documents, labels, split)
    head = {
        "sources": dict.fromkeys(("openclipart-png", "openclipart-svg"), VERSION),
        "libraries": libraries,
        "seed": seed,
        "sprites": sprites,
        "groups": CLASSES,
    }
    order = ("file", "name", "keywords", "creator", "class", "series", "text")
    shipped_files.write_items(folder / "items.json", head, items, order)
    notice = NOTICE.format(version=VERSION) + "\n" + "-" * 80 + "\n\n" + terms.read_text(encoding="utf-8")
    (folder / "LICENSE-OPENCLIPART").write_text(notice, encoding="utf-8")


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Build the embedded clip art from Debian's packages.")
    parser.add_argument("packages", type=Path, help="folder where both packages were unpacked")
    parser.add_argument("--out", type=Path, default=OUT, help="folder to write to (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split (default: %(default)s)")
    options = parser.parse_args(arguments)
    return shipped_files.replace_files(
        options.out, lambda folder: build(folder, options.packages, options.seed), "build_openclipart"
    )


if __name__ == "__main__":
    sys.exit(main())
