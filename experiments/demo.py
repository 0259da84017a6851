"""Turns a folder of pictures and a table of captions into a page to search in. The same as `gpldan demo`.

python experiments/demo.py photos --texts=captions.csv
"""

import sys

from gpldan_jax.cli.main import run_command

if __name__ == "__main__":
    sys.exit(run_command("demo", sys.argv[1:], "python experiments/demo.py"))
