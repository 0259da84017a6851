"""Makes one HTML page of finished workdirs. The same as `gpldan report`.

python experiments/report.py runs/emoji --out=report.html
"""

import sys

from gpldan_jax.cli.main import run_command

if __name__ == "__main__":
    sys.exit(run_command("report", sys.argv[1:], "python experiments/report.py"))
