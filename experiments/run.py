"""Trains GPLDAN on one dataset and evaluates it. The same as `gpldan run`.

python experiments/run.py --config=configs/emoji.py
"""

import sys

from gpldan_jax.cli.main import run_command

if __name__ == "__main__":
    sys.exit(run_command("run", sys.argv[1:], "python experiments/run.py"))
