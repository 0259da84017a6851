"""Writes the encoders of a model as NumPy arrays or ONNX graphs. The same as `gpldan export`.

python experiments/export.py runs/emoji --to=numpy --out=emoji-encoders
"""

import sys

from gpldan_jax.__main__ import main

if __name__ == "__main__":
    sys.exit(main("export", "python experiments/export.py"))
