"""What a sweep tries: the values of each axis, their product, and the seeds of each point.

A point is a tuple of (config key, value), one for each axis.
"""

import dataclasses
import itertools

AXES = {
    "alpha": "loss.alpha",
    "beta": "loss.beta",
    "adversarial": "loss.adversarial",
    "learning_rate": "optim.learning_rate",
    "classifier_learning_rate": "optim.classifier_learning_rate",
}
"""The flags that take values to sweep, and the config key of each."""

_NAMES = {key: name for name, key in AXES.items()}

Point = tuple[tuple[str, float], ...]


@dataclasses.dataclass(frozen=True)
class Member:
    """One training run of a sweep."""

    point: Point
    seed: int


@dataclasses.dataclass(frozen=True)
class Grid:
    """The product of some values of some config keys, each with some seeds.

    Attributes:
        axes: (config key, values) of each swept key.
        seeds: the seeds of every point.

    Example:
        >>> grid = Grid(axes=(("loss.alpha", (0.3, 1.0)), ("loss.beta", (0.0, 0.1))), seeds=(0, 1))
        >>> [title(point) for point in grid.points()]
        ['alpha 0.3, beta 0', 'alpha 0.3, beta 0.1', 'alpha 1, beta 0', 'alpha 1, beta 0.1']
        >>> [(title(member.point), member.seed) for member in grid.members()[:3]]
        [('alpha 0.3, beta 0', 0), ('alpha 0.3, beta 0', 1), ('alpha 0.3, beta 0.1', 0)]
    """

    axes: tuple[tuple[str, tuple[float, ...]], ...]
    seeds: tuple[int, ...]

    def varied(self) -> list[str]:
        """The keys with more than one value, among which there is something to choose."""
        return [key for key, values in self.axes if len(values) > 1]

    def points(self) -> list[Point]:
        """Every point, the last axis fastest; a single one, `()`, where nothing is swept."""
        keys = [key for key, _ in self.axes]
        return [tuple(zip(keys, values, strict=True)) for values in itertools.product(*(v for _, v in self.axes))]

    def members(self) -> list[Member]:
        """Every run: the points in their order, the seeds of a point beside each other."""
        return [Member(point, seed) for point in self.points() for seed in self.seeds]


def check_criterion(criterion: str, n_points: int) -> None:
    """`ValueError` where a criterion cannot choose among so many points."""
    if criterion == "last" and n_points > 1:
        raise ValueError("train.selection=last cannot choose among points; use map or recall")


def name(key: str) -> str:
    """What a swept config key is called: its flag.

    Example:
        >>> name("optim.learning_rate")
        'learning_rate'
    """
    return _NAMES[key]


def number(value: float) -> str:
    """A value as one would write it, exactly.

    Example:
        >>> number(3.0), number(0.1), number(5e-05)
        ('3', '0.1', '5e-05')
    """
    return repr(value).removesuffix(".0")


def title(point: Point) -> str:
    """What to call a point.

    Example:
        >>> title((("loss.alpha", 0.3), ("optim.learning_rate", 1e-4)))
        'alpha 0.3, learning_rate 0.0001'
        >>> title(())
        'the config as it is'
    """
    return ", ".join(f"{name(key)} {number(value)}" for key, value in point) or "the config as it is"
