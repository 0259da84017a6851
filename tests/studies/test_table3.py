"""What a row of the ablation leaves out, and what its table says."""

import csv
import json

import numpy as np
import pytest

from gpldan_jax import config as settings
from gpldan_jax import training
from gpldan_jax.studies import fitting, table3
from tests.studies.ablations import AVERAGES, NAMES, rows
from tests.training import tiny

FLOAT32_TOLERANCE = 1e-5  # two orders of the same sums


def markdown(of, *, published=True, **changes):
    given = {name: variant.published if published else None for name, variant in table3.VARIANTS.items()}
    about = {"dataset": "Mine", "metric": "map@50", "seeds": (0, 1, 2), "criterion": "map", "chance": 0.125}
    return table3._markdown(of, **about | {"published": given, "command": "python x"} | changes)


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.slow
def test_what_a_row_leaves_out_is_left_out_of_training(monkeypatch):
    trained = []

    def train(state, *args, **options):
        trained.append(state)
        return state, None

    monkeypatch.setattr(training, "train", train)
    config = settings.default_config()
    config["model"] |= {"hidden": 16, "width": 8}
    dataset = tiny.dataset()
    fit = fitting.gpldan_methods(config, dataset)["gpldan"].fit
    images, texts = dataset.test.images, dataset.test.texts
    for name, alpha, beta, adversarial in [("mutual", 0.0, 0.1, 0.0), ("unpaired", 1.0, 0.0, 0.0)]:
        distances = fit(dataset.train, dataset.validation, None, seed=0, **table3.VARIANTS[name].settings())
        values = trained[-1].hyperparameters
        np.testing.assert_allclose([values.alpha, values.beta, values.adversarial], [alpha, beta, adversarial])
        # Without attention they are ranked by the plain cosine of V and T.
        projector, parameters = trained[-1].projector, trained[-1].projector_parameters
        encoded = projector.apply({"params": parameters}, images, texts)
        v, t = (np.asarray(x.features) / np.linalg.norm(x.features, axis=1, keepdims=True) for x in encoded)
        np.testing.assert_allclose(distances(images, texts), 1 - v @ t.T, atol=FLOAT32_TOLERANCE)


def test_each_row_leaves_out_what_the_paper_leaves_out():
    off = {"loss.alpha": 0.0, "loss.beta": 0.0, "loss.adversarial": 0.0, "model.parts": 1}
    kept = {
        "pairwise": (),
        "mutual": ("loss.beta",),
        "unpaired": ("loss.alpha",),
        "pattern": ("loss.alpha", "loss.beta"),
        "classifier": ("loss.alpha", "loss.beta", "loss.adversarial"),
        "attention": tuple(off),
    }
    assert [*table3.VARIANTS] == NAMES
    for name, variant in table3.VARIANTS.items():
        assert variant.settings() == {key: value for key, value in off.items() if key not in kept[name]}
    extended = {name: variant.extends for name, variant in table3.VARIANTS.items()}
    assert extended == dict(
        zip(NAMES, [None, "pairwise", "pairwise", "unpaired", "pattern", "classifier"], strict=True)
    )


def test_steps_are_paired_by_seed():
    found = table3._steps(rows(), "map@50")
    np.testing.assert_allclose(found["mutual"], [-0.01, 0.0, 0.01], atol=1e-12)
    np.testing.assert_allclose(found["unpaired"], [0.20, 0.22, 0.21], atol=1e-12)  # to row 1, not to row 2
    np.testing.assert_allclose(found["pattern"], [-0.02, -0.03, -0.02], atol=1e-12)
    assert [*found] == NAMES[1:]


def test_the_text_says_what_shows_by_the_rule_of_two_standard_errors():
    text = table3._findings(rows(), "map@50", (0, 1, 2))
    assert "exceeds 2 standard errors in size (sd / √3)" in text
    assert "18% would pass with 3 seeds" in text  # P(|t| > 2) of 2 degrees of freedom, from a table: 0.184
    assert [line for line in text.splitlines() if line.startswith("- ")] == [
        "- Row 2, L_md added to row 1: does not show (+0.000 ± 0.010)",
        "- Row 3, L_ud added to row 1: shows (+0.210 ± 0.010)",
        "- Row 4, L_md added to row 3: shows, as a drop (−0.023 ± 0.006)",  # noqa: RUF001, a minus sign
        "- Row 5, the classifier added to row 4: does not show (+0.003 ± 0.006)",
        "- Row 6, diversified attention added to row 5: shows (+0.027 ± 0.021)",  # 2.2 standard errors
    ]
    assert "are below every row with L_ud, by 0.187 or more" in text
    assert "the least mean with it is 0.397, the greatest without 0.210" in text


def test_a_row_without_l_ud_that_is_not_below_is_said():
    text = table3._findings(rows(mutual=(0.40, 0.41, 0.42)), "map@50", (0, 1, 2))
    assert "are not both below every row with L_ud: the least mean with it is 0.397, the greatest without 0.410" in text


