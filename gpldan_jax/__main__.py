"""`python -m gpldan_jax` is `gpldan`."""

import sys

from gpldan_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
