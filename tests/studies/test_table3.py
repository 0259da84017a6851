"""`experiments/ablate.py` as a user calls it, and what its table says."""

import csv
import doctest
import json

import numpy as np
import pytest

from gpldan_jax import config as settings
from gpldan_jax import training
from gpldan_jax.baselines import Method
from gpldan_jax.studies import fitting as gpldan
from gpldan_jax.studies import fitting as running
from gpldan_jax.studies import table2 as comparing_tables
from gpldan_jax.studies import table3
from gpldan_jax.studies import table3 as tables
from tests.commands import SMALL
from tests.training import tiny

FLOAT32_TOLERANCE = 1e-5  # two orders of the same sums
NAMES = ["pairwise", "mutual", "unpaired", "pattern", "classifier", "attention"]
AVERAGES = {  # of three seeds
    "pairwise": (0.20, 0.21, 0.22),
    "mutual": (0.19, 0.21, 0.23),
    "unpaired": (0.40, 0.43, 0.43),
    "pattern": (0.38, 0.40, 0.41),
    "classifier": (0.38, 0.41, 0.41),
    "attention": (0.39, 0.43, 0.46),
}


def row(name, averages, metric="map@50"):
    """What came of a row of the table, its directions 0.1 beside the average; without averages it failed."""
    variant = table3.VARIANTS[name]
    method = Method(name, variant.title, "unsupervised", "nowhere", lambda *args: None, (variant.settings(),))
    if averages is None:
        return running.Row(method, None, (), (), (), 0.0, "the loss | is nan")
    figures = [{metric: {"image_to_text": a - 0.1, "text_to_image": a + 0.1, "average": a}} for a in averages]
    return running.Row(method, variant.settings(), (), tuple(figures), (), 2.5)


def rows(averages=AVERAGES, **changes):
    return [row(name, found) for name, found in (averages | changes).items()]


def markdown(of, *, published=True, **changes):
    given = {name: variant.published if published else None for name, variant in table3.VARIANTS.items()}
    about = {"dataset": "Mine", "metric": "map@50", "seeds": (0, 1, 2), "criterion": "map", "chance": 0.125}
    return tables.markdown(of, **about | {"published": given, "command": "python x"} | changes)


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize("module", [table3, tables, comparing_tables])
def test_examples(module):
    assert doctest.testmod(module).attempted and not doctest.testmod(module).failed


