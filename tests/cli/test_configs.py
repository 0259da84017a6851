"""Each file of configs/: valid, that of the package, and a training step for its dataset's features."""

import importlib
import json
import re

import jax
import numpy as np
import pytest

from gpldan_jax import config as settings
from gpldan_jax import training
from gpldan_jax.cli import dataset_config
from gpldan_jax.data import PairedSplit, variants
from gpldan_jax.runs import session
from tests.commands import ROOT

CONFIGS = ["emoji", "wikipedia", "wikipedia:raw", "wikipedia:vgg19_bert", "pascal", "nuswide", "xmedia", "cub", "npz"]
CONFIGS += ["openclipart", "nuswide:multilabel", "mirflickr", "ours", "ours:cub"]


def get(name):
    name, _, argument = name.partition(":")
    return importlib.import_module(f"configs.{name}").get_config(*([argument] if argument else []))


def test_every_config_is_tried_here():
    files = {path.stem for path in (ROOT / "configs").glob("*.py")} - {"default"}
    assert files == {name.partition(":")[0] for name in CONFIGS}


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_makes_a_step_for_the_features_of_its_dataset(name):
    config = get(name).to_dict()
    settings.validate(config)
    entry = next(of for of in variants(config["dataset"]["name"]) if config["dataset"]["variant"] in ("", of.variant))
    image, text = (entry.shape.image, entry.shape.text) if entry.shape else (30, 20)
    n = 2 * config["train"]["batch_size"]
    split = PairedSplit(np.ones((n, image), np.float32), np.ones((n, text), np.float32))

    def first_loss():
        state = training.state_from_config(config, image, text)
        pairs = training.resident_pairs(split, neighbours=state.neighbours)
        return training.train_epoch(state, pairs, batch_size=n // 2, remainder=config["train"]["remainder"])[1]["loss"]

    assert jax.eval_shape(first_loss).shape == (2,)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["xmedia", "ours", "mirflickr", "openclipart"])
def test_a_config_trains_for_an_epoch(name, tmp_path):
    config = get(name)
    settings.validate(config.to_dict())
    synthetic = name != "openclipart"  # which is shipped
    with config.unlocked():
        config.dataset.synthetic = synthetic
        config.train.epochs = 1
        config.train.batch_size = 100
        config.model.hidden, config.model.width = 32, 16
    assert session.run(config.to_dict(), tmp_path) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["synthetic"] == synthetic == ("(synthetic)" in results["dataset"])
    assert 0 < results["test"]["map@50"]["average"] <= 1


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_says_how_it_is_run(name):
    name = name.partition(":")[0]
    text = (ROOT / "configs" / f"{name}.py").read_text()
    assert f"python experiments/run.py --config=configs/{name}.py" in text and "2106.13552" in text


def test_every_key_is_read_by_something():
    files = [path for path in (ROOT / "gpldan_jax").rglob("*.py") if path.name != "config.py"]
    source = "".join(path.read_text() for path in files)
    for key in settings.SETTINGS:
        group, _, name = key.partition(".")
        assert re.search(rf'\["{name}"\]|"{name}",|"{group}\.{name}"', source), key


def test_the_configs_are_those_of_the_package():
    for name in CONFIGS:
        dataset, _, variant = name.partition(":")
        if dataset != "ours":
            assert get(name).to_dict() == settings.dataset_config(dataset, variant), name
    assert get("default").to_dict() == settings.default_config()
    assert dataset_config.get_config("cub,,ours") == get("ours:cub")


def test_ours_is_one_recipe_that_changes_the_datasets_own_config():
    for name in ("emoji", "wikipedia:raw", "cub", "npz"):
        own, changed = (settings.flat(get(of).to_dict()) for of in (name, f"ours:{name.replace(':', '_')}"))
        assert changed == own | dict(settings.RECIPES["ours"]) and changed["dataset.name"] == own["dataset.name"]
        assert changed["train.selection"] == "agreement"  # no label is used
    with pytest.raises(settings.ConfigError, match="unknown dataset 'emojis' "):
        get("ours:emojis")
