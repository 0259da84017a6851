"""Measures how fast the loss, training, search and image networks are on this machine. The same as `gpldan benchmark`.

python experiments/benchmark.py loss --sizes 64 256 2048
"""

import sys

from gpldan_jax.__main__ import main

if __name__ == "__main__":
    sys.exit(main("benchmark", "python experiments/benchmark.py"))
