"""Compares two finished runs, query by query. The same as `gpldan compare-runs`.

python experiments/compare_runs.py runs/mine runs/base
"""

import sys

from gpldan_jax.cli.main import run_command

if __name__ == "__main__":
    sys.exit(run_command("compare-runs", sys.argv[1:], "python experiments/compare_runs.py"))
