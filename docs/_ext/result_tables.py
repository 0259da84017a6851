"""Tables and figures of results, read from `docs/results` and `benchmarks/results` when the site is built.

In a page of MyST Markdown:

    ```{scores} emoji wikipedia cub
    :methods: Ridge CCA, GPLDAN
    :column: average
    ```

    {score}`cub, GPLDAN, average`

    ```{benchmark} loss-xeon-2-cores-2026-11-22.json
    :rows: default dense torch-matmul
    :columns: n implementation median_s
    ```
"""

import json
import re
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective, SphinxRole

ROOT = Path(__file__).parents[2]
RESULTS, BENCHMARKS = ROOT / "docs" / "results", ROOT / "benchmarks" / "results"
DATASETS = {
    "emoji": "emoji",
    "openclipart": "openclipart",
    "wikipedia": "Wikipedia 128/100",
    "wikipedia-raw": "Wikipedia, original",
    "wikipedia-minilm": "Wikipedia, MiniLM",
    "cub": "CUB",
    "ikea": "IKEA",
}
# Of a field of a benchmark's rows: its title, and how a value is written.
_FIELDS = {
    "n": ("n", "{:,}"),
    "implementation": ("implementation", "{}"),
    "precision": ("precision", "{}"),
    "devices": ("chips", "{}"),
    "members": ("runs", "{}"),
    "median_s": ("median", "time"),
    "compile_s": ("compile time", "time"),
    "reached_epoch": ("epoch", "{}"),
    "train_s": ("training", "time"),
    "memory_bytes": ("memory", "bytes"),
    "temp_bytes": ("temporary memory", "bytes"),
    "recall": ("recall", "{:.3f}"),
    "pairs_per_s": ("items per second", "{:,.1f}"),
    "fraction_of_ceiling": ("of the ceiling", "{:.0%}"),
}


def table_of(path: Path) -> dict[str, dict[str, str]]:
    """The first table of a Markdown file of results: of each row, by its first cell, the other cells by column."""
    lines = [line for line in path.read_text().partition("\n\n")[0].splitlines() if line.startswith("|")]
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def results_file(name: str) -> Path:
    """The file of `docs/results` that a page means: `cub` is `cub/table2.md`, `ours/cub` is `ours/cub.md`."""
    for path in (RESULTS / name / "table2.md", RESULTS / f"{name}.md"):
        if path.exists():
            return path
    raise ExtensionError(f"no results of {name!r} in {RESULTS}")


def scores_table(names: list[str], methods: list[str], column: str, *, mean: bool = False) -> str:
    """A Markdown table of methods against datasets; an empty cell where a method was not run."""
    tables = {name: table_of(results_file(name)) for name in names}
    titles = [DATASETS[name.rpartition("/")[2]] for name in names]
    lines = [["", *titles, *(["mean"] if mean else [])], ["---"] + ["---:"] * (len(names) + mean)]
    for method in methods:
        cells = [tables[name].get(method, {}).get(column, "") for name in names]
        if not any(cells):
            raise ExtensionError(f"no {column} of {method!r} in the results of {', '.join(names)}")
        means = [float(re.search(r"\d\.\d+", cell)[0]) for cell in cells if cell]
        extra = ([f"{sum(means) / len(means):.3f}"] if len(means) == len(cells) else [""]) if mean else []
        lines.append([method, *(cell.replace("**", "") for cell in cells), *extra])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def benchmark_table(name: str, rows: list[str], columns: list[str]) -> tuple[str, str]:
    """A Markdown table of a file of `benchmarks/results`, and the sentence that says how the file was made."""
    path = BENCHMARKS / name
    record = json.loads(path.read_text())
    chosen = [row for row in record["rows"] if not rows or row.get("implementation") in rows]
    if not chosen:
        raise ExtensionError(f"{name} has no rows of {', '.join(rows)}")
    lines = [[_FIELDS[column][0] for column in columns], ["---:"] * len(columns)]
    for row in chosen:
        lines.append([_written(row, column) for column in columns])
    command = re.sub(r"^.*benchmark(\.py)? ", "", record["command"])
    command = re.sub(r" --(out|plot)[ =]\S+| --markdown", "", command)
    machine = record["machine"]
    cpu = machine.get("platform") == "cpu"
    device = f"{machine['cores']} cores of {machine['cpu']}" if cpu else machine["device_kind"]
    libraries = [f"{of} {found}" for of, found in machine["versions"].items() if of in ("python", "jax", "torch")]
    made = f"Made by `gpldan benchmark {command}` on {device} ({', '.join(libraries)}), {record['date'][:10]}. "
    made += f"The file is `benchmarks/results/{name}`."
    return "\n".join(f"| {' | '.join(line)} |" for line in lines), made


