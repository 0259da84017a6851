"""What a sweep tries: the values of each axis, their product, and the seeds of each point.

A point is a tuple of (config key, value), one for each axis.
"""

import dataclasses
import itertools
from collections.abc import Mapping

from ml_collections import config_dict

from configs import default

AXES = {
    "alpha": "loss.alpha",
    "beta": "loss.beta",
    "adversarial": "loss.adversarial",
    "learning_rate": "optim.learning_rate",
    "classifier_learning_rate": "optim.classifier_learning_rate",
}
"""The flags that take values to sweep, and the config key of each."""

_NAMES = {key: name for name, key in AXES.items()}
_MOST_SEEDS = 1000  # more is a seed taken for a count

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


def parse(config: Mapping[str, Mapping], flags: Mapping[str, str | None], seeds: str) -> Grid:
    """The grid that a command line asks for.

    Args:
        config: a valid config; what is not swept keeps its value there.
        flags: the text of each flag of `AXES`, numbers separated by commas; absent or `None` where it is not given.
        seeds: a number of seeds, counted from `train.seed`, or two and more seeds separated by commas.

    Returns:
        The grid, its axes in the order of `AXES`.

    Raises:
        ValueError: a text holds no numbers, one of them twice, or one that the config may not have; in one line that
            begins with the flag.

    >>> parse(default.get_config().to_dict(), {"beta": "0,0.1"}, "2")
    Grid(axes=(('loss.beta', (0.0, 0.1)),), seeds=(0, 1))
    """
    axes = tuple(
        (key, _numbers(config, f"--{name}={text}", text, key, float))
        for name, key in AXES.items()
        if (text := flags.get(name)) is not None
    )
    flag = f"--seeds={seeds}"
    listed = _numbers(config, flag, seeds, "train.seed", int)
    if len(listed) > 1:
        return Grid(axes, listed)
    count, first = listed[0], config["train"]["seed"]
    if not 1 <= count <= _MOST_SEEDS:
        raise ValueError(
            f"{flag}: a single number says how many, from 1 to {_MOST_SEEDS}; one seed alone is "
            f"--config.train.seed={count} --seeds=1"
        )
    return Grid(axes, tuple(range(first, first + count)))


def applied(config: Mapping[str, Mapping], values: Point) -> dict[str, dict]:
    """A copy of a config with some keys set.

    >>> applied({"loss": {"alpha": 1.0, "beta": 0.1}}, (("loss.beta", 0.0),))
    {'loss': {'alpha': 1.0, 'beta': 0.0}}
    """
    changed = {group: dict(keys) for group, keys in config.items()}
    for key, value in values:
        group, _, name = key.partition(".")
        changed[group][name] = value
    return changed


def name(key: str) -> str:
    """What a swept config key is called: its flag.

    >>> name("optim.learning_rate")
    'learning_rate'
    """
    return _NAMES[key]


def number(value: float) -> str:
    """A value as one would write it, exactly.

    >>> number(3.0), number(0.1), number(5e-05)
    ('3', '0.1', '5e-05')
    """
    return repr(value).removesuffix(".0")


def title(point: Point) -> str:
    """What to call a point.

    >>> title((("loss.alpha", 0.3), ("optim.learning_rate", 1e-4)))
    'alpha 0.3, learning_rate 0.0001'
    >>> title(())
    'the config as it is'
    """
    return ", ".join(f"{name(key)} {number(value)}" for key, value in point) or "the config as it is"


def _numbers(config, flag, text, key, kind):
    expected = "numbers" if kind is float else "whole numbers"
    values = []
    for item in text.split(","):
        try:
            value = kind(item)
        except ValueError:
            raise ValueError(f"{flag}: expected {expected} separated by commas, got {item!r}") from None
        try:
            default.validate(config_dict.ConfigDict(applied(config, ((key, value),))))
        except default.ConfigError as error:
            raise ValueError(f"{flag}: {error}") from error
        if value in values:
            raise ValueError(f"{flag}: {number(value)} is there twice")
        values.append(value)
    return tuple(values)
