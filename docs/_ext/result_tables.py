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

    ```{soak} damages-epyc-2-cores-2026-11-27.json
    ```
"""

import re
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective, SphinxRole
from tables import (
    BENCHMARKS,
    DATASETS,
    RESULTS,
    SOAKS,
    benchmark_table,
    results_file,
    scores_table,
    soak_tables,
    table_of,
)


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

    option_spec: ClassVar = {
        "rows": directives.unchanged,
        "columns": directives.unchanged_required,
        "part": directives.unchanged,
    }

    def run(self):
        self.env.note_dependency(str(BENCHMARKS / self.arguments[0]))
        rows, columns = self.options.get("rows", "").split(), self.options["columns"].split()
        table, made = benchmark_table(self.arguments[0], rows, columns, self.options.get("part", ""))
        return self.parsed(f"{table}\n\n{made}")


class Soak(_Table):
    """Files of `benchmarks/soak_results`."""

    def run(self):
        for name in self.arguments[0].split():
            self.env.note_dependency(str(SOAKS / name))
        return self.parsed(soak_tables(self.arguments[0].split()))


class Ablation(_Table):
    """The first table of a file of `docs/results`, with some of its columns."""

    option_spec: ClassVar = {"columns": directives.unchanged_required}

    def run(self):
        path = RESULTS / self.arguments[0]
        self.env.note_dependency(str(path))
        columns = self.options["columns"].split(", ")
        lines = [["parts", *columns], ["---"] + ["---:"] * len(columns)]
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
            raise ValueError(f"{path} has no {column!r} of {method!r}") from None
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
    app.add_directive("soak", Soak)
    app.add_directive("results", Ablation)
    app.add_role("score", Score())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
