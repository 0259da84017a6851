"""`experiments/report.py`: what stands in the page, what the page needs, and what is refused."""

import collections
import datetime
import doctest
import html.parser
import importlib.util
import json
import re
import shutil
import statistics
import subprocess
import sys
import warnings

import jax
import numpy as np
import pytest

pytest.importorskip("jinja2", reason="a report needs jinja2: pip install -e '.[report]'")
pytest.importorskip("matplotlib", reason="a report needs matplotlib: pip install -e '.[report]'")

from gpldan_jax import config as settings
from gpldan_jax import models, retrieval
from gpldan_jax.cli import report
from gpldan_jax.reports import examples, folders
from gpldan_jax.reports import run_section as retrieved
from gpldan_jax.reports import sections as common
from gpldan_jax.runs import session
from tests.commands import ROOT, SMALL
from tests.retrieval import loop_reference

DATE = datetime.date(2026, 1, 2)
DIRECTIONS = ("image_to_text", "text_to_image", "average")
SCRIPT = "<script>alert('x')</script> & $x_1$"
VERSIONS = {"gpldan_jax": "0.1.0", "device": "cpu"}
PNG = b"\x89PNG\r\n\x1a\n"
N_TEST = 40


class Page(html.parser.HTMLParser):
    """The tags, texts, numbers and addresses of a page; tables as rows of texts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.addresses, self.numbers, self.tables = collections.Counter(), [], [], [], []
        self.pictures, self.notes, self.commands, self._open = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags[tag] += 1
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.addresses += [value for name, value in attributes.items() if name.endswith(("href", "src", "srcset"))]
        self.pictures += [attributes.get("alt")] if tag == "img" else []
        self.pictures += [attributes.get("aria-label")] if tag == "svg" else []
        if tag == "data":
            self.numbers.append(float(attributes["value"]))
        if tag == "table":
            self.tables.append({"caption": "", "rows": []})
        if tag == "tr":
            self.tables[-1]["rows"].append([])
        if tag in ("td", "th"):
            self.tables[-1]["rows"][-1].append("")
        if attributes.get("class") in ("note", "synthetic"):
            self.notes.append("")
        if attributes.get("class") == "command":
            self.commands.append("")
        self._open.append((tag, attributes))

    def handle_endtag(self, tag):
        while self._open and self._open.pop()[0] != tag:  # such as <img>, which nothing ends
            pass

    def handle_data(self, data):
        tags = [tag for tag, _ in self._open]
        if "caption" in tags:
            self.tables[-1]["caption"] += data
        elif "td" in tags or "th" in tags:
            self.tables[-1]["rows"][-1][-1] += data
        if any(attributes.get("class") in ("note", "synthetic") for _, attributes in self._open):
            self.notes[-1] += data
        if any(attributes.get("class") == "command" for _, attributes in self._open):
            self.commands[-1] += data

    def table(self, caption):
        return next(table["rows"] for table in self.tables if caption in table["caption"])


def page_of(*found):
    text = report.report(list(found), "python experiments/report.py x", DATE)
    return text, Page(text)


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def changed(value, keys, new):
    """A copy of nested dictionaries and lists with another value in one place; `None` in place of `new` removes it."""
    copy = json.loads(json.dumps(value))
    *path, last = keys
    inner = copy
    for key in path:
        inner = inner[key]
    if new is None:
        del inner[last]
    else:
        inner[last] = new
    return copy


def features_file(path, *, names=("cat", "dog", "bird"), labels=True):
    rng = np.random.default_rng(0)
    n = N_TEST + 60
    label = rng.integers(0, 3, n)
    latent = np.eye(3)[label] + 0.5 * rng.normal(size=(n, 3))
    arrays = {"image": latent @ rng.normal(size=(3, 8)), "text": latent @ rng.normal(size=(3, 6))}
    arrays["split"] = np.repeat([0, 1, 2], [40, 20, N_TEST])
    np.savez(path, **arrays, **({"label": np.array(names)[label]} if labels else {}))


def untrained_run(folder, **dataset_settings):
    """The workdir of a run whose model was never trained, which is all that a report needs."""
    config = settings.default_config()
    config["dataset"] |= dataset_settings
    config["model"] |= {"hidden": 8, "width": 4, "parts": 2}
    config["train"]["selection"] = "map"
    dataset, standardization = session.load(config["dataset"])
    test = dataset.test
    parameters = session.projector(config).init(jax.random.key(0), test.images[:1], test.texts[:1])["params"]
    distances = retrieval.retrieval_distances(session.projector(config), parameters, test.images, test.texts)
    figures = retrieval.evaluate(distances, test.labels)
    about = {"config": config, "data": dataset.fingerprint(), "dataset": dataset.title, "versions": VERSIONS}
    write(folder / "config.json", about)
    results = {"dataset": dataset.title, "synthetic": dataset.synthetic, "seed": 0}
    results["selection"] = {"criterion": "map", "epoch": 2, "value": 0.25, "stale": 1}
    results |= {"validation": figures, "test": figures, "chance": retrieval.chance(len(test), test.labels)}
    write(folder / "results.json", results)
    lines = [
        {"epoch": epoch, "step": epoch, "loss": 2.0 / epoch, "pairwise": 1.0, "seconds": 1.0, "validation": figures}
        for epoch in (1, 2, 3)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    model = session.trained_model(config, dataset, standardization, parameters, 2)
    models.save_model(folder / "model.safetensors", model)
    return folder


def figures(average):
    return {"map@50": {"image_to_text": average + 0.05, "text_to_image": average - 0.05, "average": average}}


def comparison(folder, *, title="Ours", with_curves=True):
    averages = {"first": (0.25, 0.5), "ours": (0.5, 0.75), "third": (0.625, 0.625)}
    methods = []
    for name, found in averages.items():
        methods.append(
            {
                "name": name,
                "title": title if name == "ours" else name,
                "supervision": "supervised" if name == "third" else "unsupervised",
                "transductive": name == "third",
                "settings": {},
                "tried": 4,
                "figures": [figures(average) for average in found],
                "seconds": 1.5,
                "failed": "",
            }
        )
        for seed, average in enumerate(found):
            curves = {direction: [average] * 21 for direction in DIRECTIONS}
            classes = {direction: {"0": average, "1": average / 2} for direction in DIRECTIONS}
            kept = {"curves": curves, "classes": classes} if with_curves else {}
            write(folder / name / f"seed-{seed}.json", {"test": figures(average), "seconds": 1.5} | kept)
    failed = {"name": "never", "title": "Never", "figures": [], "failed": "the loss is not finite"}
    methods.append(methods[0] | failed)
    about = {"dataset": "wikipedia/raw", "synthetic": False, "seeds": [0, 1], "command": f"compare {title}"}
    write(folder / "table2.json", about | {"versions": VERSIONS, "methods": methods})
    config = {"dataset": {"name": "wikipedia"}}
    write(folder / "config.json", {"config": config, "data": "0", "dataset": "wikipedia/raw", "versions": VERSIONS})
    return folder


def spreads(mean):
    return {"map@50": {direction: {"mean": mean, "sd": 0.01} for direction in DIRECTIONS}}


def sweep(folder):
    points = []
    for alpha, mean in ((0.5, 0.25), (1.0, 0.375)):
        value = {"mean": mean, "sd": 0.01}
        point = {"point": {"loss.alpha": alpha}, "title": f"alpha {alpha}", "seeds": [0, 1], "epochs": [3, 4]}
        points.append(point | {"value": value, "validation": spreads(mean), "test": None, "failed": []})
    failed = [{"seed": 1, "why": "the loss is nan"}]
    points.append(points[0] | {"title": "alpha 9", "epochs": [], "value": None, "validation": None, "failed": failed})
    points[1]["test"] = spreads(0.3125)
    about = {"dataset": "tiny", "synthetic": False, "criterion": "map", "axes": {"loss.alpha": [0.5, 1.0]}}
    about |= {"seeds": [0, 1], "selected": points[1], "chance": {"map@50": 0.125}, "command": "sweep it"}
    write(folder / "sweep.json", about | {"points": points, "versions": VERSIONS})
    (folder / "figure2.png").write_bytes(PNG)
    return folder


def ablation(folder):
    rows = []
    for name, mean in (("pairwise", 0.25), ("attention", 0.5)):
        row = {"name": name, "title": f"with {name}", "terms": {"unpaired": name == "attention", "mutual": False}}
        row |= {"figures": [figures(mean - 0.125), figures(mean + 0.125)], "seconds": 2.0, "failed": ""}
        rows.append(row | {"published": 0.202 if name == "pairwise" else None})
    about = {"dataset": "tiny", "synthetic": False, "metric": "map@50", "seeds": [0, 1], "command": "ablate it"}
    write(folder / "table3.json", about | {"versions": VERSIONS, "rows": rows})
    (folder / "table3.png").write_bytes(PNG)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run on features of one's own; tests that change it copy it."""
    folder = tmp_path_factory.mktemp("made")
    features_file(folder / "mine.npz")
    return untrained_run(folder / "run", name="npz", path=str(folder / "mine.npz"))


