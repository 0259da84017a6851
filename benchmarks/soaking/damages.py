"""Damages files and calls each command that reads them: same, refused, repaired, or wrong and silent."""

import hashlib
import json
import os
import random
import re
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from soaking import workspace
from soaking.faults import damage
from soaking.leaving import digest, leavings, new_lines, plain
from soaking.workspace import Called, TooLong, call

SAME, REPAIRED, REFUSED = "same", "repaired and said", "refused by name"
UNKNOWN = "other content, and no checksum of ours"  # what a user wrote, or where a warning says that nothing is known
UNVERIFIED = "other content, after --no_verify"
UNNAMED, SILENT, TRACEBACK, HANG, CRASH = "refused without a name", "SILENT", "TRACEBACK", "HANG", "CRASH"
OUTCOMES = (SAME, REPAIRED, REFUSED, UNKNOWN, UNVERIFIED, UNNAMED, SILENT, TRACEBACK, HANG, CRASH)
BAD = (UNNAMED, SILENT, TRACEBACK, HANG, CRASH)
_LONGEST = 60  # seconds of computing in a command
_DERIVED = {"README.md", "sweep.csv", "table2.csv", "table2.md", ".lock", ".lock-holder"}  # read by no command


@dataclass(frozen=True)
class Case:
    """Files that belong together, and the commands that read them.

    Attributes:
        name: of the case.
        source: the folder, or file, of the workspace that is copied for each trial.
        commands: by name, a function that takes the root and the copy and returns the arguments.
        own: whether a user wrote the files: they have no checksum, so other content is no fault of ours.
        leaves: names or suffixes of files whose bytes count after a command.
        makers: commands after which these files are whole.
    """

    name: str
    source: str
    commands: dict[str, Callable[[Path, Path], list[str]]]
    own: bool = False
    leaves: tuple[str, ...] = ()
    makers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trial:
    """A damage and what one command made of it."""

    case: str
    file: str
    done: str
    command: str
    outcome: str
    said: str
    seed: str


_LEFT = ("results.json", "metrics.jsonl", "model.safetensors", "README.md")


