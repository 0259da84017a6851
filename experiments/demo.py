"""Turns a folder of pictures and a table of captions into a page to search in. The same as `gpldan demo`.

python experiments/demo.py photos --texts=captions.csv
"""

import sys

from gpldan_jax.__main__ import main

if __name__ == "__main__":
    sys.exit(main("demo", "python experiments/demo.py"))
