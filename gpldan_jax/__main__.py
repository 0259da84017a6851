"""`gpldan` and `python -m gpldan_jax`: the first lines of ours in a process.

While the commands are imported, Ctrl-C would end in a stack trace. So this module imports next to nothing, and first
makes a signal end the process with one line.
"""

import os
import signal
import sys
from types import FrameType


def main(command: str = "", program: str = "") -> int:
    """Runs a command with the arguments of this process.

    Args:
        command: one of `gpldan_jax.cli.main.COMMANDS`; "" where the first argument names it.
        program: how the command was started, for its help and for the files that say how they were made.

    Returns:
        The exit status, see `gpldan_jax.cli.main.main`.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    from gpldan_jax.cli import main as commands

    if command:
        return commands.end_process(lambda: commands.run_command(command, sys.argv[1:], program))
    return commands.main()


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, b"stopped\n")
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
