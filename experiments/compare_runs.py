"""Compares two finished runs, query by query. The same as `gpldan compare-runs`.

python experiments/compare_runs.py runs/mine runs/base
"""

import sys

from gpldan_jax.__main__ import main

if __name__ == "__main__":
    sys.exit(main("compare-runs", "python experiments/compare_runs.py"))
