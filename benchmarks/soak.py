"""Damages, interrupts and starves the commands at random, and counts what comes of it.

    python benchmarks/soak.py --seed=1 --damages=1000 --interruptions=300 --disks=50 --out=soak.json
    python benchmarks/soak.py --readers=20000
    python benchmarks/soak.py --attacks
    python benchmarks/soak.py --seed=1 --only=1/17 --folder=soak

A damage changes a byte, a block, a line or the end of a file that a later command reads; then each of these commands is
called. An interruption is a signal at a random moment, and the same command again. A disk is a limit on the size of
files, or a small file system, that is full at a random byte; then the same command with room. An attack is a client of
the page that misbehaves while others search. The seed decides all but attacks, and what depends on the speed of the
machine.

The table says how often each outcome came. The exit status is 1 where something was silently wrong, ended in a
traceback or hung; each of these has a line that says how to repeat it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from soaking import attacks, damages, full_disks, interruptions, readers, table, workspace

_WORKER_ROUND = 200  # damages of one process


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the flags, makes the faults and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--seed", type=int, default=0, help="decides the faults; default %(default)s")
    add("--damages", type=int, default=0, metavar="N", help="how many files to damage")
    add("--interruptions", type=int, default=0, metavar="N", help="how many signals to send")
    add("--disks", type=int, default=0, metavar="N", help="how many full disks to make for each command")
    add("--readers", type=int, default=0, metavar="N", help="how many mutated inputs each reader gets")
    add("--attacks", action="store_true", help="let clients of the page misbehave, and measure what others notice")
    add("--minutes", type=float, default=60, help="begin nothing new after so long; default %(default)s")
    add("--folder", type=Path, help="where to work: an earlier one is used again; default: a new one that is deleted")
    add("--only", metavar="SEED/NUMBER", help="repeat one damage, and show what each command says")
    add("--out", type=Path, metavar="FILE.json", help="write the counts, and what was found")
    add("--trials", type=Path, metavar="FILE.json", help="write all trials")
    add("--worker", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.attacks and sys.platform != "linux":
        parser.error("--attacks needs Linux, where each client can have an address of its own in 127.0.0.0/8")
    if options.worker:
        root, seed, first, count, until = options.worker
        damages.work(Path(root), int(seed), int(first), int(count), Path(root) / "trials.jsonl", float(until))
        return 0
    from gpldan_jax import _checksums, _files

    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        folder = (options.folder or Path(scratch)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        _prepare_environment(folder)
        until = time.time() + 60 * options.minutes
        records: list[dict] = []
        if options.only:
            seed, _, number = options.only.partition("/")
            records += _damage(_workspace(folder), int(seed), int(number), 1, until)
            for record in records:
                print(json.dumps(record, indent=2))
        if options.damages:
            records += _damage(_workspace(folder), options.seed, 0, options.damages, until)
        if options.interruptions:
            root, count = _workspace(folder), options.interruptions
            records += _counted(interruptions.interrupt(root, options.seed, count, until), "interruptions")
        if options.disks:
            root, count = _workspace(folder), options.disks
            records += _counted(full_disks.fill(root, options.seed, count, until), "full disks")
        if options.readers:
            records += list(readers.mutate(folder, options.seed, options.readers, until))
        if options.attacks:
            records += list(attacks.attack(folder))
    if options.trials:
        _files.write_json(options.trials, records, indent=1)
    summary = table.summarize(records, options.seed)
    if options.out:
        _checksums.write_record(options.out, summary)
    for line in table.lines(summary):
        print(line)
    return 1 if summary["findings"] else 0


def _prepare_environment(folder):
    """For this process and those it starts: programs are compiled quickly and kept, and nothing of the user is used."""
    flags = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ.setdefault("XLA_FLAGS", flags)
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "True")
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    os.environ.pop("GPLDAN_DATA_DIR", None)


def _workspace(folder):
    """The files to damage; in a process of its own, because compilers and encoders keep state."""
    root = folder / "files"
    if not root.exists():
        child = os.fork() if hasattr(os, "fork") else 0
        if child == 0:
            status = 1
            try:
                workspace.build(root, lambda line: print(line, file=sys.stderr, flush=True))
                status = 0
            finally:
                sys.stderr.flush()
                os._exit(status)
        if os.waitpid(child, 0)[1]:
            raise SystemExit("the files could not be written")
    return root


def _damage(root, seed, first, count, until):
    """Trials of damages, in worker processes: a file may bring one down."""
    found, path, number = [], root / "trials.jsonl", first
    while number < first + count and time.time() < until:
        path.unlink(missing_ok=True)
        path.touch()
        last = min(number + _WORKER_ROUND, first + count)
        worker = [sys.executable, __file__, "--worker", root, seed, number, last - number, until]
        process = subprocess.Popen([str(part) for part in worker], stderr=subprocess.PIPE, text=True)
        _, errors = process.communicate()
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        found += [line for line in lines if "begun" not in line]
        begun = [line["begun"] for line in lines if "begun" in line]
        if process.returncode and not begun:
            raise SystemExit(f"the worker failed: {errors}")
        if process.returncode:
            lost = {"case": "", "file": "", "done": "", "command": "", "seed": f"{seed}/{begun[-1]}"}
            found.append({**lost, "outcome": "CRASH", "said": f"status {process.returncode}: {errors[-500:]}"})
        number = begun[-1] + 1 if begun else last
        print(f"damages: {number - first} of {count}", file=sys.stderr, flush=True)
    return [{"kind": "damage", **record} for record in found]


def _counted(records, title):
    found = []
    for record in records:
        found.append(record)
        if len(found) % 10 == 0:
            print(f"{title}: {len(found)}", file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
