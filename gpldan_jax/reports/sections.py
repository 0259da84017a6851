"""What sections have in common: cells, captions and the figure of precision against recall.

The section of the page that each kind of folder gets.
"""

import statistics
from collections.abc import Collection, Mapping, Sequence

from gpldan_jax.reports import charts as plots
from gpldan_jax.reports.blocks import Cell, Figure, Made, Paragraph, Section, Table
from gpldan_jax.reports.examples import class_titles, data_uri
from gpldan_jax.reports.folders import DIRECTIONS, Comparison, Method, Run, Sweep
from gpldan_jax.reports.run_section import dataset_of, run_blocks

TITLES = {"image_to_text": "image to text", "text_to_image": "text to image", "average": "average"}
CRITERIA = {"map": "average map@50", "recall": "the mean of recall@1, @5 and @10"}
_RECALL = "recall@k is how often the true partner is among the k nearest."
_MAP = (
    "map@50 is of the hits convention: it divides the sum of precisions by the relevant items inside the top 50; "
    "map@50_trec divides by all relevant items of the split. An item is relevant when it is of the query's class."
)


def convention(metrics: Collection[str]) -> str:
    """What the metrics of a table mean.

    Example:
        >>> convention(["recall@10"])
        'recall@k is how often the true partner is among the k nearest.'
    """
    has_map, has_recall = "map@50" in metrics, any(metric.startswith("recall@") for metric in metrics)
    return " ".join([_MAP] * has_map + [_RECALL] * has_recall)


def mean_and_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and the sample standard deviation, `None` of a single value."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None


def mean_cell(found: tuple[float, float | None] | None, is_best: bool = False) -> Cell:
    """What `mean_and_sd` gives, as a cell.

    Example:
        >>> mean_cell((0.5, 0.25)).text, mean_cell((0.5, None)).text, mean_cell(None).text
        ('0.500 ± 0.250', '0.500', '-')
    """
    if found is None:
        return Cell("-")
    mean, sd = found
    return Cell(f"{mean:.3f}" + ("" if sd is None else f" ± {sd:.3f}"), mean, is_best)


def number(value: float | None, is_best: bool = False) -> Cell:
    """A figure as a cell."""
    return Cell("-") if value is None else Cell(f"{value:.3f}", value, is_best)


def over(seeds: Sequence[int]) -> str:
    """What figures over some seeds are.

    Example:
        >>> over([0, 1]), over([3])
        ('mean ± standard deviation over seeds 0, 1', 'seed 3')
    """
    names = ", ".join(map(str, seeds))
    return f"mean ± standard deviation over seeds {names}" if len(seeds) > 1 else f"seed {names}"


def class_title(name: str, titles: Sequence[str]) -> str:
    """What the class with this key in `map_per_class` is called, where its dataset says it.

    Example:
        >>> class_title("1", ["cats", "dogs"]), class_title("1", [])
        ('dogs', 'class 1')
    """
    return titles[int(name)] if name.isdecimal() and int(name) < len(titles) else f"class {name}"


def joined(versions: Mapping[str, str]) -> str:
    """Versions in a line, the device last.

    Example:
        >>> joined({"jax": "0.10.2", "device": "cpu", "numpy": "2.4.6"})
        'jax 0.10.2, numpy 2.4.6, on cpu'
    """
    named = [f"{name} {version}" for name, version in versions.items() if name != "device"]
    return ", ".join(named) + (f", on {versions['device']}" if "device" in versions else "")


def curves_figure(curves: Mapping[str, Sequence[float]], share: float | None, what: str, key: str) -> Figure:
    """The figure of `plots.precision_recall`; `what` goes on from "Precision against recall"."""
    middle = ", ".join(f"{name} {values[10]:.3f}" for name, values in curves.items())
    alt = f"Precision against recall{what}; at half of the recall: {middle}"
    caption = f"Precision against recall{what}: at each recall the largest precision at that recall or a higher one."
    if share is not None:
        caption += f" A random ranking finds about the share of relevant items, {share:.3f}."
    return Figure(caption, alt, plots.precision_recall(curves, share, key=key, alt=alt))


