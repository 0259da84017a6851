"""Filters of a collection: which of its items have a class or a split, and how many."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from gpldan_jax.data.paired import SPLITS
from gpldan_jax.index import Index

FIELDS = ("group", "split")
"""The fields that a search can be filtered by."""
_MOST_VALUES = 1000  # a field with more different values tells items apart and is no class


@dataclasses.dataclass(frozen=True, eq=False)
class Filters:
    """The values of the fields of all items, and how many items have each.

    Attributes:
        counts: by modality and field, how many items have each value, in the order of the values; fields that no item
            has are missing.
        codes: by modality and field, for each item the place of its value in `counts`, -1 where it has none.
        items: by modality, how many items there are.
    """

    counts: Mapping[str, Mapping[str, Mapping[str, int]]]
    codes: Mapping[str, Mapping[str, np.ndarray]]
    items: Mapping[str, int]

    @classmethod
    def of(cls, indexes: Mapping[str, Index]) -> "Filters":
        """Reads the fields of all items once.

        Args:
            indexes: by modality.

        Returns:
            The filters.
        """
        counts: dict[str, dict] = {modality: {} for modality in indexes}
        codes: dict[str, dict] = {modality: {} for modality in indexes}
        for modality, index in indexes.items():
            for field in FIELDS:
                texts = index.gallery.field(field)
                if texts is None:
                    continue
                places: dict[str, int] = {}
                numbers = np.fromiter((places.setdefault(text, len(places)) for text in texts), np.int32, len(index))
                found = sorted(filter(None, places), key=_order)
                if not found or len(found) > _MOST_VALUES:
                    continue
                order = np.full(len(places), -1, np.int32)
                order[[places[value] for value in found]] = np.arange(len(found))
                codes[modality][field] = order[numbers]
                totals = np.bincount(codes[modality][field] + 1, minlength=len(found) + 1)[1:]
                counts[modality][field] = dict(zip(found, totals.tolist(), strict=True))
        return cls(counts, codes, {modality: len(index) for modality, index in indexes.items()})

    def passing(self, modality: str, chosen: Mapping[str, str]) -> np.ndarray | None:
        """Returns which items of a modality have the chosen values.

        Args:
            modality: of the items.
            chosen: the value of each field to filter by.

        Returns:
            `[n]` bool; `None` where nothing is chosen.

        Raises:
            ValueError: no item of any modality has a chosen value.
        """
        if not chosen:
            return None
        passing = np.ones(self.items[modality], bool)
        for field, value in chosen.items():
            if not any(value in counts.get(field, ()) for counts in self.counts.values()):
                raise ValueError(f"no item has the {field} {value[:60]!r}")
            values = list(self.counts[modality].get(field, ()))
            passing &= self.codes[modality][field] == values.index(value) if value in values else False
        return passing


def _order(value):
    """Splits in their usual order, other values as a dictionary has them."""
    return (SPLITS.index(value), "") if value in SPLITS else (len(SPLITS), value.casefold(), value)
