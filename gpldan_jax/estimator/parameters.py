"""The parameters of the estimator and the settings of `gpldan_jax.config` that they are, in both directions."""

import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np

from gpldan_jax import config as settings
from gpldan_jax.config import default

# Which setting of `gpldan_jax.config` a parameter is; `validation_fraction` and `random_state` are of the estimator.
KEYS = {"image_denoising": "denoise.image", "text_denoising": "denoise.text"} | {
    key.rpartition(".")[2]: key
    for key in settings.SETTINGS
    if key.partition(".")[0] in ("model", "loss", "optim", "train", "retrieval")
    or key in ("dataset.image_scaling", "dataset.text_scaling", "mesh.resident")
    if key not in ("loss.target", "train.seed", "train.evaluate_pairs")
}
RULES = {name: settings.SETTINGS[key].rule for name, key in KEYS.items()} | {
    "selection": settings.one_of("auto", "map", "recall", "agreement", "last"),
    "neighbours": settings.optional(settings.SETTINGS["loss.neighbours"].rule),
    "validation_fraction": settings.number(0, 1, open_ends=True),
    "resident": settings.Rule("None, True or False", lambda value: value is None or isinstance(value, bool)),
    "verbose": settings.Rule("0, 1 or 2", lambda value: isinstance(value, numbers.Integral) and value in (0, 1, 2)),
}
NOT_SAVED = ("resident", "verbose")
"""What says how a fit is made on this machine, not what comes of it; a saved model does not hold it."""


def config_of(parameters: Mapping[str, Any], seed: int) -> dict[str, dict[str, Any]]:
    """Returns the config of the run that a fit makes.

    Args:
        parameters: of the estimator.
        seed: of the run.

    Returns:
        The config.

    Example:
        >>> values = {name: default(key) for name, key in KEYS.items()}
        >>> config_of(values | {"neighbours": None}, 3)["loss"]["target"]
        'inputs'
    """
    values = {key: plain(parameters[name]) for name, key in KEYS.items() if name not in NOT_SAVED}
    values |= {"train.seed": seed, "loss.target": "neighbours"}
    if parameters["neighbours"] is None:
        values |= {"loss.target": "inputs", "loss.neighbours": default("loss.neighbours")}
    return settings.with_values(settings.default_config(), values)


def parameters_of_recipe(recipe: str) -> dict[str, Any]:
    """Returns the parameters that a recipe of `gpldan_jax.config.RECIPES` changes.

    Args:
        recipe: its name.

    Returns:
        The parameters by name.

    Raises:
        ValueError: no such recipe.

    Example:
        >>> parameters_of_recipe("ours")["neighbours"] > 0, parameters_of_recipe("paper")
        (True, {})
    """
    if recipe not in settings.RECIPES:
        raise ValueError(f"recipe must be one of {', '.join(settings.RECIPES)}, got {recipe!r}")
    names = {key: name for name, key in KEYS.items()}
    changes = dict(settings.RECIPES[recipe])
    changes.pop("loss.target", None)  # `neighbours` says it
    return {names[key]: value for key, value in changes.items()}


def parameters_of_run(config: Mapping[str, Any], path: Any) -> dict[str, Any]:
    """Returns the parameters of a run, from the config in its model file.

    Args:
        config: of the run.
        path: of its model file, for messages.

    Returns:
        The parameters; a setting that is newer than the run has its default.

    Raises:
        ValueError: the config lacks the seed.

    Example:
        >>> parameters_of_run(settings.default_config(), "model.safetensors")["neighbours"] is None
        True
    """
    values = {key: setting.default for key, setting in settings.SETTINGS.items() if key != "train.seed"}
    values |= settings.flat(config)
    try:
        parameters = {name: values[key] for name, key in KEYS.items() if name not in NOT_SAVED}
        parameters["random_state"] = values["train.seed"]
        if values["loss.target"] != "neighbours":
            parameters["neighbours"] = None
    except KeyError as error:
        raise ValueError(f"{path} is of another version of gpldan_jax: its config lacks {error}") from error
    return parameters


