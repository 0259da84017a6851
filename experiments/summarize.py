"""Prints tables of finished runs and comparisons. The same as `gpldan summarize`.

python experiments/summarize.py runs/emoji-*
"""

import sys

from gpldan_jax.__main__ import main

if __name__ == "__main__":
    sys.exit(main("summarize", "python experiments/summarize.py"))
