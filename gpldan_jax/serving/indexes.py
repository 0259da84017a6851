"""Opens the indexes of a collection: one of images, one of texts, or both, of one model."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from gpldan_jax.index import DamagedIndexError, Index
from gpldan_jax.index.gallery import MODALITIES
from gpldan_jax.index.storage import MANIFEST

MADE_OF = "collection.json"
"""The file of a collection of a run, written last: it has an index of images and one of texts."""


def load_indexes(folder: str | os.PathLike, *, verify: bool = True, modality: str | None = None) -> dict[str, Index]:
    """Opens the indexes of a collection.

    Args:
        folder: a folder with `image/` and `text/`, or one of them, or the folder of a single index.
        verify: see `Index.load`.
        modality: open only the index of this modality, where there is one; by default both.

    Returns:
        The indexes by modality.

    Raises:
        DamagedIndexError: there is no index, or a damaged one.
    """
    folder = Path(folder)
    folders = [folder / modality for modality in MODALITIES if (folder / modality / MANIFEST).exists()]
    if (folder / MANIFEST).exists():
        folders = [folder]
    elif len(folders) == 1 and (folder / MADE_OF).exists():
        (lost,) = {folder / modality / MANIFEST for modality in MODALITIES} - {folders[0] / MANIFEST}
        raise DamagedIndexError(f"{lost} is missing; build the collection again")
    if not folders:
        raise DamagedIndexError(f"{folder} is no collection: there is no image/{MANIFEST} and no text/{MANIFEST}")
    if modality and folder / modality in folders:
        folders = [folder / modality]
    indexes = [Index.load(of_modality, verify=verify) for of_modality in folders]
    return {index.modality: index for index in indexes}


def check_one_model(indexes: Mapping[str, Index], folder: str | os.PathLike) -> None:
    """Checks that the indexes of a collection are of one model; `ValueError` where they are not."""
    first, *others = (index.model for index in indexes.values())
    if not all(_are_equal(first, other) for other in others):
        raise ValueError(f"{folder}: the indexes of images and texts are of different models; build both again")


def check_candidates(candidates: int, least: int, indexes: Mapping[str, Index], folder: str | os.PathLike) -> None:
    """Checks that all indexes of a collection can be searched with so many candidates; `ValueError` if not."""
    if candidates < least:
        raise ValueError(f"candidates must be at least {least}, the most results of a search, got {candidates}")
    if lacking := [modality for modality, index in indexes.items() if index.candidates is None]:
        raise ValueError(
            f"{folder}: candidates need a vector index, and that of the {lacking[0]}s has none; make one with "
            "Index.with_candidates"
        )


def warn_without_pictures(indexes: Mapping[str, Index], folder: str | os.PathLike, thumbnails: str) -> None:
    """Warns of a collection whose pictures are missing.

    Args:
        indexes: of the collection.
        folder: of the collection, or of a single index.
        thumbnails: the name of the file of the thumbnails in the folder of a collection.
    """
    if "image" not in indexes:
        return
    gallery, path = indexes["image"].gallery, Path(folder) / thumbnails
    if gallery.field("sprite") is not None:  # of version 0.1.0, whose pictures were not in its folder
        warnings.warn(f"{folder} was built by an older version and shows no pictures; build it again", stacklevel=3)
    is_collection = (Path(folder) / "image" / MANIFEST).exists()
    if is_collection and not path.exists() and any(gallery.field("picture") or ()):
        warnings.warn(f"{path} is missing, so the page shows no pictures; build it again", stacklevel=3)


def check_images(images: Path, indexes: Mapping[str, Index], folder: str | os.PathLike) -> None:
    """Checks that a folder can be that of the image files of a collection; `ValueError` if not."""
    if not images.is_dir():
        raise ValueError(f"images={images} is no folder")
    if "image" not in indexes or indexes["image"].gallery.field("file") is None:
        raise ValueError(f"{folder} names no image files, so images={images} cannot be used; build it again")


def _are_equal(one, other):
    if one.projector != other.projector or one.metadata != other.metadata:
        return False
    leaves, others = (jax.tree.leaves((model.parameters, model.bank)) for model in (one, other))
    return len(leaves) == len(others) and all(map(np.array_equal, leaves, others))
