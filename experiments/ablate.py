"""Trains GPLDAN without its parts, as in the paper's Table 3. The same as `gpldan ablate`.

python experiments/ablate.py --config=configs/wikipedia.py --seeds=5
"""

import sys

from gpldan_jax.__main__ import main

if __name__ == "__main__":
    sys.exit(main("ablate", "python experiments/ablate.py"))
