"""Folders of images and captions, small ones, and the flags of an extraction from them."""

import csv
import json

import numpy as np

PAIRS = 300  # three blocks, the last one not full
MISSING, EMPTY = "there is no such image file", "the text is empty"


def picture(row):
    """A picture of a size and colour of its own."""
    return np.full((4 + row % 5, 3 + row % 7, 3), (row % 256, row // 256, 99), np.uint8)


def make_folder(folder, count):
    from PIL import Image

    (folder / "images").mkdir()
    with open(folder / "texts.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "text", "label", "split"])
        for row in range(count):
            Image.fromarray(picture(row)).save(folder / f"images/{row}.png")
            rows.writerow([f"{row}.png", f"banana number {row} {'a' * (row % 3)}", f"class {row % 2}", row % 3])
    return folder


def flags(folder, out="features.npz", **changed):
    """Of an extraction with the functions of the user's module."""
    given = {"images": folder / "images", "texts": folder / "texts.csv", "image_model": "own:images"}
    given |= {"text_model": "own:texts", "out": out and folder / out} | changed
    return [f"--{name}={value}" for name, value in given.items() if value is not None]


def manifest_of(path):
    return json.loads(str(np.load(path)["manifest"]))


def problems(pairs):
    return [pair.problem for pair in pairs]
