"""The one list of settings: each default, where it comes from, and which values are allowed.

The paper is X. Chen, R. Zhang, Y. Zhan, "Graph Pattern Loss based Diversified Attention Network for Cross-Modal
Retrieval", arXiv 2106.13552. "unpublished" marks what it leaves open; "ours" marks a choice of this package.

A config is a dict of groups, such as `{"loss": {"alpha": 1.0}}`; a key is `group.name`, such as `"loss.alpha"`. The
commands, `configs/`, the estimator and `create_train_state` take their defaults from here.
"""

import dataclasses
import difflib
import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any


class ConfigError(ValueError):
    """A setting is unknown, missing, or has a value that is not allowed."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """Which values a setting may have.

    Attributes:
        expected: in words, for messages.
        is_valid: whether a value is allowed.
    """

    expected: str
    is_valid: Callable[[Any], bool]


def number(low: float = -math.inf, high: float = math.inf, *, open_ends: bool = False) -> Rule:
    """A finite number from `low` to `high`; `open_ends` excludes both ends."""

    def is_valid(value):
        if not is_number(value):
            return False
        return low < value < high if open_ends else low <= value <= high

    bounds = f"above {low}" if open_ends else f"of at least {low}"
    if high != math.inf:
        bounds += f" and below {high}" if open_ends else f" and at most {high}"
    return Rule(f"a number {bounds}", is_valid)


def whole(low: int, high: float = math.inf) -> Rule:
    """A whole number from `low` to `high`."""
    bounds = f"of at least {low}" if high == math.inf else f"from {low} to {high}"
    return Rule(f"a whole number {bounds}", lambda value: is_number(value, numbers.Integral) and low <= value <= high)


def one_of(*choices: str) -> Rule:
    """One of some strings."""
    return Rule(f"one of {', '.join(choices)}", lambda value: isinstance(value, str) and value in choices)


def optional(rule: Rule) -> Rule:
    """What a rule allows, or `None`."""
    return Rule(f"None or {rule.expected}", lambda value: value is None or rule.is_valid(value))


def is_number(value: Any, kind: type[Any] = numbers.Real) -> bool:
    """Whether a value is a finite number of a kind; True and False are not.

    Example:
        >>> is_number(2.5), is_number(2.5, numbers.Integral), is_number(True)
        (True, False, False)
    """
    # numpy's bool is no `numbers.Real`.
    return isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)


TEXT = Rule("a string", lambda value: isinstance(value, str))
BOOLEAN = Rule("True or False", lambda value: isinstance(value, bool))
SEED = whole(0, 2**32 - 1)  # jax would drop the higher bits


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        key: `"group.name"`.
        default: its value unless a config says otherwise.
        rule: which values it may have.
        origin: where the default comes from and what the setting does.
    """

    key: str
    default: Any
    rule: Rule
    origin: str


