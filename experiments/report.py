"""Makes one HTML page of finished workdirs. The same as `gpldan report`.

python experiments/report.py runs/emoji --out=report.html
"""

import sys

from gpldan_jax.__main__ import main

if __name__ == "__main__":
    sys.exit(main("report", "python experiments/report.py"))
