"""What the tools that build the shipped datasets share: library versions, the sheet, the two files, a folder's files.

`n` is the number of items.
"""

import json
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

DATA = Path(__file__).resolve().parent.parent / "gpldan_jax/data"
TILE = 64
LIBRARIES = ("numpy", "pillow", "scikit-image", "scikit-learn", "scipy")


class MissingRequirementError(Exception):
    """Something a tool needs is not there; the message is one line that says what to install."""


def library_versions():
    """Versions of the libraries that make the output; raises `MissingRequirementError` naming those to install."""
    try:
        import PIL  # noqa: F401
        import skimage  # noqa: F401
        import sklearn  # noqa: F401
    except ImportError as error:
        raise MissingRequirementError(f"{error}: pip install 'gpldan_jax[features]'") from None
    return {library: version(library) for library in LIBRARIES}


def write_sheet(pictures, path, columns, **options):
    """Write `pictures`, uint8 `[n, 64, 64, 3]`, row by row as one WebP sheet; white where the last row has no more.

    `options` are those of Pillow's WebP writer. Returns what `items.json` says of the sheet.
    """
    from PIL import Image

    rows = -(-len(pictures) // columns)
    tiles = np.full((rows * columns, TILE, TILE, 3), 255, np.uint8)
    tiles[: len(pictures)] = pictures
    sheet = tiles.reshape(rows, columns, TILE, TILE, 3).transpose(0, 2, 1, 3, 4)
    sheet = sheet.reshape(rows * TILE, columns * TILE, 3)
    Image.fromarray(sheet).save(path, format="WEBP", method=6, **options)
    return {"file": path.name, "tile": TILE, "columns": columns, "rows": rows}


def write_features(path, image, words, documents, labels, split):
    """Write `features.npz`: picture features, the bag `words` of `documents`, class and split of each item."""
    with open(path, "wb") as file:
        np.savez_compressed(
            file,
            image=image.astype(np.float16),
            text=words.transform(documents).astype(np.uint8),
            label=labels,
            split=split,
            vocabulary=np.array(words.vocabulary),
        )


def write_items(path, head, items, order):
    """Write `items.json`: `head`, and the keys `order` of each of `items`, one a line."""
    lines = ",\n".join(json.dumps({key: item[key] for key in order}, ensure_ascii=False) for item in items)
    start = json.dumps(head, ensure_ascii=False, indent=1).removesuffix("\n}")
    path.write_text(f'{start},\n "items": [\n{lines}\n]}}\n', encoding="utf-8")


def replace_files(out, build, tool):
    """Call `build(folder)`, which writes a dataset's files, and move them to `out`; returns an exit status."""
    out.mkdir(parents=True, exist_ok=True)
    # Beside the files it replaces, because a rename cannot cross file systems.
    with tempfile.TemporaryDirectory(dir=out, prefix=".build-") as temporary:
        try:
            build(Path(temporary))
        except MissingRequirementError as error:
            print(f"{tool}: {error}", file=sys.stderr)
            return 2
        for path in sorted(Path(temporary).iterdir()):
            os.replace(path, out / path.name)
            print(f"{out / path.name}: {(out / path.name).stat().st_size:,} bytes")
    return 0
