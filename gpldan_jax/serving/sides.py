"""What is asked: a query of one side, or of several sides together, some of which are not wanted.

A side is words, an item of the collection, or a picture that a user sends.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gpldan_jax.index import EncodedBatch

MOST_SIDES = 8
_UNWANTED = 0.5  # how much the sides that are not wanted count, all together, beside those that are


class UnknownItemError(LookupError):
    """The collection has no such item."""


class Query(NamedTuple):
    """A query.

    Attributes:
        description: what it is, for the answer; of several sides the `sides`, each with its weight.
        encoded: a batch of one item, NumPy arrays, or of each side; `None` where the model knows no word of the query.
        weights: of the sides, where there are several; see `combine`.
    """

    description: dict[str, Any]
    encoded: EncodedBatch | None
    weights: np.ndarray | None = None

    def items(self, modality: str) -> list[str]:
        """Returns the ids of the sides that are items of the collection of this modality."""
        sides = self.description.get("sides", [self.description])
        return [side["id"] for side in sides if "id" in side and side["modality"] == modality]


def combine(wanted: Sequence[Query], unwanted: Sequence[Query] = ()) -> Query:
    """Makes one query of several sides.

    An item's score is the mean of its distances to the wanted sides, minus half the mean of its distances to the
    unwanted sides. The smallest score is the best. With u wanted and v unwanted sides the weights of the distances are
    1 / u and -1 / (2 v). Words of which the model knows none do not count.

    Args:
        wanted: queries of one side each, at least one.
        unwanted: queries of one side each.

    Returns:
        The query. Its `encoded` is `None` where the model knows no wanted side.

    Example:
        >>> one = EncodedBatch(np.ones((1, 4)), np.ones((1, 1)), np.ones((1, 1)))
        >>> side = Query({"kind": "words"}, one)
        >>> combine([side, side], [side]).weights
        array([ 0.5,  0.5, -0.5])
    """
    sides, encoded, weights = [], [], []
    for queries, whole in ((wanted, 1.0), (unwanted, -_UNWANTED)):
        known = [query for query in queries if query.encoded is not None]
        weight = whole / max(1, len(known))
        for query in queries:
            own = 0.0 if query.encoded is None else weight
            sides.append({**query.description, "wanted": queries is wanted, "weight": own})
        encoded += [query.encoded for query in known]
        weights += [weight] * len(known)
    is_known = any(query.encoded is not None for query in wanted)
    unknown = list(dict.fromkeys(word for side in sides for word in side.get("unknown", ())))
    description = {"kind": "several", "modality": None, "sides": sides, "known": is_known, "unknown": unknown}
    if not is_known:
        return Query(description, None)
    together = EncodedBatch(*(np.concatenate(arrays) for arrays in zip(*encoded, strict=True)))
    return Query(description, together, np.array(weights))
