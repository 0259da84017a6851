"""The list of settings: defaults, what each may be, and the configs of datasets."""

import math

import numpy as np
import pytest

from gpldan_jax import config as settings
from gpldan_jax.config import ConfigError
from gpldan_jax.data import dataset_names


def changed(**values):
    return settings.with_values(settings.default_config(), {key.replace("__", "."): of for key, of in values.items()})


def test_the_defaults_are_allowed_and_each_says_where_it_comes_from():
    settings.validate(settings.default_config())
    assert settings.flat(settings.default_config()) == {key: of.default for key, of in settings.SETTINGS.items()}
    assert all(of.origin and of.rule.expected for of in settings.SETTINGS.values())


def test_a_key_of_ones_own_is_refused_with_the_near_one():
    with pytest.raises(ConfigError, match=r"unknown config key loss\.alhpa, did you mean loss\.alpha\?"):
        settings.validate(changed(loss__alhpa=0.3))


def test_a_missing_key_is_named():
    config = settings.default_config()
    del config["train"]["patience"]
    with pytest.raises(ConfigError, match=r"config\.train\.patience is missing, expected a whole number"):
        settings.validate(config)


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, True, "1", None])
def test_a_number_out_of_range_is_named(value):
    with pytest.raises(ConfigError, match=r"config\.loss\.alpha must be a number of at least 0, got"):
        settings.validate(changed(loss__alpha=value))


@pytest.mark.parametrize(
    ("key", "allowed", "refused"),
    [
        ("loss.temperature", (1e-9, 5), (0, -1)),
        ("denoise.image", (0, 1, np.float32(0.5)), (1.1, -0.1)),
        ("train.seed", (0, 2**32 - 1, np.int64(3)), (2**32, -1, 1.0)),
        ("train.remainder", ("drop", "mask"), ("keep", 1, None)),
        ("mesh.resident", (True, False), (1, "True")),
        ("dataset.path", ("", "x.npz"), (None, 3)),
    ],
)
def test_what_a_setting_may_be(key, allowed, refused):
    for value in allowed:
        settings.check(key, value)
    for value in refused:
        with pytest.raises(ConfigError, match=rf"^config\.{key} must be "):
            settings.check(key, value)


def test_parts_divide_the_width():
    with pytest.raises(ConfigError, match=r"parts must divide config\.model\.width, got 3 and 1024"):
        settings.validate(changed(model__parts=3))


def test_a_copy_leaves_the_original_alone():
    config = settings.default_config()
    assert settings.with_values(config, {"loss.alpha": 0.5})["loss"]["alpha"] == 0.5
    assert config == settings.default_config()


def test_every_dataset_has_a_config_in_both_recipes():
    for name in dataset_names():
        for recipe in settings.RECIPES:
            config = settings.dataset_config(name, recipe=recipe)
            settings.validate(config)
            assert config["dataset"]["name"] == name
    assert settings.dataset_config("wikipedia", "raw")["dataset"]["variant"] == "raw"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("wikipedai",),
            "unknown dataset 'wikipedai' (did you mean 'wikipedia'?); expected one of emoji, openclipart,",
        ),
        (("wikipedia", "rwa"), "unknown variant of wikipedia 'rwa' (did you mean 'raw'?)"),
        (("emoji", "", "mine"), "unknown recipe 'mine'; expected one of paper, ours"),
    ],
)
def test_an_unknown_name_is_refused_with_the_near_one(arguments, message):
    with pytest.raises(ConfigError) as error:
        settings.dataset_config(*arguments)
    assert str(error.value).startswith(message)