def _written(row, column):
    value = row.get(column)
    form = _FIELDS[column][1]
    if value is None:
        return "not run" if column in ("median_s", "compile_s") and row.get("not_run") else ""
    if form == "time":
        return f"{value * 1e3:,.1f} ms" if value < 1 else f"{value:,.2f} s"
    if form == "bytes":
        return f"{value / 1e6:,.1f} MB" if value < 1e9 else f"{value / 1e9:,.1f} GB"
    return form.format(value)


class _Table(SphinxDirective):
    required_arguments = 1
    final_argument_whitespace = True

    def parsed(self, text):
        lines = StringList(text.splitlines(), source=self.get_source_info()[0])
        holder = nodes.container(classes=["table-wrapper"])
        self.state.nested_parse(lines, 0, holder)
        return holder.children


class Scores(_Table):
    """Methods against datasets."""

    option_spec: ClassVar = {
        "methods": directives.unchanged_required,
        "column": directives.unchanged,
        "mean": directives.flag,
    }

    def run(self):
        names = self.arguments[0].split()
        for name in names:
            self.env.note_dependency(str(results_file(name)))
        methods = re.split(r"; *" if ";" in self.options["methods"] else r", *", self.options["methods"])
        return self.parsed(
            scores_table(names, methods, self.options.get("column", "average"), mean="mean" in self.options)
        )


class Benchmark(_Table):
    """Rows of a file of `benchmarks/results`."""

    option_spec: ClassVar = {"rows": directives.unchanged, "columns": directives.unchanged_required}

    def run(self):
        self.env.note_dependency(str(BENCHMARKS / self.arguments[0]))
        table, made = benchmark_table(
            self.arguments[0], self.options.get("rows", "").split(), self.options["columns"].split()
        )
        return self.parsed(f"{table}\n\n{made}")


class Ablation(_Table):
    """The first table of a file of `docs/results`, with some of its columns."""

    option_spec: ClassVar = {"columns": directives.unchanged_required}

    def run(self):
        path = RESULTS / self.arguments[0]
        self.env.note_dependency(str(path))
        columns = self.options["columns"].split(", ")
        lines = [["", *columns], ["---"] + ["---:"] * len(columns)]
        lines += [[name, *(row[column] for column in columns)] for name, row in table_of(path).items()]
        return self.parsed("\n".join(f"| {' | '.join(line)} |" for line in lines))


class Score(SphinxRole):
    """One figure: `results, method, column`."""

    def run(self):
        name, method, column = _parts(self.text)
        path = RESULTS / name if name.endswith(".md") else results_file(name)
        self.env.note_dependency(str(path))
        try:
            found = table_of(path)[method][column]
        except KeyError:
            raise ExtensionError(f"{path} has no {column!r} of {method!r}") from None
        return [nodes.Text(found.replace("**", ""))], []


def _parts(text):
    """`results, method, column`; a method may have commas."""
    name, _, rest = text.partition(", ")
    method, _, column = rest.rpartition(", ")
    return name, method, column


def _give_title(app, docname, source):
    """Gives a title to a file of tables below `docs/results`, to which the page of results links."""
    folder, _, name = docname.removeprefix("results/").partition("/")
    if docname.startswith("results/") and name:
        title = f"{folder}: {name}" if name.startswith("table") else f"{folder}: {DATASETS[name]}"
        source[0] = f"---\norphan: true\n---\n\n# {title}\n\n{source[0]}"


def setup(app):
    """Adds the directives and the role."""
    app.connect("source-read", _give_title)
    app.add_directive("scores", Scores)
    app.add_directive("benchmark", Benchmark)
    app.add_directive("results", Ablation)
    app.add_role("score", Score())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
