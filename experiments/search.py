"""Builds, queries and serves a searchable collection. The same as `gpldan search`.

python experiments/search.py build --workdir=runs/emoji
"""

import sys

from gpldan_jax.cli.main import run_command

if __name__ == "__main__":
    sys.exit(run_command("search", sys.argv[1:], "python experiments/search.py"))
