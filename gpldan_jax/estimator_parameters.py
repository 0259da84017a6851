"""The parameters of `GPLDAN`: their ranges, and which settings of a run they are."""

import math
import numbers
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def check(parameters: Mapping[str, Any]) -> None:
    """`ValueError`, naming the parameter, for the first that is out of its range.

    Example:
        >>> check({"epochs": 0})
        Traceback (most recent call last):
        ValueError: epochs must be a whole number of at least 1, got 0
    """
    for name, value in parameters.items():
        expected, is_valid = _RULES.get(name, _ANY)
        if not is_valid(value):
            raise ValueError(f"{name} must be {expected}, got {value!r}")
    width, parts = parameters.get("width", 1), parameters.get("parts", 1)
    if width % parts:
        raise ValueError(f"parts must divide width, got {parts} and {width}")


def of_run(config: Mapping[str, Mapping[str, Any]], path: str | os.PathLike) -> dict[str, Any]:
    """The parameters of a run of `experiments/run.py`, from the config that its model file `path` has.

    Raises:
        ValueError: the config lacks one.
    """
    try:
        parameters = {name: config[group][key] for name, (group, key) in _KEYS.items()}
        if config["loss"]["target"] != "neighbours":
            parameters["neighbours"] = None
    except KeyError as error:
        raise ValueError(f"{path} is of another version of experiments/run.py: its config lacks {error}") from error
    return parameters


# Which key of configs/default.py is which parameter. `validation_fraction` has none, `resident` may differ.
_KEYS = {
    "image_denoising": ("denoise", "image"),
    "text_denoising": ("denoise", "text"),
    "random_state": ("train", "seed"),
} | {
    name: (group, name)
    for group, names in {
        "dataset": "image_scaling text_scaling",
        "model": "hidden width parts classifier_hidden",
        "loss": "alpha beta adversarial discrepancy neighbours contrastive temperature",
        "optim": "learning_rate weight_decay classifier_learning_rate",
        "train": "epochs batch_size remainder selection evaluate_every patience",
    }.items()
    for name in names.split()
}

_Rule = tuple[str, Callable[[Any], bool]]


def _number(low: float, high: float = math.inf) -> _Rule:
    bounds = f"at least {low}" + ("" if high == math.inf else f" and at most {high}")
    return f"a number of {bounds}", lambda value: _is_number(value) and low <= value <= high


def _between(low: float, high: float = math.inf) -> _Rule:
    bounds = f"above {low}" + ("" if high == math.inf else f" and below {high}")
    return f"a number {bounds}", lambda value: _is_number(value) and low < value < high


def _whole(low: int) -> _Rule:
    return f"a whole number of at least {low}", lambda value: _is_number(value, numbers.Integral) and value >= low


def _one_of(*choices: str) -> _Rule:
    return f"one of {', '.join(choices)}", lambda value: isinstance(value, str) and value in choices


def _is_number(value, kind=numbers.Real) -> bool:
    return isinstance(value, kind) and not isinstance(value, (bool, np.bool_)) and math.isfinite(value)


_ANY = "anything", lambda value: True  # of `random_state`, which scikit-learn checks
_RULES = {
    "alpha": _number(0),
    "beta": _number(0),
    "adversarial": _number(0),
    "discrepancy": _one_of("absolute", "squared", "signed"),
    "neighbours": ("None or " + _whole(1)[0], lambda value: value is None or _whole(1)[1](value)),
    "contrastive": _number(0),
    "temperature": _between(0),
    "image_denoising": _number(0, 1),
    "text_denoising": _number(0, 1),
    "learning_rate": _between(0),
    "weight_decay": _number(0),
    "classifier_learning_rate": _between(0),
    "hidden": _whole(1),
    "width": _whole(1),
    "parts": _whole(1),
    "classifier_hidden": _whole(1),
    "epochs": _whole(1),
    "batch_size": _whole(1),
    "remainder": _one_of("drop", "mask"),
    "selection": _one_of("auto", "map", "recall", "last"),
    "validation_fraction": _between(0, 1),
    "evaluate_every": _whole(1),
    "patience": _whole(0),
    "image_scaling": _one_of("standardize", "raw"),
    "text_scaling": _one_of("standardize", "raw"),
    "resident": ("True or False", lambda value: isinstance(value, bool)),
}