_SETTINGS = (
    Setting("dataset.name", "emoji", TEXT, "a name of `data.dataset_names()`"),
    Setting("dataset.variant", "", TEXT, "which files, where a dataset circulates in several forms; empty: the first"),
    Setting("dataset.path", "", TEXT, "file or folder; empty: the folder GPLDAN_DATA_DIR"),
    Setting("dataset.synthetic", False, BOOLEAN, "generated features of the dataset's shapes, to measure speed"),
    Setting("dataset.image_scaling", "standardize", one_of("standardize", "raw"), "unpublished; ours"),
    Setting("dataset.text_scaling", "standardize", one_of("standardize", "raw"), "unpublished; ours"),
    Setting("dataset.cut_groups", False, BOOLEAN, "allow a split of yours that cuts groups of pairs"),
    Setting("model.hidden", 2048, whole(1), "DSCMR, whose weight sharing the paper takes up"),
    Setting("model.width", 1024, whole(1), "H; DSCMR"),
    Setting("model.parts", 4, whole(1), "k, Sec. 3.2; it must divide model.width"),
    Setting("model.classifier_hidden", 128, whole(1), "unpublished; ours"),
    Setting("loss.alpha", 1.0, number(0), "weight of L_ud; found by grid search in Sec. 3.2, unpublished; ours"),
    Setting("loss.beta", 0.1, number(0), "weight of L_md; found by grid search in Sec. 3.2, unpublished; ours"),
    Setting("loss.adversarial", 0.01, number(0), "lambda of Eq. 11, Sec. 3.2"),
    Setting("loss.discrepancy", "absolute", one_of("absolute", "squared", "signed"),
            "rho of Eq. 6, which is printed signed; absolute as in Eq. 8 and in CDPAE"),
    Setting("loss.target", "inputs", one_of("inputs", "neighbours"),
            "target distances of Eq. 6: of the inputs, or (ours) of their neighbourhoods"),
    Setting("loss.neighbours", 20, whole(1), "ours: training pairs in a neighbourhood, with target = neighbours"),
    Setting("loss.contrastive", 0.0, number(0), "ours: weight of an InfoNCE term on co-attention cosines, 0 for none"),
    Setting("loss.temperature", 0.5, number(0, open_ends=True), "ours: temperature of the InfoNCE term"),
    Setting("loss.soft_contrastive", 0.0, number(0),
            "ours: weight of a contrastive term with soft targets from the neighbourhoods, 0 for none"),
    Setting("loss.soft_temperature", 0.2, number(0, open_ends=True), "ours: temperature of that term"),
    Setting("loss.soft_within", 1.0, number(0), "ours: weight in that term of its parts within a modality"),
    Setting("denoise.image", 0.5, number(0, 1), "share of image columns set to zero; CDPAE, to which Sec. 2.1 refers"),
    Setting("denoise.text", 0.7, number(0, 1), "share of text columns set to zero; CDPAE"),
    Setting("optim.learning_rate", 1e-4, number(0, open_ends=True), "Adam, Sec. 3.2"),
    Setting("optim.weight_decay", 1e-4, number(0), "L2 in the gradient, as PyTorch's Adam takes it, Sec. 3.2"),
    Setting("optim.classifier_learning_rate", 5e-5, number(0, open_ends=True), "RMSprop, Sec. 3.2"),
    Setting("train.seed", 0, SEED, "seed of the run"),
    Setting("train.epochs", 20, whole(0), "unpublished; ours; 0 for as many as train.steps needs"),
    Setting("train.steps", 200, whole(1), "ours: mini-batches to train at least, where train.epochs is 0"),
    Setting("train.batch_size", 64, whole(1), "unpublished; usual in this family of methods"),
    Setting("train.remainder", "drop", one_of("drop", "mask"), "pairs that do not fill a batch: left out, or padded"),
    Setting("train.selection", "map", one_of("map", "recall", "agreement", "last"),
            "how the epoch is chosen on validation: map@50; without labels recall of partners or agreement with the "
            "neighbourhoods of both modalities; or the last epoch"),
    Setting("train.evaluate_every", 1, whole(1), "epochs from one evaluation to the next"),
    Setting("train.evaluate_pairs", 12_000, whole(0),
            "pairs of a larger validation or test split that are ranked, drawn at random; 0 for all. The test of COCO, "
            "5,000 images and 25,010 texts, is ranked whole"),
    Setting("train.patience", 0, whole(0), "evaluations without a better one before stopping, 0 for never"),
    Setting("retrieval.bank", 0, whole(0),
            "ours: pairs that retrieval goes through, at most, or means of pairs; 0 for none, as the paper"),
    Setting("retrieval.bank_neighbours", 10, whole(1), "ours: how many of them are the nearest ones of an item"),
    Setting("retrieval.bank_weight", 1.0, number(0), "ours: how far they move an item"),
    Setting("mesh.data", 0, whole(0), "devices that share each mini-batch, 0 for all"),
    Setting("mesh.resident", True, BOOLEAN, "keep the training pairs on the devices; False where they do not fit"),
)  # fmt: skip
SETTINGS: Mapping[str, Setting] = {setting.key: setting for setting in _SETTINGS}
"""Every setting by its key."""

COMPUTING_GROUP = "mesh"
"""The group that says where a run is computed, not what: it may change when a run is continued."""

# What each dataset changes, by name and variant.
_FEW_COLUMNS = {"denoise.image": 0.0, "denoise.text": 0.0}  # ours: better on validation (128/100), no difference (raw)
_DATASETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "emoji": {
        "": {
            "dataset.text_scaling": "raw",  # ours: binary bags of words
            "train.epochs": 30,  # ours: map@50 on validation has levelled off
        }
    },
    "openclipart": {
        "": {
            "dataset.text_scaling": "raw",  # ours: binary bags of words
            "train.epochs": 30,  # ours: map@50 on validation has levelled off
        }
    },
    "wikipedia": {"cnn128_text100": _FEW_COLUMNS, "raw": _FEW_COLUMNS, "vgg19_bert": {}},
    "pascal": {"": {}},
    "nuswide": {"": {}, "multilabel": {}},
    "mirflickr": {"": {}},
    "xmedia": {"": {"dataset.text_scaling": "raw"}},
    "cub": {
        "": {
            "dataset.image_scaling": "raw",  # ours: better than standardised on validation, three seeds
            "train.epochs": 80,  # ours: map@50 on validation has levelled off
        }
    },
    "npz": {"": {"train.selection": "agreement"}},  # ours: works without labels
}
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    # Ours: one recipe for all datasets, chosen without test pairs; docs/results/README.md has the trials and figures.
    "ours": {
        "model.parts": 1,
        "loss.target": "neighbours",
        "loss.neighbours": 10,
        "loss.soft_contrastive": 0.2,
        "loss.soft_within": 0.3,
        "denoise.image": 0.0,
        "denoise.text": 0.0,
        "train.epochs": 0,  # train.steps: with a bank, longer training is no better, whatever the size of the data
        "train.selection": "agreement",
        "retrieval.bank": 2048,
    },
}
"""Changes to the settings of a dataset, by name."""


