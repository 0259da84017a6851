"""Builds, queries and serves a searchable collection. The same as `gpldan search`.

python experiments/search.py build --workdir=runs/emoji
"""

import sys

from gpldan_jax.__main__ import main

if __name__ == "__main__":
    sys.exit(main("search", "python experiments/search.py"))