_MOST_COLUMNS = 24  # of a table of classes


def section(found: Run | Sweep | Comparison, key: str) -> Section:
    """The section of a folder.

    Args:
        found: what was read from it.
        key: distinguishes its plots' ids in the page.
    """
    kind = {Run: "Run", Sweep: "Sweep", Comparison: "Comparison"}[type(found)]
    title = f"{kind}: {found.dataset}"
    if isinstance(found, Run):
        title, blocks = f"{title}, seed {found.seed}", run_blocks(found, key)
    elif isinstance(found, Sweep):
        blocks = _sweep(found)
    elif found.is_ablation:
        title, blocks = f"Ablation: {found.dataset}", _ablation(found)
    else:
        blocks = _comparison(found, key)
    return Section(title, str(found.folder), found.synthetic, tuple(blocks))


def _sweep(sweep):
    if sweep.selected:
        yield Paragraph(
            f"Selected on validation by {CRITERIA.get(sweep.criterion, sweep.criterion)}: {sweep.selected}."
        )
    else:
        yield Paragraph("No point could be selected: a seed of each failed.")
    rows = []
    for point in sweep.points:
        is_best = point.title == sweep.selected
        epochs = ", ".join(map(str, point.epochs)) or "-"
        note = f"failed: {point.failed}" if point.failed else "selected" * is_best
        rows.append((Cell(point.title, is_best=is_best), mean_cell(point.value, is_best), Cell(epochs), Cell(note)))
    columns = ("point", f"validation, {CRITERIA.get(sweep.criterion, sweep.criterion)}", "epochs selected", "")
    yield Table(f"{sweep.dataset}, every point, {over(sweep.seeds)}", columns, tuple(rows))
    for point in sweep.points:
        if point.title == sweep.selected and point.test:
            rows = [
                (Cell(metric), *(mean_cell(values[d]) for d in DIRECTIONS), number(sweep.chance.get(metric)))
                for metric, values in point.test.items()
                if metric in sweep.chance  # "recall" is the criterion's mean of the three that are there
            ]
            columns = ("metric", *(TITLES[d] for d in DIRECTIONS), "chance")
            yield Table(f"{sweep.dataset}, test, the selected point, {over(sweep.seeds)}", columns, tuple(rows))
            yield Paragraph(convention(point.test))
    yield _bitmap(sweep.picture, "figure2.png", "The figure over the swept settings, as Figure 2 of the paper.")
    yield Made(sweep.command, joined(sweep.versions))


def _comparison(comparison, key):
    metric = comparison.metric
    yield _table(comparison, _best(comparison.methods, metric), "seconds of one fit")
    notes = "Bold is the best mean of each supervision group. The settings of each method were chosen on validation."
    if any(method.published for method in comparison.methods):
        notes += " Published (arXiv 2106.13552: image to text / text to image / average) are figures of other features."
    yield Paragraph(f"{notes} {convention([metric])}")
    fitted = sorted((of for of in comparison.methods if of.figures), key=lambda of: of.details["supervision"])
    if fitted:
        rows = [(of.title, of.details["supervision"], *mean_and_sd(_values(of, metric, "average"))) for of in fitted]
        alt = f"Average {metric}: " + ", ".join(f"{name} {mean:.3f}" for name, _, mean, _ in rows)
        svg = plots.averages(rows, f"average {metric} on test", key=f"{key}-averages", alt=alt)
        yield Figure(f"Average {metric} of each method, {over(comparison.seeds)}.", alt, svg)
    with_curves = [of for of in fitted if of.curves]
    for direction in DIRECTIONS[:2] if with_curves else ():
        curves = {of.title: of.curves[direction] for of in with_curves}
        yield curves_figure(curves, None, f", {TITLES[direction]}", f"{key}-{direction}")
    yield from _classes_of_methods([of for of in fitted if of.classes], comparison)
    without = [of.title for of in fitted if not of.curves or not of.classes]
    if without and metric == "map@50":
        yield Paragraph(f"Kept no curves or figures of classes: {', '.join(without)}.", is_note=True)
    yield Made(comparison.command, joined(comparison.versions))


