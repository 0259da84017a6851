"""Signals at random moments, from the first hundredth of a second on; then the same command again."""

import random
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from soaking import processes
from soaking.leaving import leavings

SAME, EARLY = "same bytes afterwards, right status, one line", "ended by the system, before Python ran a line of ours"
WRONG_BYTES, WRONG_STATUS, LINES, AGAIN = "OTHER BYTES AFTERWARDS", "WRONG STATUS", "MORE LINES", "CANNOT GO ON"
BAD = (WRONG_BYTES, WRONG_STATUS, LINES, AGAIN, "TRACEBACK", "HANG")
_SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}
# The two files that run before signals are handled. Python's own start, before any of ours, ends in a stack trace too.
_OURS = re.compile(r"[/\\]gpldan_jax[/\\](?!__(init|main)__\.py)")
_FIRST, _EARLY_SHARE = 0.01, 0.3  # seconds; of the signals in the first second


def interrupt(root: Path, seed: int, count: int, until: float) -> Iterator[dict[str, Any]]:
    """Yields a record for each interruption.

    Args:
        root: the workspace.
        seed: decides commands, signals and moments.
        count: how many.
        until: when to begin no other one, as `time.time()`.
    """
    known: dict[str, Any] = {}
    for number in range(count):
        if time.time() > until:
            return
        rng = random.Random(f"{seed}/interruption/{number}")
        name = rng.choice(list(processes.commands()))
        if name not in known:
            known[name] = processes.reference(root, name)
        reference, expected = known[name]
        number_of_signal = rng.choice(list(_SIGNALS))
        longest = min(1.0, reference.seconds) if rng.random() < _EARLY_SHARE else reference.seconds
        moment = rng.uniform(_FIRST, longest)
        out = processes.new_folder(root, name)
        argv = processes.commands()[name](root, out)
        started = time.monotonic()
        process = processes.start(root, argv)
        time.sleep(max(0.0, started + moment - time.monotonic()))
        if is_serving := name == "search serve":
            is_serving = moment > 0.9 * reference.seconds
        process.send_signal(number_of_signal)
        ended = processes.end(process, started)
        outcome, said = _judge_signal(ended, number_of_signal, is_serving)
        if outcome in (SAME, EARLY) and name != "search serve":
            again = processes.finish(root, argv)
            left = leavings(root, [out], processes.LEFT)
            if again.status != 0:
                outcome, said = AGAIN, f"status {again.status}: {again.err[-300:]}"
            elif left != expected:
                differ = [path for path in left.keys() | expected.keys() if left.get(path) != expected.get(path)]
                outcome, said = WRONG_BYTES, f"{sorted(differ)}"
        if name == "search serve" and leavings(root, [out], processes.LEFT) != expected:
            outcome, said = WRONG_BYTES, "the collection has changed"
        done = f"{signal.Signals(number_of_signal).name} after {moment:.3f} s"
        record = {"kind": "interruption", "case": name, "file": "", "done": done, "command": name}
        yield {**record, "outcome": outcome, "said": said, "seed": f"{seed}/{number}"}


def _judge_signal(ended, number, is_serving):
    if ended.status is None:
        return "HANG", ended.err[-300:]
    if ended.status == -number and not ended.out and not ended.err and number != signal.SIGKILL:
        return EARLY, ""
    if "Traceback" in ended.err:
        return ("TRACEBACK" if _OURS.search(ended.err) else EARLY), ended.err[-400:]
    # A command that was finished already has done its work, and a server that is asked to stop has too.
    if ended.status not in (_SIGNALS[number], 0):
        return WRONG_STATUS, f"status {ended.status}: {ended.err[-300:]}"
    lines = [line for line in ended.err.splitlines() if not line.startswith("warning: ")]
    if len(lines) > 1 or (ended.status and number != signal.SIGKILL and not ended.err + ended.out):
        return LINES, ended.err[-300:]
    return SAME, ""