def _cases() -> list[Case]:
    def finished(root, copy):
        return workspace.run_flags(root / "made" / "features.npz", copy, "--config.train.epochs=2")

    def stopped(root, copy):
        return workspace.run_flags(root / "made" / "features.npz", copy, "--config.train.epochs=4")

    def new_run(root, copy):
        # The files of a user, or those of an extraction.
        epochs = "--config.train.epochs=1"
        return [*workspace.run_flags(copy, root / "trial-out", epochs), "--config.retrieval.bank=0"]

    def ask(*more):
        return lambda root, copy: ["search", "query", str(copy), "--json", *more]

    collection = {
        "search query --item": ask("--item=1.png", "--gallery=image"),
        "search query --no_verify": ask("--item=1.png", "--gallery=image", "--no_verify"),
        "search query --candidates": ask("--item=1.png", "--gallery=text", "--candidates=20"),
        "search recall": lambda root, copy: ["search", "recall", str(copy), "--candidates", "20", "--json", "-k", "3"],
        "search serve": lambda root, copy: ["serve", str(copy)],
        "search build": lambda root, copy: [
            *("search", "build", f"--workdir={root / 'finished'}", f"--out={copy}", "--candidates"),
        ],
    }
    run_commands = {
        "run": finished,
        "report": lambda root, copy: ["report", str(copy), f"--out={root / 'trial-out' / 'report.html'}"],
        "summarize": lambda root, copy: ["summarize", str(copy)],
        "compare-runs": lambda root, copy: ["compare-runs", str(copy), str(root / "again")],
        "export": lambda root, copy: ["export", str(copy), "--to=numpy", f"--out={root / 'trial-out' / 'exported'}"],
        "search build": lambda root, copy: [
            *("search", "build", f"--workdir={copy}", f"--out={root / 'trial-out' / 'collection'}"),
        ],
        "run, more epochs": lambda root, copy: workspace.run_flags(
            root / "made" / "features.npz", copy, "--config.train.epochs=3"
        ),
    }
    reports = {name: run_commands[name] for name in ("report", "summarize")}

    def best(root, copy):
        return ["run", f"--config={copy / 'best.py'}", f"--workdir={root / 'trial-out'}", "--config.train.epochs=1"]

    def build_of_own(root, copy):
        return [*("search", "build", f"--model={root / 'finished'}", f"--features={copy / 'queries.npy'}"),
                "--modality=text", f"--out={root / 'trial-out'}"]  # fmt: skip

    own = {"run on " + name: (lambda root, copy, name=name: new_run(root, copy / name))
           for name in ("own.npz", "folder", "own.h5", "own.mat")}  # fmt: skip
    return [
        Case("finished run", "finished", run_commands, leaves=(
            *_LEFT, ".npy", "index.json",
        ), makers=("run",)),
        Case("stopped run", "stopped", {"run": stopped}, leaves=(*_LEFT, "neighbours.npz"), makers=("run",)),
        Case("collection", "collection", collection, makers=("search build",), leaves=(
            "index.json", "pictures.sqlite",
        )),
        Case("sweep", "sweep", {
            "sweep": lambda root, copy: workspace.sweep_flags(root / "made" / "features.npz", copy),
            "report": run_commands["report"], "best.py": best,
        }, leaves=("best.py", "sweep.json", *_LEFT), makers=("sweep",)),
        Case("stopped sweep", "sweeping", {
            "sweep": lambda root, copy: workspace.sweep_flags(root / "made" / "features.npz", copy),
        }, leaves=("best.py", "sweep.json"), makers=("sweep",)),
        Case("comparison", "comparison", {
            "compare": lambda root, copy: workspace.compare_flags(root / "made" / "features.npz", copy), **reports,
        }, leaves=("table2.json",), makers=("compare",)),
        Case("extracted file", "made/features.npz", {
            "run": new_run,
            "extract": workspace.extract_flags,
            "search build": lambda root, copy: [
                *("search", "build", f"--workdir={root / 'finished'}", f"--out={root / 'trial-out'}"),
                f"--data={copy}",
            ],
        }, leaves=(*_LEFT, ".npz", "index.json", "pictures.sqlite"), makers=("extract",)),
        Case("extracted folder", "made/features", {"run": new_run, "extract": workspace.extract_flags,
            "run from disk": lambda root, copy: [*new_run(root, copy), "--config.mesh.resident=False"],
            "search build": lambda root, copy: [
                *("search", "build", f"--workdir={root / 'finished'}", f"--out={root / 'trial-out'}"),
                f"--data={copy}",
            ],
        }, leaves=(*_LEFT, ".npy", "index.json", "pictures.sqlite"), makers=("extract",)),
        Case("stopped extraction", "extracting", {
            "extract": lambda root, copy: workspace.extract_flags(root, copy / "features.npz"),
        }, leaves=(".npz",), makers=("extract",)),
        Case("files of a user", "own", {**own, "search build": build_of_own}, own=True, leaves=(*_LEFT, "index.json")),
    ]  # fmt: skip


CASES = {case.name: case for case in _cases()}


