"""The keys of every config: the paper's settings, where each comes from, and what values it may take.

X. Chen, R. Zhang, Y. Zhan, "Graph Pattern Loss based Diversified Attention Network for Cross-Modal Retrieval", arXiv
2106.13552. "unpublished" marks what the paper leaves open.
"""

import difflib

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
    """The settings of the paper; the files beside this one change what their dataset needs."""
    return config_dict.ConfigDict(
        {
            "dataset": {
                "name": "emoji",
                "variant": "",  # which files, where a dataset circulates in several forms; empty for the first
                "path": "",  # file or folder; empty for GPLDAN_DATA_DIR
                "synthetic": False,  # generated features of the dataset's shapes, for throughput
                "image_scaling": "standardize",  # unpublished; ours: helps dense features
                "text_scaling": "standardize",  # unpublished; ours: raw is better for bags of words
            },
            "model": {
                "hidden": 2048,  # DSCMR, whose weight sharing the paper takes up
                "width": 1024,  # H; DSCMR
                "parts": 4,  # k, Sec. 3.2
                "classifier_hidden": 128,  # unpublished; ours
            },
            "loss": {
                "alpha": 1.0,  # found by grid search in Sec. 3.2, value unpublished; ours: chosen on validation
                "beta": 0.1,  # likewise
                "adversarial": 0.01,  # lambda, Sec. 3.2
                "discrepancy": "absolute",  # Eq. 6 is printed signed; absolute as in Eq. 8 and CDPAE
                "target": "inputs",  # of Eq. 6: distances of the inputs; or, ours, of their neighbours
                "neighbours": 20,  # ours: with target = neighbours, how many of the training pairs
                "contrastive": 0.0,  # ours: weight of an InfoNCE term on the co-attention cosines, 0 for none
                "temperature": 0.5,  # ours: of that term
            },
            "denoise": {
                "image": 0.5,  # CDPAE, to which Sec. 2.1 refers
                "text": 0.7,  # CDPAE
            },
            "optim": {
                "learning_rate": 1e-4,  # Adam, Sec. 3.2
                "weight_decay": 1e-4,  # L2 in the gradient, as PyTorch's Adam takes it, Sec. 3.2
                "classifier_learning_rate": 5e-5,  # RMSprop, Sec. 3.2
            },
            "train": {
                "seed": 0,
                "epochs": 20,  # unpublished; ours
                "batch_size": 64,  # unpublished; usual in this family
                "remainder": "drop",  # the pairs that do not fill a batch: drop, or mask (padded)
                "selection": "map",  # on validation: map, recall (no labels needed) or last
                "evaluate_every": 1,
                "patience": 0,  # evaluations without a better one before stopping, 0 for never
            },
            "mesh": {  # where a run is computed, not what: it may change when a run is continued
                "data": 0,  # devices that share each mini-batch, 0 for all
                "resident": True,  # the training pairs stay on the devices; False where they do not fit
            },
        }
    )


class ConfigError(ValueError):
    """A config key is unknown, missing, or has a value it may not have."""


def validate(config: config_dict.ConfigDict) -> None:
    """Raises `ConfigError`, naming the key, for the first thing wrong with a config."""
    values = {f"{group}.{key}": value for group, keys in config.items() for key, value in dict(keys).items()}
    for key in values:
        if key not in _RULES:
            near = difflib.get_close_matches(key, _RULES, n=1)
            raise ConfigError(f"unknown config key {key}" + (f", did you mean {near[0]}?" if near else ""))
    for key, (expected, is_valid) in _RULES.items():
        if key not in values:
            raise ConfigError(f"config.{key} is missing, expected {expected}")
        if not is_valid(values[key]):
            raise ConfigError(f"config.{key} must be {expected}, got {values[key]!r}")
    width, parts = values["model.width"], values["model.parts"]
    if width % parts:
        raise ConfigError(f"config.model.parts must divide config.model.width, got {parts} and {width}")


def _number(low, high=float("inf"), *, above=False):
    bounds = f"above {low}" if above else f"at least {low}"
    bounds += "" if high == float("inf") else f" and at most {high}"

    def is_valid(value):
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return is_number and (low < value if above else low <= value) and value <= high and value != float("inf")

    return f"a number {bounds}", is_valid


def _whole(low):
    return f"a whole number of at least {low}", lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= low


def _seed():
    most = 2**32 - 1  # jax would drop the higher bits
    return f"a whole number from 0 to {most}", lambda v: _whole(0)[1](v) and v <= most


def _one_of(*choices):
    return f"one of {', '.join(choices)}", lambda value: value in choices


_TEXT = ("a string", lambda value: isinstance(value, str))
_BOOL = ("True or False", lambda value: isinstance(value, bool))
_RULES = {
    "dataset.name": _TEXT,
    "dataset.variant": _TEXT,
    "dataset.path": _TEXT,
    "dataset.synthetic": _BOOL,
    "dataset.image_scaling": _one_of("standardize", "raw"),
    "dataset.text_scaling": _one_of("standardize", "raw"),
    "model.hidden": _whole(1),
    "model.width": _whole(1),
    "model.parts": _whole(1),
    "model.classifier_hidden": _whole(1),
    "loss.alpha": _number(0),
    "loss.beta": _number(0),
    "loss.adversarial": _number(0),
    "loss.discrepancy": _one_of("absolute", "squared", "signed"),
    "loss.target": _one_of("inputs", "neighbours"),
    "loss.neighbours": _whole(1),
    "loss.contrastive": _number(0),
    "loss.temperature": _number(0, above=True),
    "denoise.image": _number(0, 1),
    "denoise.text": _number(0, 1),
    "optim.learning_rate": _number(0, above=True),
    "optim.weight_decay": _number(0),
    "optim.classifier_learning_rate": _number(0, above=True),
    "train.seed": _seed(),
    "train.epochs": _whole(1),
    "train.batch_size": _whole(1),
    "train.remainder": _one_of("drop", "mask"),
    "train.selection": _one_of("map", "recall", "last"),
    "train.evaluate_every": _whole(1),
    "train.patience": _whole(0),
    "mesh.data": _whole(0),
    "mesh.resident": _BOOL,
}
