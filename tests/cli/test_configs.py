"""Each config: valid, read to the last key, and one epoch of training on its dataset's shapes."""

import importlib
import json
import re

import pytest

from gpldan_jax import config as settings
from gpldan_jax.runs import session
from tests.commands import ROOT

CONFIGS = ["emoji", "wikipedia", "wikipedia:raw", "wikipedia:vgg19_bert", "pascal", "nuswide", "xmedia", "cub", "npz"]
CONFIGS += ["ours", "ours:cub"]


def get(name):
    name, _, argument = name.partition(":")
    return importlib.import_module(f"configs.{name}").get_config(*([argument] if argument else []))


def test_every_config_is_tried_here():
    files = {path.stem for path in (ROOT / "configs").glob("*.py")} - {"default"}
    assert files == {name.partition(":")[0] for name in CONFIGS}


@pytest.mark.usefixtures("quick_compilation")
@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_trains_for_an_epoch_on_synthetic_data(name, tmp_path):
    config = get(name)
    settings.validate(config)
    with config.unlocked():
        config.dataset.synthetic = True
        config.train.epochs = 1
        config.train.batch_size = 100
        config.model.hidden, config.model.width = 32, 16
    assert session.run(config.to_dict(), tmp_path) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["synthetic"] and "(synthetic)" in results["dataset"]
    assert 0 < results["test"]["map@50"]["average"] <= 1


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_says_how_it_is_run(name):
    name = name.partition(":")[0]
    text = (ROOT / "configs" / f"{name}.py").read_text()
    assert f"python experiments/run.py --config=configs/{name}.py" in text and "2106.13552" in text


def test_every_key_is_read_by_something():
    source = (ROOT / "experiments" / "session.py").read_text()
    for group, keys in config_dict.ConfigDict(settings.default_config()).items():
        for key in keys:
            assert re.search(rf'\["{key}"\]', source), f"{group}.{key}"


def test_a_key_of_ones_own_is_refused_with_the_near_one():
    config = config_dict.ConfigDict(settings.default_config())
    config.loss.alhpa = 0.3
    with pytest.raises(default.ConfigError, match=r"unknown config key loss.alhpa, did you mean loss.alpha\?"):
        settings.validate(config)


def test_a_missing_key_is_named():
    config = config_dict.ConfigDict(settings.default_config())
    del config.train.patience
    with pytest.raises(default.ConfigError, match=r"config.train.patience is missing, expected a whole number"):
        settings.validate(config)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, True, "1"])
def test_a_number_out_of_range_is_named(value):
    config = config_dict.ConfigDict(settings.default_config())
    config.loss = {"alpha": value, "beta": 0.1, "adversarial": 0.01, "discrepancy": "absolute"}
    with pytest.raises(default.ConfigError, match=r"config.loss.alpha must be a number at least 0, got"):
        settings.validate(config)


def test_ours_is_the_datasets_own_config_but_for_its_loss():
    for name in ("emoji", "wikipedia:raw", "cub"):
        own, changed = get(name), get(f"ours:{name.replace(':', '_')}")
        assert changed.loss.target == "neighbours" and own.loss.target == "inputs"
        changed.loss = own.loss
        assert changed == own
    with pytest.raises(ValueError, match=r"configs/ours\.py takes one of emoji, .* after the colon, got 'emojis'"):
        get("ours:emojis")