def test_of_one_seed_nothing_is_said_about_steps():
    one = rows({name: found[:1] for name, found in AVERAGES.items()})
    text = markdown(one, seeds=(7,))
    assert "With one seed nothing can be said about single steps" in text
    assert "show (" not in text and "shows" not in text and "±" not in text and "On test; seed 7." in text
    assert cells(next(line for line in text.splitlines() if "3. + L_ud" in line))[9] == "+0.200"


def test_the_table_has_marks_steps_and_the_published_averages():
    text = markdown(rows())
    lines = text.splitlines()
    assert cells(lines[0])[1:] == [
        *["L_pd", "L_md", "L_ud", "classifier", "attention", "image to text", "text to image", "average", "step"],
        *["published", "seconds"],
    ]
    assert {len(cells(line)) for line in lines[:8]} == {12}
    marks = [[cell == "✓" for cell in cells(line)[1:6]] for line in lines[2:8]]
    assert marks == [
        [True, False, False, False, False],
        [True, True, False, False, False],
        [True, False, True, False, False],
        [True, True, True, False, False],
        [True, True, True, True, False],
        [True, True, True, True, True],
    ]
    assert cells(lines[2])[6:] == ["0.110 ± 0.010", "0.310 ± 0.010", "0.210 ± 0.010", "", "0.202", "2.5"]
    assert cells(lines[7])[9:] == ["+0.027 ± 0.021", "0.513", "2.5"]
    assert [cells(line)[10] for line in lines[2:8]] == ["0.202", "0.233", "0.481", "0.487", "0.496", "0.513"]
    assert "The published averages are of other features (VGG-19 and BERT)." in text
    assert "Chance is 0.125." in text and "was chosen by average map@50 on validation, which uses its labels." in text
    without = markdown(rows(), published=False)
    assert "published" not in without and {len(cells(line)) for line in without.splitlines()[:8]} == {11}


def test_published_averages_are_of_wikipedia_alone():
    assert table3._published("attention", {"name": "wikipedia", "synthetic": False}) == 0.513
    assert table3._published("attention", {"name": "wikipedia", "synthetic": True}) is None
    assert table3._published("attention", {"name": "cub", "synthetic": False}) is None


def test_a_row_that_failed_has_no_step_and_lends_none():
    of = rows(unpaired=None)
    lines = markdown(of).splitlines()
    assert cells(lines[4])[6:] == ["failed: the loss / is nan", "", "", "", "0.481", ""]
    assert cells(lines[5])[9] == "" and cells(lines[6])[9] == "+0.003 ± 0.006"
    text = table3._findings(of, "map@50", (0, 1, 2))
    assert "Row 3, L_ud added to row 1: cannot be said, since a row failed" in text
    assert "Row 4, L_md added to row 3: cannot be said, since a row failed" in text
    assert "Whether L_ud makes the difference cannot be said, since a row failed." in text
    none = dict.fromkeys(NAMES)
    assert len(table3._csv(of, seeds=(0, 1, 2), published=none).splitlines()) == 1 + 5 * 3
    record = table3._record(of, {"metric": "map@50"}, published=none)
    assert record["rows"][2]["failed"] == "the loss | is nan" and not record["rows"][2]["figures"]


def test_csv_and_json_say_which_row_and_seed():
    given = {name: variant.published for name, variant in table3.VARIANTS.items()}
    lines = [*csv.DictReader(table3._csv(rows(), seeds=(0, 5, 7), published=given).splitlines())]
    assert [line["seed"] for line in lines[:3]] == ["0", "5", "7"]
    assert lines[-1] == {
        **{"row": "attention", "seed": "7", "metric": "map@50"},
        **{"image_to_text": "0.36", "text_to_image": "0.56", "average": "0.46"},
        "published_average": "0.513",
    }
    record = json.loads(json.dumps(table3._record(rows(), {"dataset": "Mine"}, published=given)))
    assert record["dataset"] == "Mine"
    mutual = record["rows"][1]
    assert mutual["terms"] == {"unpaired": False, "mutual": True, "classifier": False, "attention": False}
    assert mutual["settings"] == {"loss.alpha": 0.0, "loss.adversarial": 0.0, "model.parts": 1}
    assert mutual["published"] == 0.233 and mutual["seconds"] == 2.5 and mutual["failed"] == ""


@pytest.mark.parametrize("key", ["loss.alpha", "loss.beta", "loss.adversarial", "model.parts"])
def test_a_config_that_lacks_a_term_is_refused(key):
    config = settings.default_config()
    table3._check_config(config)
    group, name = key.split(".")
    config[group][name] = 1 if key == "model.parts" else 0
    with pytest.raises(ValueError, match=rf"config.{key} is \d, so two rows of Table 3 would be the same"):
        table3._check_config(config)


def test_a_config_with_a_term_that_is_not_the_paper_s_is_refused():
    config = settings.default_config()
    config["loss"]["contrastive"] = 0.3
    with pytest.raises(ValueError, match=r"config.loss.contrastive is 0.3, a term that no row of Table 3 has"):
        table3._check_config(config)
