"""What a sweep tries: the values of each axis, the points of their product, the runs of each point, and their configs.

A point is a tuple of (config key, value), one for each axis. This module imports nothing slow, so that a command can
check its flags with it.
"""

import dataclasses
import itertools
import textwrap
from collections.abc import Mapping
from typing import Any

from gpldan_jax.config import default_config, flat, with_values

AXES = {
    "alpha": "loss.alpha",
    "beta": "loss.beta",
    "adversarial": "loss.adversarial",
    "learning_rate": "optim.learning_rate",
    "classifier_learning_rate": "optim.classifier_learning_rate",
}
"""The axes of a grid by name, and the config key of each."""

AXIS_NAMES = {key: name for name, key in AXES.items()}
"""The name of each swept config key."""

Config = Mapping[str, Mapping[str, Any]]
Point = tuple[tuple[str, float], ...]


@dataclasses.dataclass(frozen=True)
class Member:
    """One training run of a sweep: the swept values and the seed."""

    point: Point
    seed: int


@dataclasses.dataclass(frozen=True)
class Grid:
    """The product of some values of some config keys, and some seeds for each point.

    Attributes:
        axes: (config key, values) of each swept key.
        seeds: the seeds of every point.

    Example:
        >>> grid = Grid(axes=(("loss.alpha", (0.3, 1.0)), ("loss.beta", (0.0, 0.1))), seeds=(0, 1))
        >>> [point_title(point) for point in grid.points()]
        ['alpha 0.3, beta 0', 'alpha 0.3, beta 0.1', 'alpha 1, beta 0', 'alpha 1, beta 0.1']
        >>> [(point_title(member.point), member.seed) for member in grid.members()[:3]]
        [('alpha 0.3, beta 0', 0), ('alpha 0.3, beta 0', 1), ('alpha 0.3, beta 0.1', 0)]
    """

    axes: tuple[tuple[str, tuple[float, ...]], ...]
    seeds: tuple[int, ...]

    def varied(self) -> list[str]:
        """Returns the keys with more than one value; validation chooses among these values."""
        return [key for key, values in self.axes if len(values) > 1]

    def points(self) -> list[Point]:
        """Returns every point, the last axis fastest; a single one, `()`, where nothing is swept."""
        keys = [key for key, _ in self.axes]
        return [tuple(zip(keys, values, strict=True)) for values in itertools.product(*(v for _, v in self.axes))]

    def members(self) -> list[Member]:
        """Returns every run: the points in their order, the seeds of a point beside each other."""
        return [Member(point, seed) for point in self.points() for seed in self.seeds]


def check_criterion(criterion: str, n_points: int) -> None:
    """Checks that a criterion of `train.selection` can choose among the points of a grid."""
    if criterion == "last" and n_points > 1:
        raise ValueError("train.selection=last cannot choose among points; use map, recall or agreement")


def value_text(value: float) -> str:
    """Returns a value as a person would write it; `float` gives the same value back.

    Example:
        >>> value_text(3.0), value_text(0.1), value_text(5e-05)
        ('3', '0.1', '5e-05')
    """
    return repr(value).removesuffix(".0")


def point_title(point: Point) -> str:
    """Returns the name of a point in tables and messages.

    Example:
        >>> point_title((("loss.alpha", 0.3), ("optim.learning_rate", 1e-4)))
        'alpha 0.3, learning_rate 0.0001'
        >>> point_title(())
        'the config as it is'
    """
    return ", ".join(f"{AXIS_NAMES[key]} {value_text(value)}" for key, value in point) or "the config as it is"


def member_config(config: Config, member: Member) -> dict[str, dict[str, Any]]:
    """Returns the config of one run of a sweep.

    Example:
        >>> member_config({"loss": {"alpha": 1.0}, "train": {"seed": 0}}, Member((("loss.alpha", 0.3),), 7))
        {'loss': {'alpha': 0.3}, 'train': {'seed': 7}}
    """
    return with_values(config, {**dict(member.point), "train.seed": member.seed})


def best_config_source(
    config: Config, point: Point, grid: Grid, *, title: str, command: str, run: str, figure: str
) -> str:
    """Returns the source of a config file with the point that a sweep of `config` selected.

    Its docstring has the title of the dataset, the command of the sweep, the command that trains with this file
    (`run`), and the figure to expect. A key with a single value in the grid is not marked as chosen.
    """
    known, chosen = flat(default_config()), grid.varied()
    lines = []
    for key, value in sorted(flat(with_values(config, dict(point))).items()):
        if key in chosen or value != known[key]:
            comment = "  # ours: chosen on validation by a sweep" if key in chosen else ""
            lines.append(f"    config.{key} = {_literal(value)}{comment}\n")
    about = _fill(f"{title}: {point_title(point)}{', chosen on validation by a sweep' * bool(chosen)}.")
    expected = _fill(f"Expected: {figure}, as found by")
    docstring = f"{about}\n\nModel and loss: arXiv 2106.13552.\n\n    {run}\n\n{expected}\n\n    {command}\n"
    return (
        f'"""{_in_docstring(docstring)}"""\n\n'
        "from ml_collections import config_dict\n\n"
        "from gpldan_jax.config import default_config\n\n\n"
        "def get_config():\n"
        '    """The settings of the sweep, at the point it selected."""\n'
        "    config = config_dict.ConfigDict(default_config())\n" + "".join(lines) + "    return config\n"
    )


def _literal(value):
    text = repr(value)
    is_plain = isinstance(value, str) and not set(text[1:-1]) & {"'", '"'}
    return f'"{text[1:-1]}"' if is_plain else text  # quotes as in the other configs


def _fill(text):
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _in_docstring(text):
    # File names may hold anything, bytes that are not UTF-8 included.
    text = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return text.encode(errors="backslashreplace").decode()
