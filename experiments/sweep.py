"""Trains a grid of settings and seeds, draws the paper's Figure 2. The same as `gpldan sweep`.

python experiments/sweep.py --config=configs/wikipedia.py --alpha=0.3,1,3 --beta=0,0.1,1 --seeds=5
"""

import sys

from gpldan_jax.__main__ import main

if __name__ == "__main__":
    sys.exit(main("sweep", "python experiments/sweep.py"))
