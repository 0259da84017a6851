"""The card of a model: what it says, and what it must not say."""

import dataclasses
import re

import numpy as np
import pytest

from gpldan_jax import config, models
from gpldan_jax.models.model_card import run_command
from tests.models import trained_models

FIGURES = {"map@50": {"image_to_text": 0.5, "text_to_image": 0.25, "average": 0.375}}
RESULTS = {
    "dataset": "mine",
    "synthetic": False,
    "selection": {"criterion": "agreement", "epoch": 3},
    "test": FIGURES,
    "validation": {"map@50": {"average": 0.4}},
    "chance": {"map@50": 0.125},
}


def model_of(**changes):
    changes = {"dataset.path": "/home/me/photos/mine.npz", "loss.alpha": 0.5} | changes
    about = {
        "dataset": "mine",
        "epoch": 3,
        "config": config.with_values(config.dataset_config("npz"), changes),
        "features": {"image": {"extractor": "vgg19"}},
    }
    return dataclasses.replace(trained_models.model(), metadata=about)


def table(card, heading):
    """The rows of the table below a heading, `{first cell: other cells}`."""
    rows = re.findall(r"^\| (.*) \|$", card.partition(f"\n## {heading}\n")[2].partition("\n## ")[0], re.MULTILINE)
    return {name: cells for name, *cells in (row.split(" | ") for row in rows) if "|" not in name}


def test_a_card_says_what_the_model_is():
    card = models.model_card(model_of(), RESULTS, fingerprint="a1b2", sizes=(70, 20, 10), versions={"jax": "0.10"})
    assert card.startswith("---\nlibrary_name: gpldan_jax\n") and card.count("\n---\n") == 1 and "license" not in card
    assert table(card, "Data") == {
        "dataset": ["mine"],
        "SHA-256 of the data": ["`a1b2`"],
        "pairs": ["70 train, 20 validation, 10 test"],
        "image features": ["5, made by vgg19"],
        "text features": ["4"],
    }
    figures = table(card, "Figures")
    assert figures["metric"] == ["image to text", "text to image", "average", "chance", "validation, average"]
    assert figures["map@50"] == ["0.500", "0.250", "0.375", "0.125", "0.400"] and "On the test pairs." in card
    assert table(card, "Settings")["`loss.alpha`"] == ["0.5", "1.0"]
    assert "gpldan run --dataset=npz --data=mine.npz --config.loss.alpha=0.5\n" in card
    assert "epoch 3, chosen by `agreement` on the validation pairs" in card and "Versions: jax 0.10." in card
    assert "/home" not in card and "photos" not in card


def test_figures_of_a_run_without_test_pairs_are_named_so():
    card = models.model_card(model_of(), RESULTS | {"test": None, "validation": FIGURES, "chance": None})
    assert "On the validation pairs, by which the epoch was chosen." in card
    assert table(card, "Figures")["map@50"] == ["0.500", "0.250", "0.375"]


def test_generated_features_are_named_so():
    assert "the figures say nothing" in models.model_card(model_of(), RESULTS | {"synthetic": True})
    assert "the figures say nothing" not in models.model_card(model_of(), RESULTS)


def test_a_model_without_results_has_a_card_too():
    card = models.model_card(trained_models.model())
    assert "# A GPLDAN model" in card and "## Figures" not in card and "## Settings" not in card
    estimator = {"parameters": {"alpha": 0.5, "random_state": None}, "history": []}
    model = dataclasses.replace(trained_models.model(), metadata={"estimator": estimator, "version": "0.1.0"})
    card = models.model_card(model)
    assert table(card, "Settings") == {"`alpha`": ["0.5"], "`random_state`": ["null"]}
    assert "`gpldan_jax.GPLDAN(...).fit(images, texts)`" in card and "Versions: gpldan_jax 0.1.0." in card


def test_the_code_of_a_card_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained_models.model().save("model.safetensors")
    (code,) = re.findall(r"^```python\n(.*?)^```$", models.model_card(model_of()), re.DOTALL | re.MULTILINE)
    names = {"image_features": np.ones((3, 5)), "text_features": np.ones((2, 4))}
    exec(compile(code, "README.md", "exec"), names)
    assert names["distances"].shape == (3, 2) and names["vectors"].shape == (3, 4)


@pytest.mark.parametrize(
    ("name", "variant", "recipe", "changes", "command"),
    [
        ("emoji", "", "paper", {}, "gpldan run --dataset=emoji"),
        ("wikipedia", "raw", "paper", {"train.seed": 2}, "gpldan run --dataset=wikipedia:raw --config.train.seed=2"),
        ("cub", "", "ours", {"mesh.data": 4}, "gpldan run --dataset=cub --recipe=ours"),
        ("npz", "", "paper", {"dataset.path": "C:\\me\\my data.npz"}, "gpldan run --dataset=npz '--data=my data.npz'"),
    ],
)  # fmt: skip
def test_the_command_is_the_shortest(name, variant, recipe, changes, command):
    settings = config.with_values(config.dataset_config(name, variant, recipe), changes)
    assert run_command(settings) == command


def test_the_command_of_a_dataset_that_is_unknown_is_left_out():
    settings = config.with_values(config.dataset_config("emoji"), {"dataset.name": "flickr"})
    assert run_command(settings) is None
    about = {"dataset": "flickr", "config": settings}
    assert "```sh" not in models.model_card(dataclasses.replace(trained_models.model(), metadata=about))
