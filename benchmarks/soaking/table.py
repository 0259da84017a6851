"""What came of a soak: counts by kind, case and outcome, for a file of results and for a table to print."""

import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from soaking import attacks, damages, full_disks, interruptions, readers

BAD = {*attacks.BAD, *damages.BAD, *full_disks.BAD, *interruptions.BAD, *readers.BAD}
"""The outcomes that are faults of ours."""
_PATHS = ("--folder", "--out", "--trials")  # of this machine
_ALWAYS = (damages.SILENT, "TRACEBACK")  # are shown also where there are none


def summarize(records: Sequence[Mapping[str, Any]], seed: int) -> dict[str, Any]:
    """Counts trials.

    Args:
        records: of the trials.
        seed: that decided them.

    Returns:
        `"rows"`: kind, case, outcome and count; `"faults"`: how many there were of each kind; `"attacks"`: what was
        measured; `"findings"`: the trials that are faults of ours; and how all of it was made.
    """
    from gpldan_jax.benchmarking import problem
    from gpldan_jax.runs.provenance import commit

    counts: Counter[tuple[str, str, str]] = Counter()
    faults: Counter[str] = Counter()
    damaged = set()
    for record in records:
        count = record.get("count", 1)
        counts[record["kind"], record["case"], record["outcome"]] += count
        # One damage has several trials: one for each command.
        faults[record["kind"]] += 0 if record["kind"] == "damage" and record["seed"] in damaged else count
        damaged.add(record["seed"])
    return {
        "benchmark": "soak",
        "seed": seed,
        "rows": [
            {"kind": kind, "case": case, "outcome": outcome, "count": count}
            for (kind, case, outcome), count in counts.items()
            if count
        ],
        "faults": dict(faults),
        "attacks": {record["case"]: record["said"] for record in records if record["kind"] == "attack"},
        "findings": [dict(record) for record in records if record["outcome"] in BAD],
        "machine": problem.describe(),
        "date": time.strftime("%Y-%m-%d-%H%M%S"),
        "command": shlex.join(
            ["python", "benchmarks/soak.py", *(of for of in sys.argv[1:] if not of.startswith(_PATHS))]
        ),
        "commit": commit(),
    }


def lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """Yields the lines of the table of a summary, then one for each measured attack and each finding."""
    counts = {(row["kind"], row["case"], row["outcome"]): row["count"] for row in summary["rows"]}
    known = dict.fromkeys([*damages.OUTCOMES, *(outcome for *_, outcome in counts)])
    shown = [outcome for outcome in known if outcome in _ALWAYS or any(of == outcome for *_, of in counts)]
    for number, outcome in enumerate(shown, start=1):
        yield f"({number}) {outcome}"
    cases = list(dict.fromkeys((kind, case) for kind, case, _ in counts))
    width = max([len(f"{kind}: {case}") for kind, case in cases], default=0)
    yield " " * width + "".join(f"{f'({number})':>7}" for number in range(1, len(shown) + 1))
    for kind, case in cases:
        cells = "".join(f"{counts.get((kind, case, outcome), 0):>7}" for outcome in shown)
        yield f"{f'{kind}: {case}':<{width}}{cells}"
    totals = (sum(count for key, count in counts.items() if key[2] == outcome) for outcome in shown)
    yield f"{'all':<{width}}" + "".join(f"{total:>7}" for total in totals)
    faults = ", ".join(f"{kind}: {count}" for kind, count in summary["faults"].items())
    yield f"{faults or 'no faults'}; {sum(counts.values())} trials"
    for case, said in summary["attacks"].items():
        yield f"{case}: {said}"
    for found in summary["findings"]:
        where = f"{found['case']} {found['file']}, {found['done']}, {found['command']}"
        yield f"{found['outcome']}: {where} ({found['kind']} {found['seed']}): {found['said']}"
