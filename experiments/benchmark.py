"""Measures how fast the loss, training, search and image networks are on this machine. The same as `gpldan benchmark`.

python experiments/benchmark.py loss --sizes 64 256 2048
"""

import sys

from gpldan_jax.cli.main import run_command

if __name__ == "__main__":
    sys.exit(run_command("benchmark", sys.argv[1:], "python experiments/benchmark.py"))
