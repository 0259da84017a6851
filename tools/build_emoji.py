"""Build the embedded emoji dataset, `gpldan_jax/data/emoji`, from three Debian packages.

1,870 fully-qualified emoji of Unicode 15 without skin tones; the nine groups of emoji-test.txt are the classes.
The sprite sheet is drawn first and read back, and the picture features are computed from what was read, so that anyone
can compute them again from the committed file. The same packages and library versions give the same bytes.

`n` is the number of emoji.
"""

import argparse
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import shipped_files
from shipped_files import TILE, MissingRequirementError

from gpldan_jax.data.shipped import read_sheet
from gpldan_jax.features import BagOfWords, hog_hsv

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
EMOJI_TEST = Path("/usr/share/unicode/emoji/emoji-test.txt")
CLDR = Path("/usr/share/unicode/cldr/common")
ANNOTATIONS = (CLDR / "annotations/en.xml", CLDR / "annotationsDerived/en.xml")
PACKAGES = {
    "fonts-noto-color-emoji": (FONT,),
    "unicode-data": (EMOJI_TEST,),
    "unicode-cldr-core": ANNOTATIONS,
}

ITEMS = 1870
SHEET_COLUMNS, SHEET_ROWS = 55, 34  # 55 x 34 is 1,870: the sheet has no empty tile
SPLIT_SIZES = {"train": 1400, "validation": 100, "test": 370}

FONT_SIZE = 109  # the one size at which the font holds bitmaps
GLYPH_WIDTH, GLYPH_HEIGHT = 136, 128
GLYPH_MARGIN = 4  # empty in every bitmap; without it 128 x 128 halves exactly to a tile
SKIN_TONES = frozenset(range(0x1F3FB, 0x1F400))
PRESENTATION_SELECTOR = "\ufe0f"
NOT_A_CHARACTER = "\U0010ffff"

OUT = shipped_files.DATA / "emoji"

NOTO_NOTICE = """\
The pictures in sprites.webp, and the picture features in features.npz computed from them, are made from the font
Noto Color Emoji, https://github.com/googlefonts/noto-emoji, as built by Debian: package fonts-noto-color-emoji
{version}. Copyright Google Inc. The font is under the SIL Open Font License 1.1 and the drawings it was built
from are under the Apache License 2.0. Modified: each glyph was drawn on white and reduced to 64 x 64 pixels.

Below: the copyright file of the Debian package, then the Apache License 2.0 that it refers to.
"""
UNICODE_NOTICE = """\
The emoji, their groups, names and keywords in items.json, and the words and labels in features.npz, are taken from
the data files of Unicode, Inc., https://www.unicode.org: emoji-test.txt (Debian package unicode-data
{data_version}) and the English annotations of CLDR (Debian package unicode-cldr-core {cldr_version}).
Copyright Unicode, Inc. Modified: only the fully-qualified emoji without skin tones were kept, and names and keywords
were also turned into a binary bag of words.

Below: the copyright file of unicode-cldr-core, then that of unicode-data.
"""


def package_versions():
    """Versions of the Debian packages in `PACKAGES`; raises `MissingRequirementError` naming those to install."""
    versions, missing = {}, []
    for package, paths in PACKAGES.items():
        try:
            query = subprocess.run(
                ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", package],
                capture_output=True,
                text=True,
            )
        except FileNotFoundError:
            raise MissingRequirementError(
                f"dpkg-query not found: run this on Debian, after: apt-get install {' '.join(PACKAGES)}"
            ) from None
        status, _, number = query.stdout.partition(" ")
        if status == "installed" and all(path.exists() for path in paths):
            versions[package] = number
        else:
            missing.append(package)
    if missing:
        raise MissingRequirementError(f"missing Debian packages: apt-get install {' '.join(missing)}")
    return versions


def library_versions():
    """Versions of the libraries that make the output; raises `MissingRequirementError` naming what to install."""
    versions = shipped_files.library_versions()
    import PIL.features

    if not PIL.features.check("raqm"):
        raise MissingRequirementError("Pillow cannot join emoji sequences without raqm: apt-get install libfribidi0")
    return versions


def read_emoji_test(path):
    """Fully-qualified emoji without skin tones in `path`, in its order.

    Returns a list of dicts with `emoji`, `codepoints` ("1F468 200D 1F33E"), `name`, `group` and `subgroup`.
    """
    items, group, subgroup = [], None, None
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# group: "):
            group = line.removeprefix("# group: ")
        elif line.startswith("# subgroup: "):
            subgroup = line.removeprefix("# subgroup: ")
        elif match := re.fullmatch(r"([0-9A-F ]+?) *; fully-qualified +# \S+ E[\d.]+ (.+)", line):
            codepoints, name = match.groups()
            characters = [int(codepoint, 16) for codepoint in codepoints.split()]
            if SKIN_TONES.isdisjoint(characters):
                items.append(
                    {
                        "emoji": "".join(map(chr, characters)),
                        "codepoints": codepoints,
                        "name": name,
                        "group": group,
                        "subgroup": subgroup,
                    }
                )
    return items


def read_annotations(paths):
    """CLDR short names, `dict[str, str]`, and keywords, `dict[str, list[str]]`, by emoji without U+FE0F."""
    names, keywords = {}, {}
    for path in paths:
        for annotation in ElementTree.parse(path).iter("annotation"):
            if annotation.get("type") == "tts":
                names[annotation.get("cp")] = annotation.text
            else:
                keywords[annotation.get("cp")] = [keyword.strip() for keyword in annotation.text.split("|")]
    return names, keywords


