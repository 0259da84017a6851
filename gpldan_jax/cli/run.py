"""Trains GPLDAN on one dataset and evaluates it.

    gpldan run --dataset=emoji
    gpldan run --config=configs/wikipedia.py:raw --config.loss.alpha=0.5 --workdir=runs/alpha-0.5

The same command continues an interrupted run and shows the result of a finished one. With a larger
--config.train.epochs it trains a finished run on, and the result is that of a longer run. The folder and the data may
be moved: --data says where the data lie now.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpldan_jax.cli.arguments import add_switch, call, config_parser, parse_config, positive
from gpldan_jax.cli.supervision import supervised

STOPPED = "stopped; the same command continues after the last epoch that was saved"


def main(argv: Sequence[str], program: str) -> int:
    """Parses the flags and runs."""
    parser = config_parser(program, __doc__)
    add = parser.add_argument_group("several processes").add_argument
    add_switch(add, "distributed", "this is one process of several; SLURM, Open MPI or Kubernetes says which")
    add("--coordinator", metavar="HOST:PORT", help="of the first process, where no cluster says so")
    add("--processes", type=positive, help="with --coordinator: how many processes")
    add("--process", type=int, help="with --coordinator: which of them this is, from 0")
    options, rest = parser.parse_with_overrides(argv)
    _check_processes(options)
    config, name = parse_config(options, rest)
    workdir = options.workdir or Path("runs") / name
    if not (options.distributed or options.coordinator):
        return _run(config, workdir, options)
    failures: list[BaseException] = []

    def work() -> int:
        return call(lambda argv, program: _run_process(config, workdir, options, failures), argv, program,
                    stopped=STOPPED)  # fmt: skip

    def must_leave() -> bool:
        from gpldan_jax.runs import processes

        return any(map(processes.is_left_alone, failures))

    return supervised(work, must_leave)


def _run_process(config: Mapping[str, Any], workdir: Path, options: argparse.Namespace, failures: list) -> int:
    """The run of one process of several; a failure of it is added to the list."""
    from gpldan_jax.runs import processes  # jax takes seconds to import; a mistyped flag should not wait

    try:
        processes.join(options.coordinator, options.processes, options.process)
    except ValueError as error:
        flags = ("coordinator, count and index", "--coordinator, --processes and --process")
        raise ValueError(str(error).replace(*flags)) from error
    try:
        return _run(config, workdir, options)
    except processes.LostProcessError as error:
        failures.append(error)
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BaseException as error:
        failures.append(error)
        raise


def _run(config: Mapping[str, Any], workdir: Path, options: argparse.Namespace) -> int:
    from gpldan_jax.runs import processes, session

    status = session.run(config, workdir, fresh=options.fresh)
    if not status and processes.is_first():
        print(f"written to {workdir}; next: gpldan search build --workdir={workdir}")
    return status


def _check_processes(options: argparse.Namespace) -> None:
    given = [value is not None for value in (options.coordinator, options.processes, options.process)]
    if any(given) and (not all(given) or options.distributed):
        raise ValueError("--coordinator, --processes and --process belong together, --distributed needs none of them")
    if all(given) and not 0 <= options.process < options.processes:
        raise ValueError(f"--process must be below --processes, got {options.process} of {options.processes}")
