r"""Turns images and captions into a feature file. The same as `gpldan extract`.

python experiments/extract.py --images=DIR --texts=FILE.csv --out=features.npz \
        --image_model=hog_hsv --text_model=bag_of_words
"""

import sys

from gpldan_jax.__main__ import main

if __name__ == "__main__":
    sys.exit(main("extract", "python experiments/extract.py"))
