"""Where the files of a dataset are, and what to say when they are not there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from gpldan_jax.data.errors import DataError
from gpldan_jax.data.specification import Layout, Variant


def data_directory() -> Path | None:
    """`GPLDAN_DATA_DIR`, else `../shared/data` beside the repository, else None."""
    named = os.environ.get("GPLDAN_DATA_DIR")
    if named:
        return Path(named)
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    return beside if beside.is_dir() else None


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
