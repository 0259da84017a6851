"""The figures of a network in training and at its end: with a bank or without, with a figure that needs no labels."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gpldan_jax.data import PairedDataset, PairedSplit
from gpldan_jax.data.paired import Pairs, split_from_checked
from gpldan_jax.models import Bank, Projector, choose_pairs, network_bank
from gpldan_jax.retrieval import evaluate_pairs, retrieval_distances
from gpldan_jax.retrieval.agreement import AGREEMENT, agreement, neighbourhood_relevance
from gpldan_jax.retrieval.relevance import Gains
from gpldan_jax.training.mesh import from_first_process, on_one_device
from gpldan_jax.training.state import TrainState

Figures = dict[str, dict[str, float]]
_SEED = 0  # of the pairs that are drawn


def ranked_pairs(split: PairedSplit, pairs: int) -> PairedSplit:
    """Returns the pairs of a split that are ranked: all, or some of very many, because all are ranked for each.

    They are drawn at random, the same whatever the seed of a run, so that the figures of several seeds compare.

    Args:
        split: any pairs.
        pairs: how many are ranked, 0 for all. Where pairs have groups, a split whose different images and texts make no
            more than `pairs**2` distances stays whole; of others whole groups are drawn.

    Returns:
        The split, or a part of it.

    Example:
        >>> split = PairedSplit(np.eye(5), np.eye(5))
        >>> len(ranked_pairs(split, 3)), ranked_pairs(split, 5) is split
        (3, True)
    """
    rows = _ranked_rows(split, pairs)
    return split if rows is None else _part(split, rows)


def with_ranked_test(dataset: PairedDataset, pairs: int) -> PairedDataset:
    """Returns a dataset whose test split has the pairs that are ranked, see `ranked_pairs`.

    Args:
        dataset: any dataset.
        pairs: as in `ranked_pairs`.

    Returns:
        The dataset; its `file_rows` are those of these pairs.

    Example:
        >>> split = PairedSplit(np.eye(5), np.eye(5))
        >>> len(with_ranked_test(PairedDataset("mine", split, split, split), 3).test)
        3
    """
    if (rows := _ranked_rows(dataset.test, pairs)) is None:
        return dataset
    known = dataset.file_rows
    file_rows = None if known is None else (*known[:2], known[2][rows])
    return dataclasses.replace(dataset, test=_part(dataset.test, rows), file_rows=file_rows)


def make_evaluator(
    dataset: PairedDataset, split: str, *, criterion: str, evaluate_pairs: int = 0
) -> Callable[..., Figures]:
    """Returns the function that evaluates a network on a split; what it needs of the data is prepared once.

    Args:
        dataset: scaled features.
        split: `"validation"` or `"test"`.
        criterion: as in `criterion_value`; `"agreement"` adds that figure.
        evaluate_pairs: how many pairs are ranked at most, see `ranked_pairs`; 0 for all.

    Returns:
        It takes a projector, its parameters on one device, and a bank or `None`; it returns the figures of
        `evaluate_parameters`, none where the split is empty.

    Example:
        >>> import jax, numpy as np
        >>> split = PairedSplit(np.eye(5, dtype=np.float32), np.eye(5, dtype=np.float32))
        >>> projector = Projector(hidden=8, width=8, parts=2)
        >>> parameters = projector.init(jax.random.key(0), split.images, split.texts)["params"]
        >>> evaluate = make_evaluator(PairedDataset("mine", split, split, split), "test", criterion="agreement")
        >>> sorted(evaluate(projector, parameters, None))
        ['agreement@50', 'recall@1', 'recall@10', 'recall@5']
    """
    pairs = ranked_pairs(getattr(dataset, split), evaluate_pairs)
    if not len(pairs):
        return lambda projector, parameters, bank: {}
    relevance = neighbourhood_relevance(pairs, dataset.train) if criterion == "agreement" else None
    return functools.partial(_evaluate, pairs, relevance)


def make_bank_maker(train: PairedSplit, bank: Mapping[str, Any] | None) -> Callable[[Projector, dict], Bank | None]:
    """Returns the function that makes the bank of a network; what it needs of the training pairs is prepared once.

    Args:
        train: the training pairs, scaled features.
        bank: `pairs`, `neighbours` and `weight`; `None` for none.

    Returns:
        It takes a projector and its parameters on one device; it returns the bank, `None` for none.

    Example:
        >>> import jax, numpy as np
        >>> split = PairedSplit(np.eye(5, dtype=np.float32), np.eye(5, dtype=np.float32))
        >>> projector = Projector(hidden=8, width=8, parts=2)
        >>> parameters = projector.init(jax.random.key(0), split.images, split.texts)["params"]
        >>> make_bank_maker(split, {"pairs": 4, "neighbours": 2, "weight": 1.0})(projector, parameters).joint.shape
        (4, 8)
    """
    if bank is None:
        return lambda projector, parameters: None
    options = dict(bank)
    pairs = choose_pairs(train.images, train.texts, pairs=options.pop("pairs"))
    return lambda projector, parameters: network_bank(projector, parameters, pairs, **options)


def evaluate_split(
    state: TrainState, split: PairedSplit, *, bank: Bank | None = None, relevance: Gains | None = None
) -> Figures:
    """Returns all metrics of a split under the projector of a state, the same in every process.

    Args:
        state: of a run.
        split: scaled features.
        bank: of training pairs, by which the items are moved; `None` for none.
        relevance: as in `evaluate_parameters`.

    Returns:
        As `gpldan_jax.retrieval.evaluate`.

    Example:
        See `evaluate_parameters`, which does the same for the parameters of one device.
    """
    parameters = on_one_device(state.projector_parameters)
    figures = evaluate_parameters(state.projector, parameters, split, bank=bank, relevance=relevance)
    return from_first_process(figures)


def evaluate_parameters(
    projector: Projector,
    parameters: dict,
    split: PairedSplit,
    *,
    bank: Bank | None = None,
    relevance: Gains | None = None,
) -> Figures:
    """Returns all metrics of a split under a projector.

    Args:
        projector: the network.
        parameters: its parameters, on one device.
        split: scaled features.
        bank: of training pairs, by which the items are moved; `None` for none.
        relevance: as `gpldan_jax.retrieval.neighbourhood_relevance` returns it for this split; adds `"agreement@50"`.

    Returns:
        As `gpldan_jax.retrieval.evaluate`.

    Example:
        >>> import jax, numpy as np
        >>> projector = Projector(hidden=8, width=8, parts=2)
        >>> split = PairedSplit(np.ones((3, 5), np.float32), np.ones((3, 4), np.float32))
        >>> parameters = projector.init(jax.random.key(0), split.images, split.texts)["params"]
        >>> evaluate_parameters(projector, parameters, split)["recall@10"]["average"]
        1.0
    """
    images, texts = split.images[split.image_rows()], split.texts[split.text_rows()]
    distances = retrieval_distances(projector, parameters, images, texts, bank=bank)
    figures = evaluate_pairs(distances, split)
    return figures | ({AGREEMENT: agreement(distances, relevance)} if relevance else {})


def _ranked_rows(split, pairs) -> np.ndarray | None:
    """The rows of the pairs that are ranked; `None` for all."""
    if not pairs or len(split) <= pairs:
        return None
    random = np.random.default_rng(_SEED)
    if split.groups is None:
        return np.sort(random.permutation(len(split))[:pairs])
    if len(split.image_rows()) * len(split.text_rows()) <= pairs**2:
        return None
    _, numbers, counts = np.unique(split.groups, return_inverse=True, return_counts=True)
    order = random.permutation(len(counts))
    drawn = order[: max(1, np.searchsorted(np.cumsum(counts[order]), pairs, side="right"))]
    return np.flatnonzero(np.isin(numbers, drawn))


def _part(split, rows):
    return split_from_checked(Pairs(split.images, split.texts, split.labels, split.groups).take(rows))


def _evaluate(split, relevance, projector, parameters, bank):
    return evaluate_parameters(projector, parameters, split, bank=bank, relevance=relevance)
