"""Checks files for damage. The same as `gpldan verify`.

python experiments/verify.py runs/emoji
"""

import sys

from gpldan_jax.__main__ import main

if __name__ == "__main__":
    sys.exit(main("verify", "python experiments/verify.py"))
