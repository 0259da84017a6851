"""The results of a benchmark: its rows, whether the implementations agree, its files, and the comparison of two runs.

A record is a dict, as it stands in a result file: `"benchmark"`, `"problem"`, `"ceilings"` as `timing.find_ceilings`
returns them, `"rows"`, and how it was made.
"""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpldan_jax import _checksums, config

COMPARABLE = ("loss", "train", "search", "features")
"""The benchmarks whose records can be compared."""
SHOWN = (*COMPARABLE, "products")
"""The benchmarks whose records can be shown again."""
DRAWABLE = ("loss", "train")
"""The benchmarks whose records can be drawn."""
MODE_TITLES = {
    "forward": "value",
    "forward_and_grad": "value and gradient",
    "train": "training step",
    "quality": "time to quality",
    "search": "search",
    "features": "features of pictures",
}
# Far above the rounding of float32 sums of a loss and its gradient, far below any mistake.
_AGREEMENT = 1e-3


@dataclasses.dataclass(frozen=True)
class Row:
    """One implementation at one size; what is not known, or not measured, is `None`."""

    n: int  # pairs; of a search items, of features pictures
    implementation: str
    mode: str  # a key of `MODE_TITLES`
    precision: str  # of matrix products: "highest", "default" or "bfloat16"
    library: str = "jax"  # or "torch" or "numpy"
    devices: int = 1
    block_size: int | None = None  # pairs on a side of a tile, where it was asked for
    steps: int = 1  # of a call; 1 for a loss
    members: int = 1  # runs that a call trains, each for `steps` steps; 1 for a loss
    not_run: str | None = None  # why it was not run; then the memory, if there, is predicted
    loss: float | None = None  # of training that of the first step
    gradient_norm: float | None = None  # of the gradient by the features of both modalities
    loss_error: float | None = None  # against float64, relative
    gradient_error: float | None = None  # of the gradient by the features, relative in L2
    recall: float | None = None  # share of the exact nearest items that a search in two stages finds
    lower_s: float | None = None  # seconds to trace it
    compile_s: float | None = None  # seconds to compile it
    rounds: int | None = None  # how often it was timed
    median_s: float | None = None  # seconds of one evaluation, or of one step of one member
    min_s: float | None = None
    steps_per_s: float | None = None  # 1 / median_s
    pairs_per_s: float | None = None  # n / median_s; of a search times its queries
    # Arguments, results and temporaries; of jax as planned by XLA, for one device, of all members; of torch as measured
    # in a process, with some 20 MB that its libraries set up for themselves.
    memory_bytes: int | None = None
    temp_bytes: int | None = None  # the temporaries alone
    flops: int | None = None  # the least that the problem takes, see `problem.minimum_flops`
    fraction_of_ceiling: float | None = None  # flops / median_s over the ceiling of its library
    fraction_of_best_ceiling: float | None = None  # over the highest ceiling of a library at this precision


class Disagreement(ArithmeticError):
    """Implementations of the same computation give different results."""


def check_agreement(rows: Sequence[Row], precision: str = "highest") -> None:
    """Checks that all implementations of a size give the same loss and gradient."""
    for figure in ("loss", "gradient_norm"):
        by_size: dict[int, list[tuple[float, str]]] = {}
        for row in rows:
            if row.precision == precision and getattr(row, figure) is not None:
                by_size.setdefault(row.n, []).append((getattr(row, figure), f"{row.implementation} ({row.mode})"))
        for n, found in by_size.items():
            median = statistics.median_low([value for value, _ in found if math.isfinite(value)] or [math.nan])
            if not all(abs(value - median) <= _AGREEMENT * abs(median) for value, _ in found):
                values = ", ".join(f"{name} {value:.6g}" for value, name in found)
                raise Disagreement(f"the implementations disagree on the {figure} at n = {n}: {values}")


def with_fractions(row: Row, ceilings: Mapping[str, Mapping], *, shared: bool) -> Row:
    """Returns a row with its fractions of the ceilings of one device; `shared`: all devices are the same processor."""
    if row.median_s is None or row.flops is None:
        return row
    rate = row.flops / row.median_s / (1 if shared else row.devices)
    own, best = ceilings[row.library][row.precision]["flops_per_s"], best_ceiling(ceilings, row.precision)
    return dataclasses.replace(row, fraction_of_ceiling=rate / own, fraction_of_best_ceiling=rate / best)


def best_ceiling(ceilings: Mapping[str, Mapping], precision: str) -> float:
    """Returns the highest ceiling of any library, in operations a second."""
    return max(found[precision]["flops_per_s"] for found in ceilings.values() if precision in found)


def write(record: Mapping[str, Any], path: Path) -> None:
    """Writes a result file from a record whose rows are dataclasses."""
    _checksums.write_record(path, {**record, "rows": [dataclasses.asdict(row) for row in record["rows"]]})


def read(path: Path, benchmarks: Sequence[str] = COMPARABLE) -> dict[str, Any]:
    """Reads a result file, of this or an earlier version, that holds one of some benchmarks."""
    try:
        record = _checksums.read_record(path)
        if record["benchmark"] in benchmarks:
            return _with_rows(record)
    except _checksums.DamagedError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read as results of a benchmark: {error}") from error
    raise ValueError(f"{path}: expected results of {' or '.join(benchmarks)}, found those of {record['benchmark']}")


def _with_rows(record):
    if record["benchmark"] == "all":
        parts = [{**part, "record": part["record"] and _with_rows(part["record"])} for part in record["parts"]]
        return record | {"parts": parts}
    return record | {"rows": [Row(**row) for row in record["rows"]]}


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[Row, float, float]]:
    """Compares two runs of the same benchmark; runs of different problems or kinds of devices are a `ValueError`.

    Returns:
        For each row that both runs timed: the new row, old time / new time, and the same ratio with each time
        multiplied by its run's ceiling. The second ratio leaves out that a machine is faster or busier than it was.
    """
    for what in ("benchmark", "problem", "device_kind"):
        was, now = (config.flat({what: {**run["machine"], **run}[what]}) for run in (old, new))
        changes = [
            f"{key.removeprefix(what).removeprefix('.')} {was.get(key)} and {now.get(key)}".strip()
            for key in was | now
            if was.get(key) != now.get(key)
        ]
        if changes:
            raise ValueError(f"cannot compare runs of different {what}: {', '.join(changes)}")
    before = {_key(row): row for row in old["rows"] if row.median_s is not None}
    found = []
    for row in new["rows"]:
        if row.median_s is not None and (twin := before.get(_key(row))):
            ratio = twin.median_s / row.median_s
            ceilings = [run["ceilings"][row.library][row.precision]["flops_per_s"] for run in (old, new)]
            found.append((row, ratio, ratio * ceilings[0] / ceilings[1]))
    if not found:
        raise ValueError("the runs have no implementation, mode, precision and size in common")
    return found


def _key(row):
    return row.n, row.implementation, row.mode, row.precision, row.devices, row.members, row.block_size