def _classes_of_methods(methods, comparison):
    if not methods:
        return
    dataset, why = dataset_of(comparison.config, comparison.fingerprint)
    titles = class_titles(dataset) if dataset else ()
    names = list(methods[0].classes["average"])
    of_all = [method.classes["average"] for method in methods if set(method.classes["average"]) == set(names)]
    if len(names) > _MOST_COLUMNS or len(of_all) < len(methods):
        yield Paragraph(f"The table of {len(names)} classes is left out.", is_note=True)
        return
    best = {name: max(of[name] for of in of_all) for name in names}
    rows = [
        (
            Cell(method.title),
            *(number(method.classes["average"][name], method.classes["average"][name] == best[name]) for name in names),
        )
        for method in methods
    ]
    columns = ("method", *(class_title(name, titles) for name in names))
    caption = "map@50 of the queries of each class, average of both directions, mean over the seeds"
    yield Table(f"{caption}; bold is the best of a class", columns, tuple(rows))
    if not dataset:
        yield Paragraph(f"The names of the classes are left out: {why}.", is_note=True)


def _ablation(ablation):
    yield _table(ablation, set(), "seconds of one run")
    notes = convention([ablation.metric])
    if any(row.published for row in ablation.methods):
        notes += " The published averages are of other features (VGG-19, BERT)."
    yield Paragraph(notes)
    yield _bitmap(ablation.picture, "table3.png", "The average of each row.")
    yield Made(ablation.command, joined(ablation.versions))


def _table(found, best, seconds):
    metric, judged = found.metric, any(method.validation for method in found.methods)
    details = list(dict.fromkeys(name for method in found.methods for name in method.details))
    rows = []
    for method in found.methods:
        cells = [Cell(method.title), *(Cell(method.details.get(name, "")) for name in details)]
        if method.failed or not method.figures:
            cells += [Cell(f"failed: {method.failed}"), *[Cell("")] * (4 + judged)]
        else:
            spreads = [mean_and_sd(_values(method, metric, d)) for d in DIRECTIONS]
            cells += [mean_cell(spread) for spread in spreads[:2]]
            cells.append(mean_cell(spreads[2], method.name in best))
            if judged:
                validation = [figures[metric]["average"] for figures in method.validation]
                cells.append(mean_cell(mean_and_sd(validation) if validation else None))
            cells += [Cell(method.published.replace(" ", "\N{NO-BREAK SPACE}") or "-"), Cell(f"{method.seconds:.1f}")]
        rows.append(tuple(cells))
    columns = ("", *details, *(TITLES[d] for d in DIRECTIONS), *["validation, average"] * judged, "published", seconds)
    return Table(f"{found.dataset}, {metric} on test, {over(found.seeds)}", columns, tuple(rows))


def _best(methods: Sequence[Method], metric: str) -> set[str]:
    groups = {}
    for method in methods:
        if method.figures:
            group = method.details["supervision"].removesuffix(", transductive")
            groups.setdefault(group, []).append((statistics.mean(_values(method, metric, "average")), method.name))
    return {max(group)[1] for group in groups.values()}


def _values(method, metric, direction):
    return [figures[metric][direction] for figures in method.figures]


def _bitmap(path, name, caption):
    if path is None:
        return Paragraph(f"There is no {name}.", is_note=True)
    content = path.read_bytes()
    if not content.startswith(b"\x89PNG"):
        raise ValueError(f"{path} is damaged: no PNG")
    return Figure(caption, f"{caption} Its figures are in the table.", source=data_uri(content))
