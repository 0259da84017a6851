"""Trains the methods of the paper's Table 2 on the same features. The same as `gpldan compare`.

python experiments/compare.py --dataset=wikipedia --methods=all --seeds=5
"""

import sys

from gpldan_jax.cli.main import run_command

if __name__ == "__main__":
    sys.exit(run_command("compare", sys.argv[1:], "python experiments/compare.py"))