@pytest.fixture(scope="module")
def emoji(tmp_path_factory):
    folder = untrained_run(tmp_path_factory.mktemp("emoji"), name="emoji", text_scaling="raw")
    return folder, *page_of(folder)


def test_from_features_to_the_page(run, features, tmp_path):
    workdir = tmp_path / "run"
    done = run(*SMALL, f"--config.dataset.path={features}", "--config.train.epochs=2", f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    command = [sys.executable, str(ROOT / "experiments" / "report.py"), str(workdir), f"--out={tmp_path / 'a.html'}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"written to {tmp_path / 'a.html'}\n" and not done.stderr
    text = (tmp_path / "a.html").read_text()
    assert_figures_are_those_of(workdir, Page(text))
    assert "precision against recall" in text.lower() and "Examples of retrieval" in text and not Page(text).notes
    assert "model.hidden" in text and "train.epochs" in text and "loss.alpha" not in text  # what differs


def assert_figures_are_those_of(workdir, page):
    results = json.loads((workdir / "results.json").read_text())
    heading, *rows = page.table("the selected model")
    assert [row[0] for row in rows] == list(results["test"])
    expected = []
    for metric, _ in results["test"].items():
        test, validation = results["test"][metric], results["validation"][metric]["average"]
        expected += [test[direction] for direction in DIRECTIONS] + [results["chance"][metric], validation]
    start = page.numbers.index(expected[0])
    assert page.numbers[start : start + len(expected)] == expected
    assert [cell for row in rows for cell in row[1:]] == [f"{value:.3f}" for value in expected]
    assert heading[1:] == [
        *("test, image to text", "test, text to image", "test, average", "test, chance", "validation, average")
    ]


def test_the_page_needs_nothing_else_and_its_ids_are_its_own(made, emoji, tmp_path):
    text, page = page_of(
        made, emoji[0], comparison(tmp_path / "c"), sweep(tmp_path / "s"), ablation(tmp_path / "a"), made
    )
    assert not page.tags["script"] and not page.tags["link"] and not page.tags["iframe"]
    assert page.addresses and all(address.startswith(("#", "data:image/png;base64,")) for address in page.addresses)
    assert "@import" not in text
    assert {f"#{name}" for name in page.ids} >= {address for address in page.addresses if address.startswith("#")}
    assert set(re.findall(r"url\(([^)]*)\)", text)) <= {f"#{name}" for name in page.ids}
    assert len(page.ids) == len(set(page.ids))
    assert all(page.pictures) and page.tags["svg"] > 8  # each says what it shows
    assert page.tags["caption"] == page.tags["table"] and page.tags["h1"] == 1 and page.tags["h2"] == 7
    assert page.addresses[:7] == [f"#s{place}" for place in range(1, 7)] + ["#made"]
    assert "prefers-color-scheme: dark" in text and "@media print" in text and 'name="viewport"' in text


def test_the_same_folders_give_the_same_page(made):
    assert page_of(made)[0] == page_of(made)[0]


def test_emoji_are_shown_by_picture_and_name(emoji):
    folder, text, page = emoji
    assert_figures_are_those_of(folder, page)
    by_image, by_text = re.split("Text to image: the 6", text.split("Image to text: the 6")[1])
    assert by_image.count("<img") == 5 and len(re.findall(r'class="query">.*\s*<img', by_image)) == 5
    assert by_text.count("<img") == 5 * 6 and not re.search(r'class="query">.*\s*<img', by_text)
    assert "Smileys &amp; Emotion" in text and "hits convention" in text
    from gpldan_jax.data.emoji import load_emoji_arrays

    arrays = load_emoji_arrays()
    names = {name for name, split in zip(arrays.names, arrays.split, strict=True) if split == 2}
    assert {alt for alt in page.pictures if alt in arrays.names} <= names


def test_the_examples_follow_their_rule_and_are_the_nearest(made):
    found = folders.read(made)
    dataset, _ = retrieved.dataset_of(found.config, found.fingerprint)
    distances, _ = retrieved.distances_of(found, dataset)
    labels = dataset.test.labels
    items, printed = [examples.Item(str(i), "") for i in range(N_TEST)], []
    for matrix in (distances, distances.T):
        scores = [
            loop_reference.average_precision(row, own, labels, 50, "hits")
            for row, own in zip(matrix, labels, strict=True)
        ]
        shown = examples.examples(matrix, labels, items, items)
        assert len(shown) == 3 + 1 and shown[-1].query.name == str(int(np.argmin(scores)))
        medians = {}
        for example in shown[:-1]:
            query = int(example.query.name)
            own = [score for score, label in zip(scores, labels, strict=True) if label == labels[query]]
            assert scores[query] == pytest.approx(statistics.median_low(own))
            medians[int(labels[query])] = statistics.mean(own)
        assert list(medians.values()) == sorted(medians.values(), reverse=True) and len(medians) == 3
        for example in shown:
            query = int(example.query.name)
            nearest = loop_reference.ranking(matrix[query])[:6]
            assert [int(result.item.name) for result in example.results] == nearest
            assert [result.is_relevant for result in example.results] == [labels[j] == labels[query] for j in nearest]
            for result in example.results:
                j = int(result.item.name)
                expected = "its partner" if j == query else "same class" if result.is_relevant else "other class"
                assert result.mark == expected and result.distance == matrix[query, j]
                printed.append(result.distance)
    assert page_of(made)[1].numbers[-len(printed) :] == printed


def test_of_many_classes_those_at_equal_distances_are_shown():
    labels = np.repeat(np.arange(10), 2)
    scores = np.repeat(np.linspace(1, 0.1, 10), 2)
    assert [labels[query] for query, _ in examples.chosen(scores, labels)] == [0, 3, 6, 9, 9]
    assert examples.chosen(scores, labels)[0] == (0, "median of its class")  # of equal ones the first


def test_without_labels_partners_are_what_counts(tmp_path):
    features_file(tmp_path / "bare.npz", labels=False)
    folder = untrained_run(tmp_path / "run", name="npz", path=str(tmp_path / "bare.npz"))
    text, page = page_of(folder)
    assert_figures_are_those_of(folder, page)
    assert "pairs have no labels" in text and "Precision against recall" not in text and "query 1 of 40" in text
    assert "its partner at rank" in text and "not its partner" in text


def test_a_synthetic_run_says_so(tmp_path):
    folder = untrained_run(tmp_path, name="npz", synthetic=True)
    text, page = page_of(folder)
    assert "Synthetic: the features were generated." in page.notes[0] and "(synthetic), seed 0</h2>" in text


def test_other_data_leave_the_stored_tables(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "run")
    described = json.loads((folder / "config.json").read_text())
    for new, why in (
        (changed(described, ["data"], "0"), "another fingerprint"),
        (changed(described, ["config", "dataset", "path"], str(tmp_path / "gone.npz")), "gone.npz"),
        (changed(described, ["config", "dataset", "variant"], None), "no dataset setting 'variant'"),
    ):
        write(folder / "config.json", new)
        text, page = page_of(folder)
        assert_figures_are_those_of(folder, page)
        assert len(page.notes) == 1 and why in page.notes[0] and "are left out" in page.notes[0]
        assert "Examples of retrieval on test" not in text and page.tags["svg"] == 2  # the training curves stay


def test_without_test_pairs_validation_is_what_there_is(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "run")
    results = json.loads((folder / "results.json").read_text())
    write(folder / "results.json", results | {"test": None, "chance": None})
    _, page = page_of(folder)
    average = f"{results['validation']['map@50']['average']:.3f}"
    assert page.table("the selected model")[1] == ["map@50", "-", "-", "-", "-", average]
    assert page.notes == ["The dataset has no test pairs, so there are no curves and examples."]


def test_a_model_that_does_not_give_the_results_is_not_used(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "run")
    results = json.loads((folder / "results.json").read_text())
    write(folder / "results.json", changed(results, ["test", "map@50", "average"], 0.99))
    assert "results.json 0.990" in page_of(folder)[1].notes[0]
    write(folder / "results.json", changed(results, ["selection", "epoch"], 3))
    assert "not the model of results.json" in page_of(folder)[1].notes[0]
    (folder / "model.safetensors").write_bytes(b"x")
    assert "cannot be read as a safetensors file" in page_of(folder)[1].notes[0]
    (folder / "model.safetensors").unlink()
    assert "there is no model.safetensors" in page_of(folder)[1].notes[0]


def test_what_files_say_is_escaped(tmp_path):
    features_file(tmp_path / "mine.npz", names=(SCRIPT, "dog", "bird"))
    folder = untrained_run(tmp_path / "run", name="npz", path=str(tmp_path / "mine.npz"))
    text, page = page_of(folder, comparison(tmp_path / SCRIPT.replace("/", "\\"), title=SCRIPT))
    assert not page.tags["script"] and "<script" not in text.lower()
    assert text.count("&lt;script&gt;alert(") > 8  # classes, plots and examples; folder, method and command
    assert any(SCRIPT in alt for alt in page.pictures)
    assert page.table("map@50 on test")[2][0] == SCRIPT and f"compare {SCRIPT}" in page.commands


def test_a_comparison(tmp_path):
    text, page = page_of(comparison(tmp_path))
    heading, *rows = page.table("map@50 on test")
    assert heading == [
        *("", "supervision", "settings tried", "image to text", "text to image", "average", "published"),
        "seconds of one fit",
    ]
    deviation = statistics.stdev([0.5, 0.75])
    assert rows[1][5] == f"{0.625:.3f} ± {deviation:.3f}" and rows[1][3] == f"{0.675:.3f} ± {deviation:.3f}"
    assert rows[2][1] == "supervised, transductive" and rows[3][3] == "failed: the loss is not finite"
    best = re.findall(r'<strong><data value="[\d.]*">([^<]*)', text)
    assert best[:2] == [f"0.625 ± {deviation:.3f}", "0.625 ± 0.000"]  # the best of each group, then of each class
    _, *classes = page.table("queries of each class")
    assert classes[0] == ["third", "0.625", "0.312"] and classes[1][1:] == ["0.375", "0.188"]
    assert page.tags["svg"] == 3 and "at half of the recall: third 0.625, first 0.375, Ours 0.625" in text
    assert "class 0" in text  # the files that would name it are not there


def test_the_published_figures_stand_beside(tmp_path):
    folder = comparison(tmp_path)
    record = json.loads((folder / "table2.json").read_text())
    write(folder / "table2.json", changed(record, ["methods", 1, "name"], "gpldan"))
    (folder / "ours").rename(folder / "gpldan")
    text, page = page_of(folder)
    assert (
        page.table("map@50 on test")[2][6].split() == ["0.482", "/", "0.543", "/", "0.513"]
        and "of other features" in text
    )


def test_validation_stands_beside_where_it_was_kept(tmp_path):
    folder = comparison(tmp_path)
    record = json.loads((folder / "table2.json").read_text())
    for method in record["methods"]:
        method["validation"] = [figures(0.75), figures(0.25)] if method["figures"] else []
    write(folder / "table2.json", record)
    heading, first, *_, failed = page_of(folder)[1].table("map@50 on test")
    assert heading[6] == "validation, average" and first[6] == f"0.500 ± {statistics.stdev([0.75, 0.25]):.3f}"
    assert len(first) == len(failed) == len(heading)


def test_a_comparison_from_before_curves_were_kept(tmp_path):
    _, page = page_of(comparison(tmp_path, with_curves=False))
    assert page.tags["svg"] == 1 and len(page.tables) == 1
    assert page.notes == ["Kept no curves or figures of classes: third, first, Ours."]


def test_a_sweep(tmp_path):
    _, page = page_of(sweep(tmp_path))
    assert page.table("every point")[1:] == [
        ["alpha 0.5", "0.250 ± 0.010", "3, 4", ""],
        ["alpha 1.0", "0.375 ± 0.010", "3, 4", "selected"],
        ["alpha 9", "-", "-", "failed: seed 1: the loss is nan"],
    ]
    assert page.table("the selected point")[1] == ["map@50", *["0.312 ± 0.010"] * 3, "0.125"]
    assert any(address.startswith("data:image/png") for address in page.addresses)
    assert "sweep it" in page.commands
    (tmp_path / "figure2.png").unlink()
    assert page_of(tmp_path)[1].notes == ["There is no figure2.png."]


def test_an_ablation(tmp_path):
    _, page = page_of(ablation(tmp_path))
    heading, first, second = page.table("map@50 on test")
    deviation = statistics.stdev([0.125, 0.375])
    assert heading[:3] == ["", "unpaired", "mutual"] and first[:3] == ["with pairwise", "no", "no"]
    assert second[:3] == ["with attention", "yes", "no"]
    assert first[5:] == [f"0.250 ± {deviation:.3f}", "0.202", "2.0"] and second[6] == "-"
    assert any(address.startswith("data:image/png") for address in page.addresses)
    assert "ablate it" in page.commands


FIGURE = dict.fromkeys(DIRECTIONS, 0.5)
DAMAGES = [
    ("run", "results.json", ["selection"], None, "it lacks 'selection'"),
    ("run", "results.json", ["test", "map@50", "average"], "0.5", "expected a finite number, got '0.5'"),
    ("run", "results.json", ["chance"], [1], "is damaged: "),
    ("run", "results.json", ["test"], {}, "neither map@50 nor recall@10"),
    ("run", "config.json", ["config"], [1], "is damaged: "),
    ("comparison", "table2.json", ["methods", 0, "figures", 0, "map@50"], 0.5, "is damaged: "),
    ("comparison", "table2.json", ["methods", 1, "seconds"], float("nan"), "expected a finite number, got nan"),
    ("comparison", "ours/seed-1.json", ["curves", "average"], [0.5], "precision at 21 levels of recall, got 1"),
    ("comparison", "ours/seed-1.json", ["classes", "average"], {"0": 1.0}, "not those of the other seeds"),
    ("comparison", "table2.json", ["methods", 1, "figures", 0], {"recall@10": FIGURE}, "map@50, others have not"),
    ("sweep", "sweep.json", ["points", 0, "value", "sd"], True, "expected a finite number, got True"),
    ("ablation", "table3.json", ["rows", 0, "terms"], None, "it lacks 'terms'"),
    ("ablation", "table3.json", ["metric"], "map@5", "some figures lack map@5"),
]


@pytest.mark.parametrize("kind, file, keys, new, message", DAMAGES)
def test_damaged_files_are_one_line(made, tmp_path, kind, file, keys, new, message):
    makers = {"comparison": comparison, "sweep": sweep, "ablation": ablation}
    folder = shutil.copytree(made, tmp_path / "run") if kind == "run" else makers[kind](tmp_path / kind)
    write(folder / file, changed(json.loads((folder / file).read_text()), keys, new))
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        folders.read(folder)
    assert str(raised.value).startswith(str(folder / file)) and "\n" not in str(raised.value)
    for content in ('{"half', "[]", "7", "null", "\x00", "[" * 100_000):
        (folder / file).write_text(content)
        with pytest.raises(ValueError, match="is damaged: ") as raised:
            folders.read(folder)
        assert str(raised.value).startswith(str(folder / file)) and "\n" not in str(raised.value)


@pytest.mark.parametrize("module", [common, examples, folders])
def test_examples_of_the_docstrings(module):
    assert doctest.testmod(module).attempted and not doctest.testmod(module).failed


@pytest.fixture
def main(monkeypatch, capsys):
    """The command in this process: its status and what it printed."""

    def start(*arguments):
        monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # which it changes
        status = report.main(["report.py", *map(str, arguments)])
        return status, *capsys.readouterr()

    return start


def test_folders_that_hold_nothing_finished_are_one_line_and_status_2(main, made, tmp_path):
    out = tmp_path / "out" / "report.html"
    (tmp_path / "empty").mkdir()
    write(tmp_path / "going" / "config.json", {})
    (shutil.copytree(made, tmp_path / "short") / "metrics.jsonl").unlink()
    (shutil.copytree(made, tmp_path / "torn") / "metrics.jsonl").write_text('{"epoch": 1}\n{"ep')
    for name, message in (
        ("nowhere", f"no folder {tmp_path / 'nowhere'}"),
        ("empty", f"{tmp_path / 'empty'} is no workdir of run.py, sweep.py, compare.py or ablate.py"),
        ("going", f"{tmp_path / 'going'} is not finished"),
        ("short", f"{tmp_path / 'short' / 'metrics.jsonl'} cannot be read"),
        ("torn", f"{tmp_path / 'torn' / 'metrics.jsonl'} is damaged"),
    ):
        status, printed, error = main(made, tmp_path / name, f"--out={out}")
        assert status == 2 and not printed and error.startswith(f"error: {message}") and error.count("\n") == 1
    assert not out.parent.exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "which folders?"),
        (["x", "--out=report.pdf"], "report.pdf must end in .html"),
        (["x", "--oot=report.html"], "Unknown command line flag 'oot'"),
    ],
)
def test_bad_flags_are_one_line_and_status_2(main, arguments, message):
    status, printed, error = main("--out=report.html", *arguments)
    assert status == 2 and not printed and message in error and error.count("\n") == 1


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_missing_package_is_one_line_and_status_2(main, made, tmp_path, monkeypatch, package):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == package else find(name, *rest))
    status, printed, error = main(made, f"--out={tmp_path / 'a.html'}")
    assert status == 2 and not printed and error == f"error: a report needs {package}: pip install -e '.[report]'\n"
    assert not list(tmp_path.iterdir())


def test_help_needs_no_jax():
    command = [sys.executable, "-X", "importtime", str(ROOT / "experiments" / "report.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "--out" in done.stdout
    assert not re.search(r"\| +(jax|matplotlib|jinja2)$", done.stderr, re.MULTILINE)
