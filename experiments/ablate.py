"""Trains GPLDAN without its parts, as in the paper's Table 3. The same as `gpldan ablate`.

python experiments/ablate.py --config=configs/wikipedia.py --seeds=5
"""

import sys

from gpldan_jax.cli.main import run_command

if __name__ == "__main__":
    sys.exit(run_command("ablate", sys.argv[1:], "python experiments/ablate.py"))
