"""Makes Markdown tables of the files in `docs/results` and `benchmarks/results`."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS, BENCHMARKS = ROOT / "docs" / "results", ROOT / "benchmarks" / "results"
SOAKS = ROOT / "benchmarks" / "soak_results"
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

_FAULTS = {
    "damage": "damaged files",
    "interruption": "signals at random moments",
    "full disk": "full disks",
    "reader": "mutated inputs",
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
    raise ValueError(f"no results of {name!r} in {RESULTS}")


def scores_table(names: list[str], methods: list[str], column: str, *, mean: bool = False) -> str:
    """A Markdown table of methods against datasets; an empty cell where a method was not run."""
    tables = {name: table_of(results_file(name)) for name in names}
    titles = [DATASETS[name.rpartition("/")[2]] for name in names]
    lines = [["method", *titles, *(["mean"] if mean else [])], ["---"] + ["---:"] * (len(names) + mean)]
    for method in methods:
        cells = [tables[name].get(method, {}).get(column, "") for name in names]
        if not any(cells):
            raise ValueError(f"no {column} of {method!r} in the results of {', '.join(names)}")
        means = [float(re.search(r"\d\.\d+", cell)[0]) for cell in cells if cell]
        extra = ([f"{sum(means) / len(means):.3f}"] if len(means) == len(cells) else [""]) if mean else []
        lines.append([method, *(cell.replace("**", "") for cell in cells), *extra])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def soak_tables(names: list[str]) -> str:
    """Two Markdown tables of files of `benchmarks/soak_results`: what came of faults, and of attacks on the page."""
    found = {name: json.loads((SOAKS / name).read_text()) for name in names}
    lines = [["faults", "number", "what came of them", "faults of ours"], ["---", "---:", "---", "---:"]]
    attacks = [["attack", "measured"], ["---", "---"]]
    for record in found.values():
        for kind, number in record["faults"].items():
            counts: dict[str, int] = {}
            for row in record["rows"]:
                if row["kind"] == kind:
                    counts[row["outcome"]] = counts.get(row["outcome"], 0) + row["count"]
            came = "; ".join(f"{outcome}: {count:,}" for outcome, count in counts.items())
            ours = sum(one["kind"] == kind for one in record["findings"])
            if kind != "attack":
                lines.append([_FAULTS[kind], f"{number:,}", came, f"{ours:,}"])
        attacks += [[case, said] for case, said in record["attacks"].items()]
    tables = ["\n".join(f"| {' | '.join(line)} |" for line in table) for table in (lines, attacks) if len(table) > 2]
    made = []
    for name, record in found.items():
        machine = record["machine"]
        made.append(
            f"`{record['command']}`, {record['date'][:10]}, {machine['cores']} cores of {machine['cpu']}: `{name}`"
        )
    return "\n\n".join([*tables, f"The files are in `benchmarks/soak_results`. {'; '.join(made)}."])


def benchmark_table(name: str, rows: list[str], columns: list[str], part: str = "") -> tuple[str, str]:
    """A Markdown table of a file of `benchmarks/results`, and the sentences that say how the file was made.

    A file of `gpldan benchmark all` has several parts, of which one is chosen.
    """
    path = BENCHMARKS / name
    whole = record = json.loads(path.read_text())
    if part:
        record = next(of["record"] for of in whole["parts"] if of["name"] == part)
    chosen = [row for row in record["rows"] if not rows or row.get("implementation") in rows]
    if not chosen:
        raise ValueError(f"{name} has no rows of {', '.join(rows)}")
    sides = [":---" if column in ("implementation", "precision") else "---:" for column in columns]
    lines = [[_FIELDS[column][0] for column in columns], sides]
    for row in chosen:
        lines.append([_written(row, column) for column in columns])
    command = re.sub(r"^.*benchmark(\.py)? ", "", whole["command"])
    command = re.sub(r" --(out|plot)[ =]\S+| --markdown", "", command)
    machine = whole["machine"]
    cpu = machine.get("platform") == "cpu"
    device = f"{machine['cores']} cores of {machine['cpu']}" if cpu else machine["device_kind"]
    libraries = [f"{of} {found}" for of, found in machine["versions"].items() if of in ("python", "jax", "torch")]
    made = f"Made by `gpldan benchmark {command}` on {device} ({', '.join(libraries)}), {whole['date'][:10]}. "
    made += f"The file is `benchmarks/results/{name}`."
    if "fraction_of_ceiling" in columns:
        rates = [
            f"{library}, {precision}: {found['flops_per_s'] / 1e9:,.0f}"
            for library, precisions in record["ceilings"].items()
            for precision, found in precisions.items()
        ]
        made += f" Ceilings in Gflop/s: {'; '.join(rates)}."
    return "\n".join(f"| {' | '.join(line)} |" for line in lines), made


def _written(row, column):
    value = row.get(column)
    form = _FIELDS[column][1]
    if value is None:
        return "not run" if column in ("median_s", "compile_s") and row.get("not_run") else ""
    if form == "time":
        digits = 2 if value < 0.01 else 1
        return f"{value * 1e3:,.{digits}f} ms" if value < 1 else f"{value:,.2f} s"
    if form == "bytes":
        return f"{value / 1e6:,.1f} MB" if value < 1e9 else f"{value / 1e9:,.1f} GB"
    return form.format(value)
