"""Prints tables of finished runs and comparisons. The same as `gpldan summarize`.

python experiments/summarize.py runs/emoji-*
"""

import sys

from gpldan_jax.cli.main import run_command

if __name__ == "__main__":
    sys.exit(run_command("summarize", sys.argv[1:], "python experiments/summarize.py"))
