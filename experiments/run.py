"""Trains GPLDAN on one dataset and evaluates it. The same as `gpldan run`.

python experiments/run.py --config=configs/emoji.py
"""

import sys

from gpldan_jax.__main__ import main

if __name__ == "__main__":
    sys.exit(main("run", "python experiments/run.py"))
