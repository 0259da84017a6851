"""The page: a section for each finished workdir, in one HTML file that needs no other file."""

import datetime
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from gpldan_jax._extras import needed_for
from gpldan_jax.data import class_titles
from gpldan_jax.reports import blocks, charts, folders
from gpldan_jax.reports.blocks import Cell, Figure, Made, Paragraph, Section, Table, figure_cell
from gpldan_jax.reports.examples import data_uri, left_out, place_data, reload_data
from gpldan_jax.reports.folders import Comparison, Method, Run, Sweep
from gpldan_jax.reports.run_section import run_blocks
from gpldan_jax.runs import provenance
from gpldan_jax.studies.tables import DIRECTIONS, TITLES, best_of_groups, mean_and_sd, seeds_in_words

_PACKAGES = ("gpldan_jax", "jax", "numpy", "matplotlib", "jinja2")
_MOST_COLUMNS = 24  # of a table of classes


def report(
    workdirs: Sequence[Path],
    command: str = "",
    date: datetime.date | None = None,
    *,
    data_paths: Sequence[Path] = (),
    on_missing: Callable[[str], None] = lambda line: None,
) -> str:
    """Returns a page about finished workdirs.

    Args:
        workdirs: folders of runs, sweeps, comparisons and ablations, in the order of the page.
        command: the command line, for the page.
        date: the date of the page; today unless given.
        data_paths: where data lie now that were elsewhere when the workdirs were made.
        on_missing: takes a line for each part of the page that is left out because data are not found.

    Returns:
        HTML.

    Raises:
        ValueError: a folder that cannot be reported on, or a path whose data are of none of the folders.
        ImportError: jinja2 or matplotlib is missing.
    """
    template = _template()
    read = [folders.read(folder) for folder in workdirs]  # all, before the slow part begins
    read = place_data(read, data_paths)
    sections = [_section(found, f"s{place}") for place, found in enumerate(read, start=1)]
    for section in sections:
        for note in (block for block in section.blocks if isinstance(block, Paragraph) and block.to_do):
            on_missing(f"{section.folder}: {note.text.removesuffix('.')}{note.to_do}")
    return template.render(
        sections=sections,
        command=command,
        date=(date or datetime.date.today()).isoformat(),
        versions=", ".join(f"{name} {version}" for name, version in provenance.package_versions(_PACKAGES).items()),
        commit=provenance.commit(),
    )


def _section(found: Run | Sweep | Comparison, key: str) -> Section:
    """Returns the section of a folder."""
    if isinstance(found, Run):
        title, content = f"Run: {found.dataset}, seed {found.seed}", run_blocks(found, key)
    elif isinstance(found, Sweep):
        title, content = f"Sweep: {found.dataset}", _sweep(found)
    elif found.is_ablation:
        title, content = f"Ablation: {found.dataset}", _ablation(found)
    else:
        title, content = f"Comparison: {found.dataset}", _comparison(found, key)
    return Section(title, str(found.folder), found.synthetic, tuple(content))


def _template():
    with needed_for("a report", "report"):
        import jinja2
        import markupsafe
        import matplotlib  # noqa: F401, which the plots need after minutes of work
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Only the plots are markup already; `charts` escapes the texts in them.
    environment.filters["plot"] = markupsafe.Markup
    environment.filters["runs"] = lambda of: [list(run) for _, run in itertools.groupby(of, lambda block: block.kind)]
    return environment.get_template("report.html.jinja")


def _sweep(sweep: Sweep) -> Iterator:
    criterion = blocks.CRITERIA.get(sweep.criterion, sweep.criterion)
    if sweep.selected:
        yield Paragraph(f"Selected on validation by {criterion}: {sweep.selected}.")
    else:
        yield Paragraph("No point could be selected: a seed of each failed.")
    rows: list[tuple[Cell, ...]] = []
    for point in sweep.points:
        is_best = point.title == sweep.selected
        epochs = ", ".join(map(str, point.epochs)) or "-"
        note = f"failed: {point.failed}" if point.failed else "selected" * is_best
        rows.append((Cell(point.title, is_best=is_best), figure_cell(point.value, is_best), Cell(epochs), Cell(note)))
    columns = ("point", f"validation, {criterion}", "epochs selected", "")
    yield Table(f"{sweep.dataset}, every point, {seeds_in_words(sweep.seeds)}", columns, tuple(rows))
    for point in sweep.points:
        if point.title == sweep.selected and point.test:
            rows = [
                (Cell(metric), *(figure_cell(values[d]) for d in DIRECTIONS), figure_cell(sweep.chance.get(metric)))
                for metric, values in point.test.items()
                if metric in sweep.chance  # "recall" is the criterion's mean of the three that are there
            ]
            caption = f"{sweep.dataset}, test, the selected point, {seeds_in_words(sweep.seeds)}"
            yield Table(caption, ("metric", *TITLES.values(), "chance"), tuple(rows))
            yield Paragraph(blocks.convention(point.test))
    yield _bitmap(sweep.picture, "figure2.png", "The figure over the swept settings, as Figure 2 of the paper.")
    yield Made(sweep.command, sweep.versions)


