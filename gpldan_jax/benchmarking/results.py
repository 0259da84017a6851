"""What a benchmark found: its rows, whether the implementations agree, their rates, and two runs side by side."""

import dataclasses
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from gpldan_jax.benchmarking import machine

MODE_TITLES = {
    "forward": "value",
    "forward_and_grad": "value and gradient",
    "train": "training step",
    "quality": "time to quality",
    "search": "search",
    "features": "features of pictures",
}
# Far above what the order of float32 sums makes of a loss and its gradient, far below any mistake.
_AGREEMENT = 1e-3


@dataclasses.dataclass(frozen=True)
class Row:
    """One implementation at one size; what is not known, or not measured, is `None`.

    Attributes:
        n: pairs; of a search items, of features pictures.
        implementation, mode, precision: what was run.
        library: `"jax"`, `"torch"` or `"numpy"`.
        devices: that it ran on.
        steps, members: of a call, which trains each of the members for so many steps; 1 and 1 for a loss.
        not_run: why it was not run; then the memory, if there, is predicted.
        loss: its value; of training that of the first step.
        recall: the share of the nearest that a search in two stages finds.
        gradient_norm: of the gradient by the features of both modalities.
        lower_s, compile_s: seconds to trace and to compile it.
        rounds: how often it was timed.
        median_s, min_s: seconds of one evaluation, or of one step of one member.
        steps_per_s: 1 / median_s.
        pairs_per_s: n / median_s; of a search times its queries.
        memory_bytes: arguments, results and temporaries; of jax as planned by XLA, for one device, of all members; of
            torch as taken by a process, with some 20 MB that its libraries set up for themselves.
        temp_bytes: the temporaries alone.
        flops: the least that the problem takes, see `problem.floor_flops`.
        fraction_of_ceiling: flops / median_s over the ceiling of its library, see `timing.ceilings`.
        fraction_of_best_ceiling: over the highest ceiling of a library at this precision.
    """

    n: int
    implementation: str
    mode: str
    precision: str
    library: str = "jax"
    devices: int = 1
    steps: int = 1
    members: int = 1
    not_run: str | None = None
    loss: float | None = None
    gradient_norm: float | None = None
    recall: float | None = None
    lower_s: float | None = None
    compile_s: float | None = None
    rounds: int | None = None
    median_s: float | None = None
    min_s: float | None = None
    steps_per_s: float | None = None
    pairs_per_s: float | None = None
    memory_bytes: int | None = None
    temp_bytes: int | None = None
    flops: int | None = None
    fraction_of_ceiling: float | None = None
    fraction_of_best_ceiling: float | None = None


class Disagreement(ArithmeticError):
    """Implementations of the same loss that find different values."""


def check_agreement(rows: Sequence[Row], precision: str = "highest") -> None:
    """`Disagreement` where, at this precision, a loss or a gradient is not that of the others at its size."""
    for figure in ("loss", "gradient_norm"):
        by_size = {}
        for row in rows:
            if row.precision == precision and getattr(row, figure) is not None:
                by_size.setdefault(row.n, []).append((getattr(row, figure), f"{row.implementation} ({row.mode})"))
        for n, found in by_size.items():
            usual = statistics.median_low([value for value, _ in found if math.isfinite(value)] or [math.nan])
            if not all(abs(value - usual) <= _AGREEMENT * abs(usual) for value, _ in found):
                values = ", ".join(f"{name} {value:.6g}" for value, name in found)
                raise Disagreement(f"the implementations disagree on the {figure} at n = {n}: {values}")


def timed(row: Row, seconds: Sequence[float]) -> Row:
    """The row with its times, from seconds of its calls."""
    a_call = row.steps * row.members
    median = statistics.median(seconds) / a_call
    times = {"rounds": len(seconds), "median_s": median, "min_s": min(seconds) / a_call}
    return dataclasses.replace(row, **times, steps_per_s=1 / median, pairs_per_s=row.n / median)


def with_fractions(row: Row, ceilings: Mapping, *, shared: bool) -> Row:
    """The row with its fractions of the ceilings, which are of one device; `shared`: all devices are one processor."""
    if row.median_s is None or row.flops is None:
        return row
    rate = row.flops / row.median_s / (1 if shared else row.devices)
    own = ceilings[row.library][row.precision]["flops_per_s"]
    return dataclasses.replace(
        row, fraction_of_ceiling=rate / own, fraction_of_best_ceiling=rate / best_ceiling(ceilings, row.precision)
    )


def best_ceiling(ceilings: Mapping, precision: str) -> float:
    """The highest `flops_per_s` of any library at this precision."""
    return max(found[precision]["flops_per_s"] for found in ceilings.values() if precision in found)


def title(record: Mapping, mode: str) -> str:
    """What a table or a plot of one mode shows: the mode, the dataset if there is one, and the machine."""
    parts = (MODE_TITLES[mode], record.get("dataset"), machine.title(record["machine"]))
    return ", ".join(part for part in parts if part)


def read(path: Path) -> dict:
    """A benchmark's file, its rows as `Row`; `ValueError` where it is none."""
    try:
        record = json.loads(path.read_text())
        if record["benchmark"] == "quality":
            raise ValueError("it holds times to quality, which are neither compared nor drawn")
        return record | {"rows": [Row(**row) for row in record["rows"]]}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} cannot be read as a benchmark's results: {error}") from error


def compare(old: Mapping, new: Mapping) -> list[tuple[Row, float, float]]:
    """For each row that both runs timed: the new one, old time / new time, and that ratio with each time in units of
    its run's ceiling, which takes out a machine that is faster or busier than it was.

    `ValueError` where the runs are not of the same problem on the same kind of device, or share no row.
    """
    for what, of in (
        ("benchmark", lambda run: run["benchmark"]),
        ("problem", lambda run: run["problem"]),
        ("device_kind", lambda run: run["machine"]["device_kind"]),
    ):
        if of(old) != of(new):
            raise ValueError(f"cannot compare runs of different {what}: {_differences(of(old), of(new))}")
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
    return row.n, row.implementation, row.mode, row.precision, row.devices, row.members


def _differences(old, new):
    """What differs of two values or nested mappings.

    Example:
        >>> _differences({"loss": {"alpha": 1.0, "beta": 0.1}}, {"loss": {"alpha": 0.5, "beta": 0.1}})
        'loss.alpha 1.0 and 0.5'
    """

    def flat(value, name=()):
        if not isinstance(value, Mapping):
            return {".".join(name): value}
        return {path: leaf for key in value for path, leaf in flat(value[key], (*name, key)).items()}

    old, new = flat(old), flat(new)
    names = [name for name in old | new if old.get(name) != new.get(name)]
    return ", ".join(f"{name} {old.get(name)} and {new.get(name)}".strip() for name in names)
