"""The one way to make a table: means over seeds, Markdown and CSV, and the words beside the figures.

A figure is a number that says how good a ranking is. `gpldan_jax.retrieval.evaluate` gives figures as metric ->
direction -> number, such as `{"map@50": {"image_to_text": 0.5, "text_to_image": 0.4, "average": 0.45}}`.
"""

import csv
import dataclasses
import io
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpldan_jax import _checksums, _files

DIRECTIONS = ("image_to_text", "text_to_image", "average")
"""The directions of a metric: images query texts, texts query images, and the mean of the two."""

TITLES = {"image_to_text": "image to text", "text_to_image": "text to image", "average": "average"}
"""The name of each direction in tables and plots."""

SELECTION = {
    "map": "average map@50 on validation, which uses its labels",
    "recall": "the mean of recall@1, @5 and @10 on validation",
    "agreement": "agreement@50 on validation, which needs no labels",
}
"""What each criterion of `train.selection` chooses by, in a sentence."""

_ALIGNMENTS = {"l": "---", "c": ":-:", "r": "---:"}


@dataclasses.dataclass(frozen=True)
class MeanSd:
    """The mean of a figure over seeds and its sample standard deviation, which is `None` for a single seed.

    Example:
        >>> str(MeanSd(0.5, 0.01)), str(MeanSd(0.5, None)), f"{MeanSd(0.5, 0.01):+}"
        ('0.500 ± 0.010', '0.500', '+0.500 ± 0.010')
    """

    mean: float
    sd: float | None

    def __format__(self, sign: str) -> str:
        return f"{self.mean:{sign}.3f}" + ("" if self.sd is None else f" ± {self.sd:.3f}")

    def __str__(self) -> str:
        return format(self, "")


def mean_and_sd(values: Sequence[float]) -> MeanSd:
    """Returns the mean and the sample standard deviation of one figure over at least one seed.

    Example:
        >>> str(mean_and_sd([0.25, 0.5])), str(mean_and_sd([0.25]))
        ('0.375 ± 0.177', '0.250')
    """
    return MeanSd(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None)


def main_metric(metrics: Collection[str]) -> str:
    """Returns the metric that a table is about: map@50, or recall@10 where the pairs have no labels, or the first.

    Example:
        >>> main_metric(["recall@10"]), main_metric({"recall@10": {}, "map@50": {}}), main_metric(["ndcg@50"])
        ('recall@10', 'map@50', 'ndcg@50')
    """
    for metric in ("map@50", "recall@10", *metrics):
        if metric in metrics:
            return metric
    raise ValueError("there are no figures")


def seeds_in_words(seeds: Sequence[int]) -> str:
    """Returns what the figures over some seeds are, for a caption.

    Example:
        >>> seeds_in_words([0, 1]), seeds_in_words([3])
        ('mean ± standard deviation over seeds 0, 1', 'seed 3')
    """
    names = ", ".join(map(str, seeds))
    return f"mean ± standard deviation over seeds {names}" if len(seeds) > 1 else f"seed {names}"


def best_of_groups(means: Iterable[tuple[str, str, float]]) -> set[str]:
    """Returns the method with the highest mean of each group.

    Example:
        >>> sorted(best_of_groups([("supervised", "jrl", 0.6), ("supervised", "acmr", 0.7), ("others", "cca", 0.5)]))
        ['acmr', 'cca']
    """
    groups: dict[str, list[tuple[float, str]]] = {}
    for group, name, mean in means:
        groups.setdefault(group, []).append((mean, name))
    return {max(group)[1] for group in groups.values()}


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]], alignment: str) -> list[str]:
    """Returns the lines of a Markdown table.

    The alignment has a letter for each column: `l` (left), `c` (centred) or `r` (right). A `|` in a cell becomes a `/`,
    since it would end the cell.

    Example:
        >>> markdown_table(["method", "map@50"], [["CCA", "0.251"]], "lr")
        ['| method | map@50 |', '|---|---:|', '| CCA | 0.251 |']
    """
    heading, *lines = (f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in [columns, *rows])
    return [heading, f"|{'|'.join(_ALIGNMENTS[letter] for letter in alignment)}|", *lines]


def latex_table(columns: Sequence[str], rows: Iterable[Sequence[str]], alignment: str) -> list[str]:
    r"""Returns the lines of a LaTeX table, which needs the package `booktabs`; cells as those of `markdown_table`.

    Example:
        >>> print("\n".join(latex_table(["method", "map@50"], [["A & B", "**0.251 ± 0.010**"]], "lr")))
        \begin{tabular}{lr}
        \toprule
        method & map@50 \\
        \midrule
        A \& B & \textbf{0.251 $\pm$ 0.010} \\
        \bottomrule
        \end{tabular}
    """
    heading, *lines = (rf"{' & '.join(map(_in_latex, row))} \\" for row in [columns, *rows])
    begin, end = rf"\begin{{tabular}}{{{alignment}}}", r"\end{tabular}"
    return [begin, r"\toprule", heading, r"\midrule", *lines, r"\bottomrule", end]


_LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"±": r"$\pm$", "\N{MINUS SIGN}": "$-$", "<": "$<$", ">": "$>$"}
)


def _in_latex(cell):
    if cell.startswith("**") and cell.endswith("**") and len(cell) > 4:
        return rf"\textbf{{{_in_latex(cell[2:-2])}}}"
    return cell.translate(_LATEX)


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    r"""Returns a table as CSV; floats are written exactly and `None` gives an empty cell.

    Example:
        >>> csv_text(["method", "map@50"], [["CCA", 0.1 + 0.2], ["JRL", None]])
        'method,map@50\nCCA,0.30000000000000004\nJRL,\n'
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    # `float` first: the repr of NumPy's floats says their type.
    writer.writerows([repr(float(cell)) if isinstance(cell, float) else cell for cell in row] for row in rows)
    return text.getvalue()


def write_tables(folder: Path, names: Sequence[str], markdown: str, csv: str, record: Mapping[str, Any]) -> None:
    """Writes a table as Markdown, CSV and JSON, each file whole or not at all."""
    _files.write_text(folder / names[0], markdown)
    _files.write_text(folder / names[1], csv)
    _checksums.write_record(folder / names[2], record)