def trials(root: Path, seed: int, number: int, references: dict[tuple[str, str], Any]) -> Iterator[Trial]:
    """Makes one damage, and yields what each command that may read the file makes of it.

    Args:
        root: the workspace.
        seed: with the number of the damage it decides everything.
        number: of the damage.
        references: what the commands say and leave without damage; filled here.

    Yields:
        A trial for each command.
    """
    rng, names = random.Random(f"{seed}/{number}"), list(CASES)
    case = CASES[names[number % len(names)]]
    # Files of one kind count once: a checkpoint has very many.
    kinds: dict[str, list[str]] = {}
    for name in _files(root / case.source):
        kinds.setdefault(_kind(name), []).append(name)
    name = rng.choice(kinds[rng.choice(sorted(kinds))])
    state = rng.getstate()
    for command, argv in {"verify": _verify, **case.commands}.items():
        if not _reads(case, command, name):
            continue
        if (case.name, command) not in references:
            copy = _fresh_copy(root, case)
            _outcome(root, copy, argv(root, copy), case)  # the first time says that it compiles
            copy = _fresh_copy(root, case)
            references[case.name, command] = _outcome(root, copy, argv(root, copy), case)
        copy = _fresh_copy(root, case)
        path = copy / name if copy.is_dir() else copy
        rng.setstate(state)
        done = damage(path, rng)
        wrong = digest(path) if path.exists() else None
        try:
            called, left = _outcome(root, copy, argv(root, copy), case)
        except TooLong:
            outcome, said = HANG, f"more than {_LONGEST} s"
        else:
            before, left_before = references[case.name, command]
            own_name = str(path.relative_to(root))
            if left.get(own_name) == wrong and command not in case.makers:
                # The file is still damaged, and this command does not write it.
                left = {**left, own_name: left_before[own_name]} if own_name in left_before else left
            outcome, said = judge((before, left_before), (called, left), case, command, path)
        yield Trial(case.name, name, done, command, outcome, said, f"{seed}/{number}")


def _files(source):
    if source.is_file():
        return [source.name]
    found = (path.relative_to(source).as_posix() for path in sorted(source.rglob("*")) if path.is_file())
    return [name for name in found if not _is_ignored(name)]


def _is_ignored(name):
    parts = name.split("/")
    return parts[-1] in _DERIVED or "tensorboard" in parts or parts[-1].endswith(".skipped.json")


def _kind(name):
    """What a file is, without the numbers in its path."""
    if "checkpoints/" in name or re.match(r"slices/\d+/", name):
        return re.sub(r"\d+", "#", re.sub(r"(checkpoints/\d+/[^/]+|slices/\d+/\d+/[^/]+).*", r"\1", name))
    return re.sub(r"[0-9a-f]{8,}|\d+", "#", name)


def _reads(case, command, name):
    """Whether a command may read a file: one of a user is read by the command that names it."""
    if case.own:
        first = name.split("/")[0]
        return command == f"run on {first}" or (command == "search build" and first == "queries.npy")
    return True


def _verify(root, copy):
    return ["verify", str(copy)]


def _fresh_copy(root, case):
    for leftover in (root / "trial", root / "trial-out"):
        shutil.rmtree(leftover, ignore_errors=True)
    source = root / case.source
    copy = root / "trial" / source.name
    copy.parent.mkdir()
    (root / "trial-out").mkdir()
    if source.is_dir():
        shutil.copytree(source, copy)
    else:
        shutil.copyfile(source, copy)
    return copy


def _outcome(root, copy, argv, case):
    """What a command says and leaves."""

    def too_long(*_):
        raise TooLong

    previous = signal.signal(signal.SIGPROF, too_long)
    signal.setitimer(signal.ITIMER_PROF, _LONGEST)  # of computing: a busy machine is no fault of the command
    try:
        called = _serve(Path(argv[1])) if argv[0] == "serve" else call(argv)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)
    return called, leavings(root, [copy if copy.is_dir() else copy.parent, root / "trial-out"], case.leaves)