def parameters_of_model(metadata: Mapping[str, Any], path: Any) -> tuple[dict[str, Any], int, list[dict[str, Any]]]:
    """Returns the parameters, the seed and the history of a model that an estimator or a run saved.

    Args:
        metadata: of the model.
        path: of its file, for messages.

    Returns:
        The parameters, the seed, and the records of the epochs, none of a run.

    Raises:
        ValueError: the metadata do not say how the model was trained.

    Example:
        >>> parameters_of_model({"config": settings.default_config()}, "model.safetensors")[1:]
        (0, [])
    """
    if "estimator" in metadata:
        saved = metadata["estimator"]
        return saved["parameters"], saved["seed"], saved["history"]
    if "config" in metadata:
        parameters = parameters_of_run(metadata["config"], path)
        return parameters, parameters["random_state"], []
    raise ValueError(f"{path} holds a model without the settings of its training; use gpldan_jax.load_model")


def saved_parameters(parameters: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Returns what a saved model holds of the parameters of its estimator: plain values, without `NOT_SAVED`.

    Args:
        parameters: of the estimator.
        seed: of the run, which stands for a `random_state` that is an object.

    Returns:
        The parameters.

    Example:
        >>> saved_parameters({"alpha": np.float64(0.5), "verbose": 1, "random_state": np.random.RandomState(0)}, 7)
        {'alpha': 0.5, 'random_state': 7}
    """
    values = {name: plain(value) for name, value in parameters.items() if name not in NOT_SAVED}
    if not isinstance(values["random_state"], (int, type(None))):
        values["random_state"] = seed
    return values


def draw_seed(random_state: Any) -> int:
    """Returns the seed that a `random_state` of scikit-learn is or draws.

    Args:
        random_state: a whole number, an instance of `numpy.random.RandomState`, or `None` for NumPy's global one.

    Returns:
        A seed from 0 to 2**32 - 1.

    Raises:
        ValueError: a number out of this range, or another object.

    Example:
        >>> draw_seed(7)
        7
    """
    if isinstance(random_state, numbers.Integral):
        if not settings.SEED.is_valid(random_state):
            raise ValueError(f"random_state must be {settings.SEED.expected}, got {random_state}")
        return int(random_state)
    from sklearn.utils import check_random_state

    return int(check_random_state(random_state).randint(2**32, dtype=np.uint32))


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Checks the parameters of an estimator.

    Args:
        parameters: by name.

    Raises:
        ValueError: a parameter is out of its range, or two do not fit each other; it is named.

    Example:
        >>> check_parameters({"alpha": -1.0})
        Traceback (most recent call last):
        ValueError: alpha must be a number of at least 0, got -1.0
    """
    for name, value in parameters.items():
        rule = RULES.get(name)  # `random_state` has none: scikit-learn checks it
        if rule and not rule.is_valid(value):
            raise ValueError(f"{name} must be {rule.expected}, got {value!r}")
    if parameters["width"] % parameters["parts"]:
        raise ValueError(f"parts must divide width, got {parameters['parts']} and {parameters['width']}")
    if parameters["epochs"] and parameters["steps"] != default("train.steps"):
        raise ValueError(
            f"steps={parameters['steps']} has no effect beside epochs={parameters['epochs']}: set epochs=0"
        )
    if parameters["bank"] == 1:
        raise ValueError("bank must be 0 or at least 2, got 1")
    if parameters["soft_contrastive"] and parameters["neighbours"] is None:
        raise ValueError("soft_contrastive takes its targets from neighbourhoods, so neighbours must not be None")


def plain(value: Any) -> Any:
    """Returns a NumPy scalar as a plain number, and everything else as it is.

    Example:
        >>> plain(np.float64(0.5))
        0.5
    """
    return value.item() if isinstance(value, np.generic) else value
