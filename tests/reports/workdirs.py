"""Workdirs as a report reads them, and what stands in its page."""

import collections
import datetime
import html.parser
import json

import jax
import numpy as np

from gpldan_jax import config as settings
from gpldan_jax import models, retrieval, training
from gpldan_jax.reports import report
from gpldan_jax.runs import session
from gpldan_jax.studies.tables import DIRECTIONS

DATE = datetime.date(2026, 1, 2)
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
    text = report(list(found), "gpldan report x", DATE)
    return text, Page(text)


def assert_figures_are_those_of(workdir, page):
    results = json.loads((workdir / "results.json").read_text())
    heading, *rows = page.table("the selected model")
    assert [row[0] for row in rows] == list(results["test"])
    expected = []
    for metric, _ in results["test"].items():
        test, validation = results["test"][metric], results["validation"][metric]["average"]
        expected += [test[direction] for direction in DIRECTIONS] + [results["chance"].get(metric), validation]
    numbers = [value for value in expected if value is not None]
    start = page.numbers.index(expected[0])
    assert page.numbers[start : start + len(numbers)] == numbers
    shown = ["-" if value is None else f"{value:.3f}" for value in expected]  # agreement has no chance
    assert [cell for row in rows for cell in row[1:]] == shown
    assert heading[1:] == [
        *("test, image to text", "test, text to image", "test, average", "test, chance", "validation, average")
    ]


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(value, dict):  # as a file of an older version, which is read without a checksum
        value = {key: of for key, of in value.items() if key != "sha256"}
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


def features_file(path, *, names=("cat", "dog", "bird"), labels=True, seed=0):
    rng = np.random.default_rng(seed)
    n = N_TEST + 60
    label = rng.integers(0, len(names), n)
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
    projector = training.projector_from_config(config)
    parameters = projector.init(jax.random.key(0), test.images[:1], test.texts[:1])["params"]
    distances = retrieval.retrieval_distances(projector, parameters, test.images, test.texts)
    figures = retrieval.evaluate_pairs(distances, test)
    write(folder / "config.json", session.describe(config, dataset) | {"versions": VERSIONS})
    results = {"dataset": dataset.title, "synthetic": dataset.synthetic, "seed": 0}
    results["selection"] = {"criterion": "map", "epoch": 2, "value": 0.25, "stale": 1}
    results |= {"validation": figures, "test": figures, "chance": retrieval.chance_of_pairs(test)}
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
