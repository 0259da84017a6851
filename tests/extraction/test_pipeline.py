"""Extractions from end to end: what is in the file, what is skipped, and what an interruption leaves."""

import dataclasses
import importlib.util
import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
import zlib

import jax
import numpy as np
import pytest

from gpldan_jax import _files, config, data, models, training
from gpldan_jax.cli.main import run_command
from gpldan_jax.data.emoji import load_emoji_arrays
from gpldan_jax.extraction import Extraction, Pair, choose_words, draw_splits, extract, read_table
from gpldan_jax.runs import session
from gpldan_jax.runs import workdir as workdirs
from tests.commands import ROOT
from tests.extraction.folders import PAIRS, flags, make_folder, manifest_of, picture

Image = pytest.importorskip("PIL.Image", reason="images need Pillow")


@pytest.mark.slow
def test_the_emoji_come_out_as_they_are_shipped(tmp_path, call):
    emoji = load_emoji_arrays()
    tool = importlib.util.spec_from_file_location("emoji_files", ROOT / "tools/emoji_files.py")
    module = importlib.util.module_from_spec(tool)
    tool.loader.exec_module(module)
    assert module.main([str(tmp_path)]) == 0
    chosen = {"image_model": "hog_hsv", "text_model": "bag_of_words", "vocabulary": "all"}
    status, out, _ = call(*flags(tmp_path, **chosen))
    assert status == 0 and "1,870 pairs (1,400 train, 100 validation, 370 test), image 1952 (hog_hsv)" in out
    found = np.load(tmp_path / "features.npz")
    np.testing.assert_array_equal(found["image"], emoji.image)
    np.testing.assert_array_equal(found["text"], emoji.text)
    np.testing.assert_array_equal(found["split"], emoji.split)
    np.testing.assert_array_equal(found["label"], np.array(emoji.groups)[emoji.label])
    np.testing.assert_array_equal(found["id"], emoji.names)
    shipped = data.load_dataset("emoji")
    again = data.load_dataset("npz", path=tmp_path / "features.npz")
    assert again.features["text"]["vocabulary"] == shipped.features["text"]["vocabulary"]
    for split in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(again, split).images, getattr(shipped, split).images)


