"""The dataset of a fit: which pairs are trained on, and which are held out to choose the epoch."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from gpldan_jax import data
from gpldan_jax.data.frames import check_pairs
from gpldan_jax.data.paired import PairedDataset, PairedSplit, Pairs, dataset_from_checked


def fit_dataset(
    pairs: Pairs,
    validation: Any = None,
    *,
    selection: str,
    validation_fraction: float,
    batch_size: int,
    seed: int,
) -> PairedDataset:
    """Returns the dataset of a fit, without test pairs.

    Args:
        pairs: all pairs that were given to `fit`, checked.
        validation: `(images, texts)` or `(images, texts, labels)`, not checked; `None` for a part of `pairs`.
        selection: as in `GPLDAN`; with "last" no pairs are held out.
        validation_fraction: share of the pairs to hold out, above 0 and below 1.
        batch_size: pairs of a mini-batch.
        seed: draws the pairs that are held out.

    Returns:
        The dataset, not scaled.

    Raises:
        ValueError: `validation` beside groups, labels that are missing, or no pairs to hold out.

    Warns:
        UserWarning: fewer training pairs than `batch_size`.

    Example:
        >>> pairs = check_pairs(np.eye(10), np.eye(10), None, None)
        >>> options = {"selection": "recall", "validation_fraction": 0.2, "batch_size": 4, "seed": 0}
        >>> len(fit_dataset(pairs, **options).train)
        8
    """
    if pairs.groups is not None and validation is not None:
        raise ValueError("groups decide which pairs are held out; with validation pairs, leave them out")
    if selection == "map" and pairs.labels is None:
        raise ValueError("selection='map' needs labels; 'auto', 'agreement', 'recall' and 'last' do not")
    rows: Any = slice(None)
    held_out: Any = slice(0)
    if validation is not None:
        validation = _check_validation(validation, pairs)
    elif selection != "last":
        rows, held_out = _hold_out(pairs, validation_fraction, seed)
    splits = (pairs.take(rows), validation or pairs.take(held_out), pairs.take(slice(0)))
    dataset = dataset_from_checked("GPLDAN.fit", splits)
    n, m = len(pairs.images), len(dataset.train)
    if batch_size > m:
        held = f" ({n - m} of {n} are held out)" if m < n else ""
        message = f"batch_size={batch_size} is more than the {m} training pairs{held}: a mini-batch has all"
        warnings.warn(message, stacklevel=3)
    return dataset


def scored_pairs(
    images: Any, texts: Any, labels: Any = None, groups: Any = None, dtypes: Mapping[str, np.dtype] | None = None
) -> PairedSplit:
    """Returns the pairs that a fitted estimator is scored on.

    Args:
        images: `[n, d_i]`, not scaled.
        texts: `[n, d_t]`, their partners.
        labels: as in `GPLDAN.fit`, or `None`.
        groups: as in `GPLDAN.fit`, or `None`.
        dtypes: as in `gpldan_jax.data.frames.check_pairs`.

    Returns:
        The pairs.

    Raises:
        ValueError: as `gpldan_jax.data.frames.check_pairs`.

    Example:
        >>> len(scored_pairs(np.eye(3), np.eye(3)))
        3
    """
    pairs = check_pairs(images, texts, labels, groups, dtypes=dtypes)
    return dataset_from_checked("GPLDAN.score", (pairs, pairs.take(slice(0)), pairs.take(slice(0)))).train


def _hold_out(pairs: Pairs, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows to train on and the rows to choose the epoch by."""
    groups = np.arange(len(pairs.images)) if pairs.groups is None else pairs.groups
    rows, held_out = data.grouped_split(groups, pairs.labels, (1 - fraction, fraction), seed=seed)
    if not len(held_out):
        what = "pairs" if pairs.groups is None else "groups"
        raise ValueError(
            f"validation_fraction={fraction} of {len(set(groups.tolist()))} {what} is none to choose an epoch by; "
            "give more, validation=(images, texts), or selection='last'"
        )
    return rows, held_out


def _check_validation(validation: Any, train: Pairs) -> Pairs:
    if not isinstance(validation, (tuple, list)) or len(validation) not in (2, 3):
        raise ValueError("validation must be (images, texts) or (images, texts, labels)")
    images, texts, found = (*validation, None)[:3]
    dtypes = {"image": train.images.dtype, "text": train.texts.dtype}
    pairs = check_pairs(images, texts, found, prefix="validation ", dtypes=dtypes)
    if (train.labels is None) != (pairs.labels is None):
        raise ValueError("labels must be given for the training and the validation pairs, or for neither")
    return pairs
