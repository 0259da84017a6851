"""Write the embedded emoji as files: `images/0000.png` and so on, and `texts.csv` for `experiments/extract.py`.

python tools/emoji_files.py emoji
"""

import argparse
import csv
import sys
from pathlib import Path

from gpldan_jax.data.emoji import load_emoji_arrays, load_emoji_documents, load_emoji_pictures
from gpldan_jax.data.paired import SPLITS


def write(folder):
    """Write the files in `folder`: of each emoji a picture of 64 x 64, and a row of words, group, split and name."""
    from PIL import Image

    emoji = load_emoji_arrays()
    (folder / "images").mkdir(parents=True, exist_ok=True)
    with open(folder / "texts.csv", "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "text", "label", "split", "id"])
        for row, (pixels, words) in enumerate(zip(load_emoji_pictures(), load_emoji_documents(), strict=True)):
            Image.fromarray(pixels).save(folder / f"images/{row:04d}.png")
            group, split = emoji.groups[emoji.label[row]], SPLITS[emoji.split[row]]
            rows.writerow([f"{row:04d}.png", words, group, split, emoji.names[row]])


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where to write to")
    write(parser.parse_args(arguments).folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
