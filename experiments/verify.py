"""Checks files for damage. The same as `gpldan verify`.

python experiments/verify.py runs/emoji
"""

import sys

from gpldan_jax.cli.main import run_command

if __name__ == "__main__":
    sys.exit(run_command("verify", sys.argv[1:], "python experiments/verify.py"))
