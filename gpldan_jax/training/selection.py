"""Which epoch's model is kept, and when to stop looking; decided on validation pairs only."""

import dataclasses

CRITERIA = ("map", "recall", "last")


@dataclasses.dataclass(frozen=True)
class Selection:
    """The best epoch so far.

    Attributes:
        epoch: epochs trained when the best value was seen, 0 before the first evaluation.
        value: the best value, higher is better; `None` before the first evaluation.
        stale: evaluations since then.

    >>> selection = Selection()
    >>> for epoch, value in enumerate([0.3, 0.5, 0.5, 0.4], start=1):
    ...     selection = selection.updated(epoch, value)
    >>> selection
    Selection(epoch=2, value=0.5, stale=2)
    """

    epoch: int = 0
    value: float | None = None
    stale: int = 0

    def updated(self, epoch: int, value: float) -> "Selection":
        """The selection after an evaluation; a tie keeps the earlier epoch."""
        if self.value is None or value > self.value:
            return Selection(epoch, value, 0)
        return dataclasses.replace(self, stale=self.stale + 1)


def criterion_value(criterion: str, figures: dict[str, dict[str, float]], epoch: int) -> float:
    """What `criterion` says of the validation figures of an epoch; higher is better.

    Args:
        criterion: `"map"`: the average map@50; `"recall"`: the average of recall@1, 5 and 10 over both directions,
            which needs no labels; `"last"`: the epoch itself, so that the last one wins.
        figures: from `gpldan_jax.retrieval.evaluate`; not looked at by `"last"`.
        epoch: epochs trained.

    >>> criterion_value("map", {"map@50": {"average": 0.25}}, epoch=3)
    0.25
    """
    if criterion == "map":
        return figures["map@50"]["average"]
    if criterion == "recall":
        recalls = [values["average"] for name, values in figures.items() if name.startswith("recall@")]
        return sum(recalls) / len(recalls)
    return float(epoch)
