"""Splits of pairs, images that no pair names, and pairs that are skipped."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from gpldan_jax.data import load_dataset
from gpldan_jax.extraction import Pair, TooManySkippedError, count_unused_images, draw_splits
from gpldan_jax.extraction.pairs import SkippedPairs
from tests.extraction.folders import EMPTY, MISSING, problems


def some_pairs(labels):
    return [Pair(f"{row}", Path(f"{row}.jpg"), ("a",), label) for row, label in enumerate(labels)]


def test_unused_counts_the_images_that_no_row_names(read, images):
    pairs = read("image,text\n0.jpg,a\nmore/0.jpg,b\n./1.jpg,\n9999.jpg,c\n../2.jpg,d\n")
    assert count_unused_images(images, pairs) == 298
    (images / "notes.txt").touch()
    (images / ".hidden.jpg").touch()
    (images / ".folder").mkdir()
    (images / ".folder" / "0.jpg").touch()
    assert count_unused_images(images, pairs) == 298
    (images / "more" / "OTHER.JPEG").touch()
    assert count_unused_images(f"{images}/", pairs) == 299
    assert count_unused_images(images, []) == 302


def test_a_split_is_drawn_with_each_class_in_proportion(tmp_path):
    pairs = some_pairs([f"class {row % 4 % 3}" for row in range(200)])
    drawn = draw_splits(pairs)
    assert Counter((pair.label, pair.split) for pair in drawn) == {
        (f"class {label}", split): share * (2 if label == 0 else 1)
        for label in range(3)
        for split, share in enumerate((40, 5, 5))
    }
    assert [(pair.id, pair.label) for pair in drawn] == [(pair.id, pair.label) for pair in pairs]
    assert [pair.split for pair in drawn] != [pair.split for pair in draw_splits(pairs, seed=1)]
    assert Counter(pair.split for pair in draw_splits(pairs, (2, 0, 2))) == {0: 100, 2: 100}


@pytest.mark.parametrize("labels", [None, [f"{row % 12}" for row in range(120)]])
def test_the_split_is_that_of_features_that_come_without_one(tmp_path, labels):
    rows = np.arange(120, dtype=np.float32)[:, None]
    arrays = {"image": rows, "text": rows} | ({} if labels is None else {"label": np.array(labels)})
    np.savez(tmp_path / "mine.npz", **arrays)
    data = load_dataset("npz", path=tmp_path / "mine.npz")
    drawn = draw_splits(some_pairs(labels or [None] * 120))
    for part, split in enumerate((data.train, data.validation, data.test)):
        assert split.images[:, 0].astype(int).tolist() == [int(pair.id) for pair in drawn if pair.split == part]


def test_a_pair_that_cannot_be_used_moves_no_other_into_another_split(read):
    table = "image,text,label\n" + "".join(f"{row}.jpg,a,{row % 3}\n" for row in range(90))
    good, bad = draw_splits(read(table)), draw_splits(read(table.replace("7.jpg", "none-7.jpg")))
    assert [pair.split for pair in good] == [pair.split for pair in bad]
    assert problems(good) == [None] * 90 and problems(bad).count(MISSING) == 9


def test_a_split_that_is_there_stays():
    pairs = [Pair("0", Path("0.jpg"), ("a",), split=2), Pair("1", Path(), (), problem=EMPTY)]
    assert draw_splits(pairs) == pairs and draw_splits([]) == []
    for shares in ((0.8, 0.2), (1, -1, 1), (0, 0, 0)):
        with pytest.raises(ValueError):
            draw_splits(some_pairs("ab"), shares)


def test_skipped_pairs_are_listed_until_they_are_too_many(tmp_path):
    pairs = [*some_pairs("abc"), Pair("broken", Path(), (), problem=EMPTY)]
    skipped = SkippedPairs(pairs, 0.5, tmp_path / "skipped.json")
    skipped.reasons[1] = "the picture cannot be read"
    skipped.check()
    assert not skipped.path.exists()
    skipped.write()
    expected = [{"id": "1", "reason": "the picture cannot be read"}, {"id": "broken", "reason": EMPTY}]
    assert json.loads(skipped.path.read_text()) == skipped.entries() == expected
    skipped.reasons[0] = MISSING
    with pytest.raises(TooManySkippedError, match=r"^3 of 4 pairs cannot be used, more than max_skipped=0\.5 allows"):
        skipped.check()
    assert len(json.loads(skipped.path.read_text())) == 3
    skipped.reasons.clear()
    skipped.write()
    assert not skipped.path.exists()