def _serve(folder):
    """Opens a collection as `search serve` does and asks it all that the page asks."""
    from gpldan_jax.serving.collection import Collection

    def ask(argv, program):
        loaded = Collection.load(folder)
        print(json.dumps(loaded.about(), sort_keys=True, default=str))
        for modality, index in loaded.indexes.items():
            for row in (0, len(index) // 2, len(index) - 1):
                entry = index.entry(index.ids[row].item())
                found = index.search(entry.encoded, k=5)
                print(modality, entry.id, entry.fields, found.ids.tolist(), found.distances.tolist())
                if loaded.pictures is not None and (name := entry.fields.get("picture")):
                    file = loaded.pictures.file(name)
                    print(name, "no picture" if file is None else hashlib.sha256(file).hexdigest())
        if loaded.pictures is not None:
            print(len(loaded.pictures), "pictures")
            loaded.pictures.close()
        return 0

    import contextlib
    import io

    from gpldan_jax.cli.arguments import call as call_work

    out, err, status, failure = io.StringIO(), io.StringIO(), -1, ""
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        try:
            status = call_work(ask, [], "gpldan search", stopped="stopped")
        except TooLong:
            raise
        except BaseException as error:
            failure = f"{type(error).__name__}: {error}"
    return Called(status, out.getvalue(), err.getvalue(), failure)


def judge(reference, found, case: Case, command: str, path: Path) -> tuple[str, str]:
    """Compares what a command says and leaves with what it does without damage; returns the outcome, and the words."""
    (before, left_before), (called, left) = reference, found
    said = " | ".join(line for line in called.err.strip().splitlines()) or called.failure
    if called.failure or "Traceback (most recent call last)" in called.err + called.out:
        return TRACEBACK, (called.failure or called.err)[-300:]
    is_named = _is_named(path, [before.err, before.out], called.err + called.out)
    if command == "verify":
        return _judge_verify(called, case, path)
    same = plain(called.out) == plain(before.out) and left == left_before
    if called.status == before.status == 0:
        if is_named:
            return (REPAIRED if left == left_before else UNKNOWN), said or new_lines(before.out, called.out)
        # A command that makes something anew says more than one that finds it finished.
        if same or (command in case.makers and left == left_before):
            return SAME, ""
        if case.own or command.endswith("--no_verify"):
            return UNKNOWN if case.own else UNVERIFIED, ""
        lost = left_before.keys() - left.keys()
        differ = sorted(name for name in left.keys() & left_before.keys() if left[name] != left_before[name])
        return SILENT, f"{new_lines(before.out, called.out)[:200]}; other: {differ}; lost: {sorted(lost)}"
    errors = [line for line in called.err.splitlines() if line.startswith("error: ")]
    lines = 8 if "looked for" in called.err else 2  # of data that are not there, what would do
    if called.status not in (1, 2) or len(errors) != 1 or len(called.err.splitlines()) > lines or not is_named:
        return UNNAMED, f"status {called.status}: {said[:300] or called.out[-300:]}"
    return REFUSED, errors[0][:200]


def _judge_verify(called, case, path):
    """`verify` must find what is damaged; only cards, tables and files that nothing names have no checksum."""
    bad = [line for line in called.out.splitlines() if line.startswith("damaged")]
    unknown = [line for line in called.out.splitlines() if line.startswith("no checksum")]
    if called.status == 1 and bad:
        return REFUSED, bad[0][:200]
    if called.status == 2 and called.err.startswith("error: "):
        return REFUSED, called.err.strip()
    if unknown:
        return UNKNOWN, unknown[0][:200]
    return SAME, "verify finds nothing"


def _is_named(path, before, text):
    """Whether new lines of the output name the damaged file, its folder or, in a checkpoint, the step."""
    known = set(plain("\n".join(before)).splitlines())
    # A long line is broken to fit a terminal; in one piece, names are found again.
    new = "".join(line for line in plain(text).splitlines() if line not in known).replace(" ", "")
    names = [path.name, *(str(parent) for parent in list(path.parents)[:6] if "trial" in parent.parts[:-1])]
    return any(name.replace(" ", "") in new for name in names)


def work(root: Path, seed: int, first: int, count: int, out: Path, until: float) -> None:
    """Writes trials as lines of JSON; in a process of its own, which a file may bring down."""
    os.chdir(root)
    workspace.prepare()
    references: dict[tuple[str, str], Any] = {}
    with out.open("a") as file:
        for number in range(first, first + count):
            if time.time() > until:
                return
            print(json.dumps({"begun": number}), file=file, flush=True)
            for trial in trials(root, seed, number, references):
                print(json.dumps(asdict(trial)), file=file, flush=True)