def default(key: str) -> Any:
    """The default of a setting.

    Example:
        >>> default("loss.alpha")
        1.0
    """
    return SETTINGS[key].default


def default_config() -> dict[str, dict[str, Any]]:
    """The settings of the paper as a config."""
    config: dict[str, dict[str, Any]] = {}
    for setting in _SETTINGS:
        group, _, name = setting.key.partition(".")
        config.setdefault(group, {})[name] = setting.default
    return config


def dataset_config(name: str, variant: str = "", recipe: str = "paper") -> dict[str, dict[str, Any]]:
    """The config of a dataset.

    Args:
        name: of the dataset.
        variant: which of its forms; empty for the first.
        recipe: one of `RECIPES`.

    Example:
        >>> dataset_config("emoji")["train"]["epochs"], dataset_config("cub", recipe="ours")["loss"]["target"]
        (30, 'neighbours')
    """
    _one_known("dataset", name, _DATASETS)
    variants = _DATASETS[name]
    variant = variant or next(iter(variants))
    _one_known(f"variant of {name}", variant, variants)
    _one_known("recipe", recipe, RECIPES)
    changes = {"dataset.name": name, "dataset.variant": variant, **variants[variant], **RECIPES[recipe]}
    return with_values(default_config(), changes)


def dataset_names() -> tuple[str, ...]:
    """Returns the datasets that have a config, with the names of their variants, as `--dataset` takes them.

    Example:
        >>> dataset_names()[2]
        'wikipedia[:cnn128_text100|raw|vgg19_bert]'
    """
    variants = {name: "|".join(found) for name, found in _DATASETS.items()}
    return tuple(f"{name}[:{found.lstrip('|')}]" if found else name for name, found in variants.items())


def with_values(config: Mapping[str, Mapping[str, Any]], values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A copy of a config with other values.

    Example:
        >>> with_values({"loss": {"alpha": 1.0, "beta": 0.1}}, {"loss.beta": 0.0})
        {'loss': {'alpha': 1.0, 'beta': 0.0}}
    """
    changed = {group: dict(names) for group, names in config.items()}
    for key, value in values.items():
        group, _, name = key.partition(".")
        changed.setdefault(group, {})[name] = value
    return changed


def with_newer_settings(config: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """A copy of a config of an older version, in which settings that it does not know have their defaults.

    Example:
        >>> with_newer_settings({"loss": {"alpha": 2.0}})["loss"]["alpha"], with_newer_settings({})["loss"]["alpha"]
        (2.0, 1.0)
    """
    return with_values(default_config(), flat(config))


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of a nested config by key.

    Example:
        >>> flat({"loss": {"alpha": 1.0}})
        {'loss.alpha': 1.0}
    """
    values: dict[str, Any] = {}
    for key, value in config.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return values


def check_key(key: str) -> None:
    """Checks that a setting is known."""
    if key not in SETTINGS:
        near = difflib.get_close_matches(key, SETTINGS, n=1)
        raise ConfigError(f"unknown config key {key}" + (f", did you mean {near[0]}?" if near else ""))


def check(key: str, value: Any) -> None:
    """Checks one value."""
    rule = SETTINGS[key].rule
    if not rule.is_valid(value):
        raise ConfigError(f"config.{key} must be {rule.expected}, got {value!r}")


def validate(config: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks a whole config."""
    values = flat(config)
    for key in values:
        check_key(key)
    for key, setting in SETTINGS.items():
        if key not in values:
            raise ConfigError(f"config.{key} is missing, expected {setting.rule.expected}")
        check(key, values[key])
    width, parts = values["model.width"], values["model.parts"]
    if width % parts:
        raise ConfigError(f"config.model.parts must divide config.model.width, got {parts} and {width}")
    if values["train.epochs"] and values["train.steps"] != default("train.steps"):
        raise ConfigError(
            f"config.train.steps={values['train.steps']} has no effect beside config.train.epochs="
            f"{values['train.epochs']}: set config.train.epochs=0, or leave config.train.steps out"
        )
    if values["retrieval.bank"] == 1:
        raise ConfigError("config.retrieval.bank must be 0 or at least 2, got 1")
    if values["loss.soft_contrastive"] and values["loss.target"] != "neighbours":
        raise ConfigError(
            "config.loss.soft_contrastive takes its targets from neighbourhoods, so config.loss.target must be "
            f"'neighbours', got {values['loss.target']!r}"
        )


def _one_known(kind: str, name: str, known: Mapping[str, Any]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ConfigError(f"unknown {kind} {name!r}{hint}; expected one of {', '.join(filter(None, known))}")
