"""Writes the encoders of a model as NumPy arrays or ONNX graphs. The same as `gpldan export`.

python experiments/export.py runs/emoji --to=numpy --out=emoji-encoders
"""

import sys

from gpldan_jax.cli.main import run_command

if __name__ == "__main__":
    sys.exit(run_command("export", sys.argv[1:], "python experiments/export.py"))
