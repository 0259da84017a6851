"""Trains the methods of the paper's Table 2 on the same features. The same as `gpldan compare`.

python experiments/compare.py --dataset=wikipedia --methods=all --seeds=5
"""

import sys

from gpldan_jax.__main__ import main

if __name__ == "__main__":
    sys.exit(main("compare", "python experiments/compare.py"))