def _comparison(comparison: Comparison, key: str) -> Iterator:
    metric = comparison.metric
    fitted = sorted((of for of in comparison.methods if of.figures), key=lambda of: of.details["supervision"])
    means = [(of.title, of.details["supervision"], mean_and_sd(_values(of, metric, "average"))) for of in fitted]
    best = best_of_groups(
        (of.details["supervision"].removesuffix(", transductive"), of.name, found.mean)
        for of, (*_, found) in zip(fitted, means, strict=True)
    )
    yield _table(comparison, best, "seconds of one fit")
    notes = "Bold is the best mean of each supervision group. The settings of each method were chosen on validation."
    if any(method.published for method in comparison.methods):
        notes += " Published (arXiv 2106.13552: image to text / text to image / average) are figures of other features."
    yield Paragraph(f"{notes} {blocks.convention([metric])}")
    if fitted:
        yield charts.averages(
            [(title, group, found.mean, found.sd) for title, group, found in means],
            f"average {metric} on test",
            caption=f"Average {metric} of each method, {seeds_in_words(comparison.seeds)}.",
            alt=f"Average {metric}: " + ", ".join(f"{title} {found.mean:.3f}" for title, _, found in means),
            key=f"{key}-averages",
        )
    with_curves = [of for of in fitted if of.curves]
    for direction in DIRECTIONS[:2] if with_curves else ():
        curves = {of.title: of.curves[direction] for of in with_curves}
        yield charts.precision_recall(curves, of=f", {TITLES[direction]}", key=f"{key}-{direction}")
    yield from _classes([of for of in fitted if of.classes], comparison)
    without = [of.title for of in fitted if not of.curves or not of.classes]
    if without and metric == "map@50":
        yield Paragraph(f"Kept no curves or figures of classes: {', '.join(without)}.", is_note=True)
    yield Made(comparison.command, comparison.versions)


def _classes(methods: Sequence[Method], comparison: Comparison) -> Iterator:
    if not methods:
        return
    found, why = reload_data(comparison)
    titles = class_titles(found.scaled) if found else ()
    averages = [method.classes["average"] for method in methods]
    names = list(averages[0])
    if len(names) > _MOST_COLUMNS or any(set(of) != set(names) for of in averages):
        yield Paragraph(f"The table of {len(names)} classes is left out.", is_note=True)
        return
    best = {name: max(of[name] for of in averages) for name in names}
    rows = tuple(
        (Cell(method.title), *(figure_cell(of[name], of[name] == best[name]) for name in names))
        for method, of in zip(methods, averages, strict=True)
    )
    columns = ("method", *(blocks.class_title(name, titles) for name in names))
    caption = "map@50 of the queries of each class, average of both directions, mean over the seeds"
    yield Table(f"{caption}; bold is the best of a class", columns, rows)
    if not found:
        yield left_out("The names of the classes", why)


def _ablation(ablation: Comparison) -> Iterator:
    yield _table(ablation, set(), "seconds of one run")
    notes = blocks.convention([ablation.metric])
    if any(row.published for row in ablation.methods):
        notes += " The published averages are of other features (VGG-19, BERT)."
    yield Paragraph(notes)
    yield _bitmap(ablation.picture, "table3.png", "The average of each row.")
    yield Made(ablation.command, ablation.versions)


def _table(found: Comparison, best: set[str], seconds: str) -> Table:
    metric, has_validation = found.metric, any(method.validation for method in found.methods)
    details = list(dict.fromkeys(name for method in found.methods for name in method.details))
    rows = []
    for method in found.methods:
        cells = [Cell(method.title), *(Cell(method.details.get(name, "")) for name in details)]
        if method.failed or not method.figures:
            cells += [Cell(f"failed: {method.failed}"), *[Cell("")] * (4 + has_validation)]
        else:
            means = [mean_and_sd(_values(method, metric, direction)) for direction in DIRECTIONS]
            cells += [*map(figure_cell, means[:2]), figure_cell(means[2], method.name in best)]
            if has_validation:
                validation = [figures[metric]["average"] for figures in method.validation]
                cells.append(figure_cell(mean_and_sd(validation) if validation else None))
            cells += [Cell(method.published.replace(" ", "\N{NO-BREAK SPACE}") or "-"), Cell(f"{method.seconds:.1f}")]
        rows.append(tuple(cells))
    columns = ("", *details, *TITLES.values(), *["validation, average"] * has_validation, "published", seconds)
    return Table(f"{found.dataset}, {metric} on test, {seeds_in_words(found.seeds)}", columns, tuple(rows))


def _values(method, metric, direction):
    return [figures[metric][direction] for figures in method.figures]


def _bitmap(path: Path | None, name: str, caption: str) -> Paragraph | Figure:
    if path is None:
        return Paragraph(f"There is no {name}.", is_note=True)
    content = path.read_bytes()
    if not content.startswith(b"\x89PNG"):
        raise ValueError(f"{path} is damaged: no PNG")
    return Figure(caption, f"{caption} Its figures are in the table.", source=data_uri(content))