def test_what_is_in_the_file(folder, own, call):
    status, out, err = call(*flags(folder))
    assert (status, err) == (0, "")
    assert "300 pairs (100 train, 100 validation, 100 test), image 4 (own:images), text 3 (own:texts), 0 skipped" in out
    assert f"--config.dataset.path={folder / 'features.npz'} --config.train.selection=map" in out
    assert [line for line in out.splitlines() if " of 300" in line] == [
        f"{kind}: {done} of 300" for kind in ("images", "texts") for done in (128, 256, 300)
    ]
    found = np.load(folder / "features.npz", allow_pickle=False)
    expected = [[row % 256, row // 256, 99, 4 + row % 5] for row in range(PAIRS)]
    np.testing.assert_array_equal(found["image"], np.float32(expected))
    assert found["image"].dtype == found["text"].dtype == np.float32
    texts = [f"banana number {row} {'a' * (row % 3)}".strip() for row in range(PAIRS)]
    np.testing.assert_array_equal(found["text"], [[len(text), text.count("a"), 1] for text in texts])
    np.testing.assert_array_equal(found["id"], [f"{row}.png" for row in range(PAIRS)])
    manifest = manifest_of(folder / "features.npz")
    assert manifest["text"]["reads"] == "letters" and manifest["image"]["extractor"] == "own:images"
    assert len(manifest["image"]["source_sha256"]) == len(manifest["image"]["sources_sha256"]) == 64
    assert manifest["pairs"] == PAIRS and manifest["skipped"] == [] and manifest["versions"]["numpy"] == np.__version__
    assert {*os.listdir(folder)} - {"__pycache__"} == {"features.npz", "images", "own.py", "texts.csv"}


def test_an_interruption_loses_a_block_at_most(folder, own, call):
    assert call(*flags(folder, "whole.npz"), "--batch=32")[0] == 0
    own.COUNT, own.STOP = 0, 6  # the second block
    status, _, err = call(*flags(folder), "--batch=32")
    assert status == 130 and "the same command continues" in err
    assert not (folder / "features.npz").exists() and len(os.listdir(folder / "features.npz.parts/blocks")) == 1
    own.COUNT, own.STOP = 0, None
    assert call(*flags(folder), "--batch=32")[0] == 0
    assert own.COUNT == 4 + 2  # of ten batches of images four had been kept
    assert (folder / "features.npz").read_bytes() == (folder / "whole.npz").read_bytes()
    assert not (folder / "features.npz.parts").exists()


@pytest.mark.slow
@pytest.mark.parametrize("moment", [1, 5, 8, 10])
def test_a_kill_loses_a_block_at_most(folder, own, call, moment):
    assert call(*flags(folder, "whole.npz"), "--batch=32")[0] == 0
    command = [sys.executable, ROOT / "experiments/extract.py", *flags(folder), "--batch=32"]
    killed = subprocess.run(command, cwd=folder, env=os.environ | {"DIE_AT": str(moment)}, capture_output=True)
    assert killed.returncode == -signal.SIGKILL and not (folder / "features.npz").exists()
    assert call(*flags(folder), "--batch=32")[0] == 0
    assert (folder / "features.npz").read_bytes() == (folder / "whole.npz").read_bytes()


def test_a_finished_file_is_left_alone(folder, own, call):
    assert call(*flags(folder))[0] == 0
    before, own.COUNT = (folder / "features.npz").stat(), 0
    status, out, _ = call(*flags(folder))
    assert status == 0 and "is finished; --fresh starts over" in out and own.COUNT == 0
    assert (folder / "features.npz").stat().st_mtime_ns == before.st_mtime_ns
    status, _, err = call(*flags(folder, max_pixels=7))
    assert status == 2 and "was made otherwise; choose another out, or use fresh to replace it" in err
    other = np.random.default_rng(0).integers(0, 256, (50, 40, 3), np.uint8)
    Image.fromarray(other).save(folder / "images/3.png")
    assert call(*flags(folder))[0] == 2
    assert call(*flags(folder), "--fresh")[0] == 0
    np.testing.assert_allclose(np.load(folder / "features.npz")["image"][3], [*other.mean((0, 1)), 50], rtol=1e-6)


def test_another_copy_of_the_files_gives_the_same_bytes(folder, own, call):
    assert call(*flags(folder))[0] == 0
    for path in (folder / "images").iterdir():
        os.utime(path, (0, 0))
    assert call(*flags(folder, "again.npz"))[0] == 0
    assert (folder / "features.npz").read_bytes() == (folder / "again.npz").read_bytes()


def test_parts_of_another_extraction_are_not_continued(folder, own, call):
    own.STOP = 6
    assert call(*flags(folder), "--batch=32")[0] == 130
    own.STOP = None
    for changed, message in (
        (["--batch=16"], "batch: 32 there, 16 now"),
        (["--batch=32", "--max_pixels=9"], "max_pixels: 40000000 there, 9 now"),
    ):
        status, _, err = call(*flags(folder), *changed)
        assert status == 2 and message in err and "choose another out, or use fresh to start over" in err
    Image.fromarray(picture(7)).save(folder / "images/3.png")
    status, _, err = call(*flags(folder), "--batch=32")
    assert status == 2 and "the data are not those it was started with" in err
    assert call(*flags(folder), "--batch=32", "--fresh")[0] == 0


def broken_images(random):
    """Contents of files that are no whole picture, and why."""

    def encoded(form, shape=(40, 30, 3)):
        file = io.BytesIO()
        Image.fromarray(random.integers(0, 256, shape, np.uint8)).save(file, form)
        return file.getvalue()

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = b"\x89PNG\r\n\x1a\n"
    for number in range(25):
        for form in ("PNG", "JPEG", "WEBP", "BMP"):
            whole = encoded(form)
            yield whole[: int(random.integers(0, len(whole) - 200))]  # zero bytes among them
        yield random.bytes(number * 10)
    for number in range(25):
        side = 30_000 + number
        bomb = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        yield head + bomb + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    for content in (b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", b"GIF89a", "ÿØÿà".encode()):
        yield from [content] * 5


def test_two_hundred_broken_ones_are_listed_and_nothing_else_is_lost(tmp_path, own, call):
    random = np.random.default_rng(0)
    contents = [*broken_images(random), *[None] * 10]  # None: a folder of this name
    texts = [b"", b"   ", b"\xff\xfe bad", b"caf\xe9", b"nul \x00 here"] * 10
    bad, good = len(contents) + len(texts), 150
    assert bad >= 200
    order = random.permutation(bad + good)
    (tmp_path / "images").mkdir()
    lines, expected = [b"image,text"], {}
    for place in order.tolist():
        name = f"{place}.{('jpg', 'png', 'gif')[place % 3]}"  # of any suffix, whatever it is
        text, path = b"a fine text", tmp_path / "images" / name
        if place < len(contents) and contents[place] is None:
            path.mkdir()
        elif place < len(contents):
            path.write_bytes(contents[place])
        else:
            Image.fromarray(picture(place)).save(path, ("PNG", "JPEG", "WEBP")[place % 3])
            if place < bad:
                text = texts[place - len(contents)]
            else:
                expected[name] = place
        lines.append(name.encode() + b"," + text)
    (tmp_path / "texts.csv").write_bytes(b"\n".join(lines) + b"\n")
    status, out, err = call(*flags(tmp_path), "--max_skipped=0.9")
    assert (status, err) == (0, "") and f"{good} pairs" in out and f"{bad} skipped" in out
    found = np.load(tmp_path / "features.npz")
    assert found["id"].tolist() == [
        name for name in (line.split(b",")[0].decode() for line in lines[1:]) if name in expected
    ]
    for name, row in zip(found["id"].tolist(), found["image"], strict=True):
        np.testing.assert_allclose(row, [*picture(expected[name]).mean((0, 1)), 4 + expected[name] % 5], atol=6)  # JPEG
    listed = json.loads((tmp_path / "features.npz.skipped.json").read_text())
    assert listed == manifest_of(tmp_path / "features.npz")["skipped"]
    assert {entry["id"] for entry in listed}.isdisjoint(expected) and len(listed) == bad
    assert all(entry["reason"] and "\n" not in entry["reason"] for entry in listed)
    reasons = " ".join(sorted({entry["reason"] for entry in listed}))
    for reason in (
        "too large",
        "cannot be read: expected a complete PNG",
        "UTF-8",
        "NUL",
        "empty",
        "no such image file",
    ):
        assert reason in reasons


def test_too_many_broken_ones_stop_it_early(folder, own, call):
    for row in range(20):
        (folder / f"images/{row}.png").write_bytes(b"broken")
    status, _, err = call(*flags(folder))  # 20 of 300 are more than 5 %
    assert status == 2 and err.count("\n") == 1
    assert "20 of 300 pairs cannot be used, more than max_skipped=0.05 allows; the first is '0.png': the pictu" in err
    assert own.COUNT == 4 and not (folder / "features.npz").exists()  # the first block, not the other two
    assert len(json.loads((folder / "features.npz.skipped.json").read_text())) == 20
    status, out, _ = call(*flags(folder), "--max_skipped=0.07")  # what is finished is kept
    assert status == 0 and own.COUNT == 4 + 6 and "... and 10 more, all in" in out
    with open(folder / "texts.csv", "a") as file:
        file.writelines(f"missing{row}.png,text,class 1,0\n" for row in range(30))
    status, _, err = call(*flags(folder, "other.npz"))
    assert status == 2 and "30 of 330 pairs" in err and own.COUNT == 10  # known before an image is read


def test_nothing_is_left_of_a_folder_without_good_pairs(tmp_path, own, call):
    make_folder(tmp_path, 3)
    for row in range(3):
        (tmp_path / f"images/{row}.png").write_bytes(b"broken")
    status, _, err = call(*flags(tmp_path), "--max_skipped=1")
    assert status == 2 and "none of 3 pairs can be used" in err and not (tmp_path / "features.npz").exists()


def test_several_sentences_are_joined_or_averaged(tmp_path, own, call):
    make_folder(tmp_path, 3)
    rows = [{"image": f"{row}.png", "text": ["a cat", "an aardvark", "b"][: row + 1]} for row in range(3)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {"texts": tmp_path / "texts.jsonl", "split": None}
    assert call(*flags(tmp_path, **given), "--split", "1", "0", "0")[0] == 0
    np.testing.assert_array_equal(np.load(tmp_path / "features.npz")["text"], [[5, 2, 1], [17, 6, 1], [19, 6, 1]])
    status, *_ = call(*flags(tmp_path, "mean.npz", **given), "--split", "1", "0", "0", "--sentences=averaged")
    assert status == 0
    np.testing.assert_allclose(np.load(tmp_path / "mean.npz")["text"], [[5, 2, 1], [8, 3, 1], [17 / 3, 2, 1]])


def test_a_split_is_drawn_where_there_is_none(folder, own, call):
    rows = [line.rsplit(",", 1)[0] for line in (folder / "texts.csv").read_text().splitlines()]
    (folder / "texts.csv").write_text("\n".join(rows) + "\n")
    assert call(*flags(folder), "--split", "0.5", "0.3", "0.2", "--seed=3")[0] == 0
    found = np.load(folder / "features.npz")
    assert np.bincount(found["split"]).tolist() == [150, 90, 60]
    assert manifest_of(folder / "features.npz")["split"] == {"shares": [0.5, 0.3, 0.2], "seed": 3}


def test_pictures_do_not_pile_up(folder, own, call):
    """Prepared ones that have not been encoded yet are at most two batches, and those read but not prepared none."""
    waiting, most = 0, 0

    def prepare(picture):
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        return picture

    def images(pictures):
        nonlocal waiting
        time.sleep(0.01)  # the reader is the faster one
        waiting -= len(pictures)
        return [[1.0]] * len(pictures)

    own.counted = images
    own.counted.prepare = prepare
    assert call(*flags(folder, image_model="own:counted"), "--batch=10")[0] == 0
    assert 10 < most <= 20 and waiting == 0


def test_a_release_goes_through(tmp_path, own, call):
    for name in ("cat", "dog"):
        (tmp_path / "release/dataset" / name).mkdir(parents=True)
        (tmp_path / "release/sentence" / name).mkdir(parents=True)
        for row in range(5):
            Image.fromarray(picture(row)).save(tmp_path / f"release/dataset/{name}/2008_00{row}.jpg")
            (tmp_path / f"release/sentence/{name}/2008_00{row}.txt").write_text(f"A {name}.\nIt is number {row}.\n")
    given = {"images": None, "texts": None, "release": "pascal", "root": tmp_path / "release"}
    assert call(*flags(tmp_path, **given))[0] == 0
    found = np.load(tmp_path / "features.npz")
    assert found["label"].tolist() == ["cat"] * 5 + ["dog"] * 5 and len(found["split"]) == 10
    np.testing.assert_array_equal(found["text"][:, 0], len("A cat. It is number 0."))


@pytest.mark.slow
def test_the_wikipedia_release_becomes_the_file_of_its_config(tmp_path, own, call):
    release, content = tmp_path / "wikipedia_dataset", io.BytesIO()
    Image.fromarray(picture(0)).save(content, "JPEG")
    for name in ("images/art", "texts"):
        (release / name).mkdir(parents=True)
    lines = [f"text-{row}\timage-{row}\t{1 + row % 10}\n" for row in range(2866)]
    (release / "trainset_txt_img_cat.list").write_text("".join(lines[:2173]))
    (release / "testset_txt_img_cat.list").write_text("".join(lines[2173:]))
    (release / "categories.list").write_text("".join(f"class {chr(97 + row)}\n" for row in range(10)))
    for row in range(2866):
        (release / f"images/art/image-{row}.jpg").write_bytes(content.getvalue())
        (release / f"texts/text-{row}.xml").write_text(f"<document><text>{row} &amp; more</text></document>")
    own.wide = lambda pictures: np.ones((len(pictures), 4096))
    own.long = lambda texts: np.repeat([[int(text.split()[0])] for text in texts], 1024, axis=1)
    chosen = {"images": None, "texts": None, "release": "wikipedia", "root": release}
    assert call(*flags(tmp_path, "wikipedia.npz", image_model="own:wide", text_model="own:long", **chosen))[0] == 0
    found = data.load_dataset("wikipedia", variant="vgg19_bert", path=tmp_path)
    assert found.class_names == tuple(f"class {chr(97 + row)}" for row in range(10))
    rows = np.concatenate([getattr(found, split).texts[:, 0] for split in ("train", "validation", "test")])
    np.testing.assert_array_equal(rows, np.arange(2866))  # the first 231 of the official test rows are validation
    np.testing.assert_array_equal(found.validation.labels, np.arange(2173, 2404) % 10)


@pytest.mark.slow
def test_a_model_of_extracted_features_answers_words(folder, call, capsys):
    """From a folder to a search: the vocabulary and the ids are in the model and its collection."""
    table = (folder / "texts.csv").read_text()
    (folder / "texts.csv").write_text(re.sub(r"number (\d*[02468]\b)", r"yellow \1", table))  # two words that vary
    assert call(*flags(folder, image_model="hog_hsv", text_model="bag_of_words"))[0] == 0
    changes = {"dataset.path": str(folder / "features.npz"), "model.hidden": 8, "model.width": 8, "model.parts": 2}
    settings = config.with_values(config.dataset_config("npz"), changes)
    dataset, standardization = session.load(settings["dataset"])
    inputs = dataset.test.images[:1], dataset.test.texts[:1]
    parameters = training.projector_from_config(settings).init(jax.random.key(0), *inputs)["params"]
    workdir = folder / "run"
    workdir.mkdir()
    model = session.trained_model(settings, dataset, standardization, parameters, epoch=1)
    models.save_model(workdir / workdirs.MODEL, model)
    _files.write_json(workdir / workdirs.CONFIG, {"config": settings, "data": dataset.fingerprint()})
    assert run_command("search", ["build", f"--workdir={workdir}"], "gpldan search") == 0
    from gpldan_jax.index import Index

    images = Index.load(workdir / "collection/image")
    assert sorted(images.ids.tolist()) == sorted(f"{row}.png" for row in range(PAIRS))
    assert images.entry("4.png").fields["split"] == "validation"
    capsys.readouterr()
    query = ["query", str(workdir / "collection"), "--text", "banana", "-k", "3", "--json"]
    assert run_command("search", query, "gpldan search") == 0
    assert len(json.loads(capsys.readouterr().out)["results"]) == 3


def test_the_function_takes_any_encoders_and_says_what_it_wrote(tmp_path):
    make_folder(tmp_path, 3)
    pairs = read_table(tmp_path / "texts.csv", tmp_path / "images")

    def encode(pictures):
        return [[len(picture)] for picture in pictures]

    made = extract(pairs, encode, choose_words(min_documents=1), tmp_path / "made.npz", provenance={"by": "a test"})
    assert isinstance(made, Extraction) and made.path == tmp_path / "made.npz" and made.labelled
    assert (made.widths, made.splits) == ({"image": 1, "text": 2}, {"train": 1, "validation": 1, "test": 1})
    assert made.manifest == manifest_of(made.path) and made.manifest["by"] == "a test"
    assert made.manifest["image"]["extractor"].endswith("encode")
    assert extract(pairs, encode, choose_words(min_documents=1), made.path, provenance={"by": "a test"}) is None
    with pytest.raises(ValueError, match=r"made\.npz is there already and was made otherwise; choose"):
        extract(pairs, encode, choose_words("all", min_documents=1), made.path)
    for wrong, message in (
        ({"sentences": "one"}, "sentences must be joined or"),
        ({"max_skipped": 2}, "share"),
    ):
        with pytest.raises(ValueError, match=message):
            extract(pairs, encode, encode, tmp_path / "other.npz", **wrong)
    with pytest.raises(ValueError, match="expected pairs with splits, found one without"):
        extract([dataclasses.replace(pairs[0], split=None)], encode, encode, tmp_path / "other.npz")
    with pytest.raises(ValueError, match=r"made\.csv must end in \.npz"):
        extract(pairs, encode, encode, tmp_path / "made.csv")


def captions(folder, images=5, of_each=3):
    """Pairs of some pictures, each with several captions, one after the other for all pictures."""
    (folder / "photos").mkdir()
    paths = [folder / "photos" / f"{i}.png" for i in range(images)]
    for row, path in enumerate(paths):
        Image.fromarray(picture(row)).save(path)
    return [
        Pair(f"{i}.png#{j}", paths[i], (f"caption {j} of {i}",), split=(i % 3), group=f"{i}.png")
        for j in range(of_each)
        for i in range(images)
    ]


def encoders():
    seen = []

    def image(pictures):
        seen.extend(pictures)
        return [[picture.mean(), len(picture)] for picture in pictures]

    def text(texts):
        return [[len(text), text.count("a"), ord(text[8])] for text in texts]

    return image, text, seen


def test_an_image_of_several_captions_is_encoded_and_stored_once(tmp_path):
    pairs, (image, text, seen) = captions(tmp_path), encoders()
    made = extract(pairs, image, text, tmp_path / "features.npz")
    assert len(seen) == 5 and sum(made.splits.values()) == 15
    found = np.load(tmp_path / "features.npz")
    assert found["image"].shape == (5, 2) and found["text"].shape == (15, 3)
    assert found["image_of"].tolist() == [0, 1, 2, 3, 4] * 3
    dataset = data.load_dataset("npz", path=tmp_path / "features.npz")
    assert [len(split.image_rows()) for split in (dataset.train, dataset.validation, dataset.test)] == [2, 2, 1]
    # Each caption has the features of its own picture.
    rows = [row for row, pair in enumerate(pairs) if pair.split == 0]
    expected = [[picture(row % 5).mean(), len(picture(row % 5))] for row in rows]
    np.testing.assert_allclose(dataset.train.images, expected, rtol=1e-6)


def test_a_broken_image_loses_all_its_captions(tmp_path):
    pairs, (image, text, _) = captions(tmp_path), encoders()
    pairs[1].image.write_bytes(b"no picture")
    made = extract(pairs, image, text, tmp_path / "features.npz", max_skipped=0.3)
    assert [entry["id"] for entry in made.manifest["skipped"]] == ["1.png#0", "1.png#1", "1.png#2"]
    found = np.load(tmp_path / "features.npz")
    assert found["image"].shape == (4, 2) and found["image_of"].tolist() == [0, 1, 2, 3] * 3
    assert found["id"].tolist() == [pair.id for pair in pairs if not pair.id.startswith("1.")]


def test_several_labels_and_no_label(tmp_path):
    pairs, (image, text, _) = captions(tmp_path, of_each=1), encoders()
    labels = [("animal", "pet"), (), ("pet",), None, ("animal",)]
    several = [dataclasses.replace(pair, label=label) for pair, label in zip(pairs, labels, strict=True)]
    assert extract(several, image, text, tmp_path / "several.npz").labelled
    found = np.load(tmp_path / "several.npz")
    assert found["class_names"].tolist() == ["animal", "pet"]
    assert found["label"].tolist() == [[True, True], [False, False], [False, True], [False, False], [True, False]]
    some = [dataclasses.replace(pair, label=label) for pair, label in zip(pairs, "a", strict=False)] + pairs[1:]
    assert extract(some, image, text, tmp_path / "some.npz").labelled
    assert np.load(tmp_path / "some.npz")["label"].tolist() == ["a", "", "", "", ""]
    assert not extract(pairs, image, text, tmp_path / "none.npz").labelled


def test_drawn_splits_have_several_classes_in_proportion(tmp_path):
    random = np.random.default_rng(0)
    labels = [tuple(name for name in ("a", "b", "c") if random.random() < 0.4) for _ in range(200)]
    pairs = [Pair(str(row), tmp_path, ("text",), label=label) for row, label in enumerate(labels)]
    found = draw_splits(pairs, (2, 1, 1))
    for name in "abc":
        counts = np.bincount([pair.split for pair in found if name in pair.label], minlength=3)
        np.testing.assert_allclose(counts / counts.sum(), [0.5, 0.25, 0.25], atol=0.02)


def test_features_that_are_not_finite_skip_their_pair_and_name_it(folder, own, call):
    images, texts = own.images, own.texts

    def broken_images(pictures):
        found = np.array(images(pictures), float)
        found[found[:, 0] == 100, 1] = np.nan  # the picture of row 100
        found[found[:, 0] == 101, 1] = 1e300
        return found

    def broken_texts(documents):
        found = np.array(texts(documents), float)
        found[[" 150" in document for document in documents], 0] = -np.inf
        return found

    whole, broken = folder / "whole.npz", folder / "features.npz"
    assert call(*flags(folder, "whole.npz"))[0] == 0
    own.images, own.texts = broken_images, broken_texts
    status, out, _ = call(*flags(folder))
    assert status == 0 and "297 pairs" in out and "3 skipped" in out
    gave = "encoder gave features that are NaN, Inf or past the range of float32"
    expected = [(100, "image"), (101, "image"), (150, "text")]
    skipped = [{"id": f"{row}.png", "reason": f"the {kind} {gave}"} for row, kind in expected]
    assert json.loads((folder / "features.npz.skipped.json").read_text()) == skipped
    assert manifest_of(broken)["skipped"] == skipped and manifest_of(broken)["pairs"] == 297
    kept = np.delete(np.arange(PAIRS), [100, 101, 150])
    with np.load(whole) as before, np.load(broken) as after:
        for name in ("image", "text", "id", "split", "label"):
            np.testing.assert_array_equal(after[name], before[name][kept])


def test_a_text_without_finite_features_leaves_the_other_captions_of_its_image(tmp_path):
    pairs, (image, text, _) = captions(tmp_path, of_each=2), encoders()
    bad = {pairs[0].texts[0], pairs[1].texts[0], pairs[6].texts[0]}  # the first caption of 0, both of 1

    def broken(texts):
        rows = zip(texts, text(texts), strict=True)
        return [[float("nan") if given in bad else value for value in row] for given, row in rows]

    made = extract(pairs, image, broken, tmp_path / "features.npz", max_skipped=0.5)
    assert [entry["id"] for entry in made.manifest["skipped"]] == ["0.png#0", "1.png#0", "1.png#1"]
    found = np.load(tmp_path / "features.npz")
    assert len(found["image"]) == 4 and len(found["text"]) == 7
    for place, row in zip(found["image_of"], found["id"], strict=True):
        number = int(row.split(".")[0])
        np.testing.assert_allclose(found["image"][place], [picture(number).mean(), len(picture(number))], rtol=1e-6)