def describe(items, names, keywords):
    """`items` with CLDR's short names and keywords.

    An emoji newer than the CLDR release keeps the name in emoji-test.txt and has no keywords.
    """
    described = []
    for item in items:
        key = item["emoji"].replace(PRESENTATION_SELECTOR, "")
        described.append({**item, "name": names.get(key, item["name"]), "keywords": keywords.get(key, [])})
    return described


def draw_glyph(emoji, font):
    """`emoji` as an RGB picture on white, 128 x 128."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (GLYPH_WIDTH, GLYPH_HEIGHT), "white")
    ImageDraw.Draw(picture).text((0, 0), emoji, font=font, embedded_color=True)
    return picture.crop((GLYPH_MARGIN, 0, GLYPH_WIDTH - GLYPH_MARGIN, GLYPH_HEIGHT))


def draw_emoji(emojis, path=FONT):
    """Pictures of `emojis`, uint8 `[n, 64, 64, 3]`.

    Raises ValueError for an emoji that the font at `path` does not draw as one glyph of its own: in pieces side by
    side, as the mark of a missing glyph, or, for a sequence, as its first character alone.
    """
    from PIL import Image, ImageFont

    font = ImageFont.truetype(path, FONT_SIZE, layout_engine=ImageFont.Layout.RAQM)
    missing_glyph = draw_glyph(NOT_A_CHARACTER, font)
    pictures = []
    for emoji in emojis:
        picture = draw_glyph(emoji, font)
        characters = emoji.replace(PRESENTATION_SELECTOR, "")
        if round(font.getlength(emoji)) != GLYPH_WIDTH:
            found = f"a width of {font.getlength(emoji)}"
        elif picture == missing_glyph:
            found = "the missing glyph"
        elif len(characters) > 1 and picture == draw_glyph(characters[0], font):
            found = "its first character alone"
        else:
            pictures.append(np.asarray(picture.resize((TILE, TILE), Image.Resampling.BOX)))
            continue
        codepoints = " ".join(f"{ord(character):04X}" for character in emoji)
        raise ValueError(f"{path}: expected one glyph {GLYPH_WIDTH} wide for {codepoints}, found {found}")
    return np.stack(pictures)


def split_items(labels, seed):
    """Stratified split of `labels`, `[n]`: uint8 `[n]` with 0 train, 1 validation, 2 test, of sizes `SPLIT_SIZES`."""
    from sklearn.model_selection import train_test_split

    rest, test = train_test_split(
        np.arange(len(labels)), test_size=SPLIT_SIZES["test"], stratify=labels, random_state=seed
    )
    train, validation = train_test_split(
        rest, test_size=SPLIT_SIZES["validation"], stratify=labels[rest], random_state=seed
    )
    split = np.empty(len(labels), np.uint8)
    split[train], split[validation], split[test] = 0, 1, 2
    return split


def write_licences(folder, versions):
    """Write `LICENSE-NOTO` and `LICENSE-UNICODE` in `folder`: who made what, from which package, and the full terms."""

    def read_terms(package):
        return Path("/usr/share/doc", package, "copyright").read_text(encoding="utf-8")

    rule = "\n" + "-" * 80 + "\n\n"
    noto = (
        NOTO_NOTICE.format(version=versions["fonts-noto-color-emoji"]),
        read_terms("fonts-noto-color-emoji"),
        Path("/usr/share/common-licenses/Apache-2.0").read_text(encoding="utf-8"),
    )
    unicode_terms = (
        UNICODE_NOTICE.format(data_version=versions["unicode-data"], cldr_version=versions["unicode-cldr-core"]),
        read_terms("unicode-cldr-core"),
        read_terms("unicode-data"),
    )
    (folder / "LICENSE-NOTO").write_text(rule.join(noto), encoding="utf-8")
    (folder / "LICENSE-UNICODE").write_text(rule.join(unicode_terms), encoding="utf-8")


def build(folder, seed):
    """Write the dataset's files in `folder`; the split is drawn with `seed`."""
    versions, libraries = package_versions(), library_versions()
    items = describe(read_emoji_test(EMOJI_TEST), *read_annotations(ANNOTATIONS))
    if len(items) != ITEMS:
        raise ValueError(f"{EMOJI_TEST}: expected {ITEMS} fully-qualified emoji without skin tones, found {len(items)}")
    groups = list(dict.fromkeys(item["group"] for item in items))
    labels = np.array([groups.index(item["group"]) for item in items], np.uint8)

    pictures = draw_emoji([item["emoji"] for item in items])
    sprites = shipped_files.write_sheet(pictures, folder / "sprites.webp", SHEET_COLUMNS, lossless=True, quality=75)
    image = hog_hsv(read_sheet(folder / sprites["file"], SHEET_COLUMNS, SHEET_ROWS, TILE))
    documents = [" ".join([item["name"], *item["keywords"]]) for item in items]
    words, split = BagOfWords.fit(documents), split_items(labels, seed)
    shipped_files.write_features(folder / "features.npz", image, words, documents, labels, split)
    head = {"sources": versions, "libraries": libraries, "seed": seed, "sprites": sprites, "groups": groups}
    order = ("emoji", "codepoints", "name", "keywords", "group", "subgroup")
    shipped_files.write_items(folder / "items.json", head, items, order)
    write_licences(folder, versions)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Build the embedded emoji dataset from Debian's packages.")
    parser.add_argument("--out", type=Path, default=OUT, help="folder to write to (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split (default: %(default)s)")
    options = parser.parse_args(arguments)
    return shipped_files.replace_files(options.out, lambda folder: build(folder, options.seed), "build_emoji")


if __name__ == "__main__":
    sys.exit(main())