def test_an_ablation_from_features_to_tables(run, features, tmp_path, monkeypatch):
    shared = (*SMALL, f"--config.dataset.path={features}", "--config.train.epochs=2", "--config.train.selection=map")
    workdir = tmp_path / "ablate"
    flags = (*shared, f"--workdir={workdir}", "--seeds=2")
    first = run(*flags, script="ablate.py")
    assert first.returncode == 0, first.stderr
    table = (workdir / "table3.md").read_text()
    assert table in first.stdout
    lines = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert [cells(line)[0] for line in lines] == [
        "1. L_pd alone",
        "2. + L_md",
        "3. + L_ud",
        "4. + L_md + L_ud",
        "5. + modality classifier",
        "6. + diversified attention",
    ]
    assert "published" not in table and (workdir / "table3.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((workdir / "table3.json").read_text())
    assert [of["name"] for of in record["rows"]] == NAMES and record["seeds"] == [0, 1] and "jax" in record["versions"]
    averages = [[figures["map@50"]["average"] for figures in of["figures"]] for of in record["rows"]]
    assert len({tuple(pair) for pair in averages}) == 6  # no two rows are the same run
    with open(workdir / "table3.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 6 * 2 * 6  # rows, seeds, metrics

    # What is finished is not done again; without matplotlib there is no figure, and no old one beside new tables.
    (tmp_path / "matplotlib").mkdir()
    (tmp_path / "matplotlib" / "__init__.py").write_text("raise ImportError('hidden')")
    before = {path: path.stat().st_mtime_ns for path in workdir.glob("*/*.json")}
    assert len(before) == 6 * 3
    with monkeypatch.context() as patched:
        patched.setenv("PYTHONPATH", str(tmp_path))
        again = run(*flags, script="ablate.py")
    assert again.returncode == 0 and "validation " not in again.stdout.partition("|")[0]
    assert again.stderr.splitlines() == [
        "table3.png needs matplotlib: pip install -e '.[plots]', then the same command"
    ]
    assert before == {path: path.stat().st_mtime_ns for path in workdir.glob("*/*.json")}
    assert (workdir / "table3.md").read_text() == table and not (workdir / "table3.png").exists()

    # The last row is the run of run.py, down to the last bit.
    alone = run(*shared, "--config.train.seed=1", f"--workdir={tmp_path / 'alone'}")
    assert alone.returncode == 0, alone.stderr
    results = json.loads((tmp_path / "alone" / "results.json").read_text())
    assert results["test"] == record["rows"][5]["figures"][1]


def test_what_a_row_leaves_out_is_left_out_of_training(monkeypatch):
    trained = []

    def train(state, *args, **options):
        trained.append(state)
        return state, None

    monkeypatch.setattr(training, "train", train)
    config = settings.default_config()
    config["model"] |= {"hidden": 16, "width": 8}
    dataset = tiny.dataset()
    fit = gpldan.methods(config, dataset)["gpldan"].fit
    images, texts = dataset.test.images, dataset.test.texts
    for name, alpha, beta, adversarial in [("mutual", 0.0, 0.1, 0.0), ("unpaired", 1.0, 0.0, 0.0)]:
        settings = table3.VARIANTS[name].settings()
        distances = fit(dataset.train, dataset.validation, None, seed=0, **settings)
        numbers = trained[-1].hyperparameters
        np.testing.assert_allclose([numbers.alpha, numbers.beta, numbers.adversarial], [alpha, beta, adversarial])
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
    found = tables.steps(rows(), "map@50")
    np.testing.assert_allclose(found["mutual"], [-0.01, 0.0, 0.01], atol=1e-12)
    np.testing.assert_allclose(found["unpaired"], [0.20, 0.22, 0.21], atol=1e-12)  # to row 1, not to row 2
    np.testing.assert_allclose(found["pattern"], [-0.02, -0.03, -0.02], atol=1e-12)
    assert [*found] == NAMES[1:]


def test_the_text_says_what_shows_by_the_rule_of_two_standard_errors():
    text = tables.findings(rows(), "map@50", (0, 1, 2))
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
    text = tables.findings(rows(mutual=(0.40, 0.41, 0.42)), "map@50", (0, 1, 2))
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
    assert "Chance is 0.125." in text and "chosen on validation by average map@50" in text
    without = markdown(rows(), published=False)
    assert "published" not in without and {len(cells(line)) for line in without.splitlines()[:8]} == {11}


def test_published_averages_are_of_wikipedia_alone():
    assert table3.published("attention", {"name": "wikipedia", "synthetic": False}) == 0.513
    assert table3.published("attention", {"name": "wikipedia", "synthetic": True}) is None
    assert table3.published("attention", {"name": "cub", "synthetic": False}) is None


def test_a_row_that_failed_has_no_step_and_lends_none():
    of = rows(unpaired=None)
    lines = markdown(of).splitlines()
    assert cells(lines[4])[6:] == ["failed: the loss / is nan", "", "", "", "0.481", ""]
    assert cells(lines[5])[9] == "" and cells(lines[6])[9] == "+0.003 ± 0.006"
    text = tables.findings(of, "map@50", (0, 1, 2))
    assert "Row 3, L_ud added to row 1: cannot be said, since a row failed" in text
    assert "Row 4, L_md added to row 3: cannot be said, since a row failed" in text
    assert "Whether L_ud makes the difference cannot be said, since a row failed." in text
    none = dict.fromkeys(NAMES)
    assert len(tables.table_csv(of, seeds=(0, 1, 2), published=none).splitlines()) == 1 + 5 * 3
    record = json.loads(tables.record(of, {"metric": "map@50"}, published=none))
    assert record["rows"][2]["failed"] == "the loss | is nan" and record["rows"][2]["figures"] == []


def test_csv_and_json_say_which_row_and_seed():
    given = {name: variant.published for name, variant in table3.VARIANTS.items()}
    lines = [*csv.DictReader(tables.table_csv(rows(), seeds=(0, 5, 7), published=given).splitlines())]
    assert [line["seed"] for line in lines[:3]] == ["0", "5", "7"]
    assert lines[-1] == {
        **{"row": "attention", "seed": "7", "metric": "map@50"},
        **{"image_to_text": "0.36", "text_to_image": "0.56", "average": "0.46"},
        "published_average": "0.513",
    }
    record = json.loads(tables.record(rows(), {"dataset": "Mine"}, published=given))
    assert record["dataset"] == "Mine"
    mutual = record["rows"][1]
    assert mutual["terms"] == {"unpaired": False, "mutual": True, "classifier": False, "attention": False}
    assert mutual["settings"] == {"loss.alpha": 0.0, "loss.adversarial": 0.0, "model.parts": 1}
    assert mutual["published"] == 0.233 and mutual["seconds"] == 2.5 and mutual["failed"] == ""


def test_the_figure_has_means_seeds_published_averages_and_chance():
    figure = pytest.importorskip("gpldan_jax.studies.figures", reason="needs matplotlib")
    published = {name: variant.published for name, variant in table3.VARIANTS.items()}
    about = {"dataset": "$Mine$", "metric": "map@50", "chance": 0.125}
    panel = figure.compose(rows(unpaired=None), published=published, **about).axes[0]
    lines = {line.get_label(): line.get_xydata() for line in panel.lines}
    bars = panel.containers[0]
    np.testing.assert_allclose(bars.lines[0].get_xydata()[0], [0.21, 0])
    assert bars.lines[0].get_xydata()[:, 1].tolist() == [0, 1, 3, 4, 5]  # none of the row that failed
    np.testing.assert_allclose(bars.lines[2][0].get_segments()[0], [[0.20, 0], [0.22, 0]])  # sd 0.01
    assert len(lines["single seeds"]) == 5 * 3 and lines["published, other features"][2].tolist() == [0.481, 2]
    assert lines["chance"][:, 0].tolist() == [0.125, 0.125]
    labels = [label.get_text() for label in panel.get_yticklabels()]
    assert labels[2] == "3. + L_ud (failed)" and labels[0] == "1. L_pd alone"
    assert panel.get_ylim()[0] > panel.get_ylim()[1]  # the first row on top

    of_none = figure.compose(rows(dict.fromkeys(NAMES)), published=dict.fromkeys(NAMES), **about)
    assert len(of_none.axes[0].lines) == 1
    one = rows({name: found[:1] for name, found in AVERAGES.items()})
    labels = [line.get_label() for line in figure.compose(one, published=published, **about).axes[0].lines]
    assert labels == ["chance", "one seed", "published, other features"]


@pytest.mark.parametrize("key", ["loss.alpha", "loss.beta", "loss.adversarial", "model.parts"])
def test_a_config_that_lacks_a_term_is_refused(key):
    config = settings.default_config()
    table3.check(config)
    group, name = key.split(".")
    config[group][name] = 1 if key == "model.parts" else 0
    with pytest.raises(ValueError, match=rf"config.{key} is \d, so two rows of Table 3 would be the same"):
        table3.check(config)


def test_a_config_with_a_term_that_is_not_the_paper_s_is_refused():
    config = settings.default_config()
    config["loss"]["contrastive"] = 0.3
    with pytest.raises(ValueError, match=r"config.loss.contrastive is 0.3, a term that no row of Table 3 has"):
        table3.check(config)


@pytest.mark.parametrize(
    "flags, message",
    [
        (("--config.loss.beta=0",), "config.loss.beta is 0.0, so two rows of Table 3 would be the same"),
        (("--dataset=wikipedai",), "no config file"),
        (("--config.train.selection=last",), "train.selection=last chooses nothing on validation"),
        (("--coordinator=a:1", "--processes=1", "--process=0"), "ablate.py runs in one process"),
    ],
)
def test_bad_flags_are_one_line_and_status_2(run, tmp_path, flags, message):
    refused = run(*flags, script="ablate.py")
    assert refused.returncode == 2 and message in refused.stderr and len(refused.stderr.splitlines()) == 1
    assert not list((tmp_path / "somewhere").iterdir())
