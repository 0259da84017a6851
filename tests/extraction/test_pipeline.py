"""`experiments/extract.py` as a user calls it: what comes out, what is skipped, and what an interruption leaves."""

import csv
import importlib.util
import io
import json
import os
import signal
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest

from gpldan_jax import data, models
from gpldan_jax.cli import extract, search
from gpldan_jax.data.emoji import load_emoji_arrays
from gpldan_jax.data.layouts import OWN_SHARES, SPLIT_SEED
from gpldan_jax.extraction import feature_blocks as blocks
from gpldan_jax.features import extractor, network_encoder, read_image
from gpldan_jax.features.pictures import MAX_PIXELS
from gpldan_jax.index import Index
from gpldan_jax.runs import session
from gpldan_jax.runs import workdir as workdirs
from tests.commands import ROOT

Image = pytest.importorskip("PIL.Image", reason="images need Pillow")

PAIRS = 300  # three blocks, the last one not full
OWN = """
import os, signal
import numpy as np

COUNT, STOP = 0, None

def images(pictures):
    global COUNT
    COUNT += 1
    if COUNT == STOP:
        raise KeyboardInterrupt
    if os.environ.get("DIE_AT") == str(COUNT):
        os.kill(os.getpid(), signal.SIGKILL)
    return [[*picture.mean((0, 1)), len(picture)] for picture in pictures]

def texts(texts):
    return np.array([[len(text), text.count("a"), 1] for text in texts], np.float16)

texts.description = {"reads": "letters"}
"""


@pytest.fixture(autouse=True)
def quick(quick_compilation):
    pass


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of the user's in the folder where the command is called; `own.STOP` interrupts it."""
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "own", raising=False)
    import importlib

    importlib.invalidate_caches()
    sys.path.insert(0, str(tmp_path))
    yield importlib.import_module("own")
    sys.modules.pop("own", None)


@pytest.fixture
def call(capsys):
    def run(*argv):
        capsys.readouterr()
        status = extract.main([str(argument) for argument in argv])
        return status, *capsys.readouterr()

    return run


def picture(row):
    """A picture of a size and colour of its own."""
    return np.full((4 + row % 5, 3 + row % 7, 3), (row % 256, row // 256, 99), np.uint8)


@pytest.fixture
def folder(tmp_path):
    """300 pairs: `images/` and `texts.csv` with labels and a split."""
    return made(tmp_path, PAIRS)


def made(folder, count):
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
    given |= {"text_model": "own:texts", "out": folder / out} | changed
    return [f"--{name}={value}" for name, value in given.items() if value is not None]


def manifest_of(path):
    return json.loads(str(np.load(path)["manifest"]))


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


def test_the_vocabulary_is_that_of_the_training_pairs(folder, call):
    (folder / "texts.csv").write_text(
        "image,text,split\n0.png,red rose,train\n1.png,red red heart,train\n2.png,blue rose,train\n"
        "3.png,blue violet,test\n4.png,violet,validation\n"
    )
    chosen = {"image_model": "hog_hsv", "text_model": "bag_of_words"}

    def vocabulary(**more):
        assert call("--fresh", *flags(folder, **chosen, **more))[0] == 0
        return manifest_of(folder / "features.npz")["text"]["vocabulary"]

    assert vocabulary() == ["red", "rose"]
    assert vocabulary(max_words=1) == ["red"]  # three times, rose twice
    assert vocabulary(min_documents=1) == ["blue", "heart", "red", "rose"]
    assert vocabulary(vocabulary="all") == ["blue", "red", "rose", "violet"]
    (folder / "words.txt").write_text("violet\nblue\n")
    assert vocabulary(vocabulary=folder / "words.txt") == ["blue", "violet"]
    np.testing.assert_array_equal(np.load(folder / "features.npz")["text"], [[0, 0], [0, 0], [1, 0], [1, 1], [0, 1]])


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
    assert status == 130 and "the same command goes on" in err
    assert not (folder / "features.npz").exists() and len(os.listdir(folder / "features.npz.parts/blocks")) == 1
    own.COUNT, own.STOP = 0, None
    assert call(*flags(folder), "--batch=32")[0] == 0
    assert own.COUNT == 4 + 2  # of ten batches of images four had been kept
    assert (folder / "features.npz").read_bytes() == (folder / "whole.npz").read_bytes()
    assert not (folder / "features.npz.parts").exists()


@pytest.mark.parametrize("moment", [1, 5, 8, 10])
def test_a_kill_loses_a_block_at_most(folder, own, call, moment):
    assert call(*flags(folder, "whole.npz"), "--batch=32")[0] == 0
    command = [sys.executable, ROOT / "experiments/extract.py", *flags(folder), "--batch=32"]
    killed = subprocess.run(command, cwd=folder, env=os.environ | {"DIE_AT": str(moment)}, capture_output=True)
    assert killed.returncode == -signal.SIGKILL and not (folder / "features.npz").exists()
    assert call(*flags(folder), "--batch=32")[0] == 0
    assert (folder / "features.npz").read_bytes() == (folder / "whole.npz").read_bytes()


def test_interrupting_the_command_from_outside(folder, own, call):
    slow = "import time\nfrom own import images as fast\ndef images(p):\n    time.sleep(0.2)\n    return fast(p)\n"
    (folder / "slow.py").write_text(slow)
    command = [sys.executable, "-c", "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
               "sys.argv.pop(0); import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"]  # fmt: skip
    command += [str(ROOT / "experiments/extract.py"), *flags(folder, image_model="slow:images"), "--batch=16"]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    parts = folder / "features.npz.parts/blocks"
    deadline = time.monotonic() + 60
    while not (parts.exists() and os.listdir(parts)) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err.count("\n") == 1 and "the same command goes on" in err
    assert sorted(name.partition("-")[0] for name in os.listdir(parts)) and not (folder / "features.npz").exists()


def test_a_finished_file_is_left_alone(folder, own, call):
    assert call(*flags(folder))[0] == 0
    before, own.COUNT = (folder / "features.npz").stat(), 0
    status, out, _ = call(*flags(folder))
    assert status == 0 and "is finished (--fresh starts over)" in out and own.COUNT == 0
    assert (folder / "features.npz").stat().st_mtime_ns == before.st_mtime_ns
    status, _, err = call(*flags(folder, max_pixels=7))
    assert status == 2 and "is there already and was made otherwise; choose another --out, or --fresh" in err
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
        assert status == 2 and message in err and "choose another --out, or --fresh" in err and "workdir" not in err
    Image.fromarray(picture(7)).save(folder / "images/3.png")
    status, _, err = call(*flags(folder), "--batch=32")
    assert status == 2 and "the data are not those it was started with" in err
    assert call(*flags(folder), "--batch=32", "--fresh")[0] == 0


def test_a_damaged_block_is_named(folder, own, call):
    own.STOP = 6
    assert call(*flags(folder), "--batch=32")[0] == 130
    own.STOP = None
    block = blocks.path_of(folder / "features.npz.parts/blocks", "image", 0)
    block.write_bytes(block.read_bytes()[:-100])
    status, _, err = call(*flags(folder), "--batch=32")
    assert status == 2 and str(block) in err and "is damaged" in err and not (folder / "features.npz").exists()


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
    assert "20 of 300 pairs cannot be used, more than --max_skipped=0.05 allows; the first is '0.png': the pictu" in err
    assert own.COUNT == 4 and not (folder / "features.npz").exists()  # the first block, not the other two
    assert len(json.loads((folder / "features.npz.skipped.json").read_text())) == 20
    status, out, _ = call(*flags(folder), "--max_skipped=0.07")  # what is finished is kept
    assert status == 0 and own.COUNT == 4 + 6 and "... and 10 more, all in" in out
    with open(folder / "texts.csv", "a") as file:
        file.writelines(f"missing{row}.png,text,class 1,0\n" for row in range(30))
    status, _, err = call(*flags(folder, "other.npz"))
    assert status == 2 and "30 of 330 pairs" in err and own.COUNT == 10  # known before an image is read


def test_nothing_is_left_of_a_folder_without_good_pairs(tmp_path, own, call):
    made(tmp_path, 3)
    for row in range(3):
        (tmp_path / f"images/{row}.png").write_bytes(b"broken")
    status, _, err = call(*flags(tmp_path), "--max_skipped=1")
    assert status == 2 and "none of 3 pairs can be used" in err and not (tmp_path / "features.npz").exists()


def test_several_sentences_are_joined_or_averaged(tmp_path, own, call):
    made(tmp_path, 3)
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


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("None", "the encoder was given 32 items: expected real numbers [32, d], found object []"),
        ("[[1]] * (len(p) - 1)", "expected real numbers [32, d], found int64 [31, 1]"),
        ("[['x']] * len(p)", "expected real numbers [32, d], found <U1 [32, 1]"),
        ("[[float('nan')]] * len(p)", "the encoder gave features that are NaN, Inf or past the range of float32"),
        ("[[1e300]] * len(p)", "past the range of float32"),
        ("[[1] * (1 + len(p) // 100)] * len(p)", "the encoder gave arrays of [1, 2] features"),
    ],
)
def test_an_encoder_that_does_not_do_its_part(folder, own, call, returned, message):
    own.wrong = eval(f"lambda p: {returned}")
    status, _, err = call(
        *flags(folder, image_model="own:wrong"), "--batch=32" if "//" not in returned else "--batch=100"
    )
    assert status == 2 and err.count("\n") == 1 and message in err and not (folder / "features.npz").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": None}, "give --images and --texts, or --release and --root"),
        ({"release": "wikipedia"}, "--release goes with --root, without --images and --texts"),
        ({"images": None, "texts": None, "release": "pascal"}, "--release and --root go together"),
        ({"images": None, "texts": None, "release": "flickr", "root": "."}, "invalid choice: 'flickr'"),
        ({"root": "."}, "--release and --root go together"),
        ({"out": "features.csv"}, "features.csv must end in .npz"),
        ({"out": "/proc/features.npz"}, "cannot write"),
        ({"texts": "missing.csv"}, "missing.csv: no such file"),
        (
            {"image_model": "vgg16"},
            "unknown --image_model 'vgg16': expected vgg19, alexnet, hog_hsv or MODULE:FUNCTION",
        ),
        ({"image_model": "vgg19"}, "--image_weights is missing"),
        ({"image_model": "vgg19", "image_weights": "texts.csv"}, "texts.csv"),
        (
            {"image_model": "hog_hsv", "image_weights": "x.pth"},
            "--image_weights goes with --image_model=vgg19 or alexnet",
        ),
        ({"image_model": "nothing:here"}, "--image_model: nothing cannot be imported: No module named 'nothing'"),
        ({"image_model": "own:nothing"}, "--image_model: own has no function 'nothing'"),
        ({"text_model": "gpt"}, "unknown --text_model 'gpt': expected bert, bag_of_words or MODULE:FUNCTION"),
        ({"text_model": "bert"}, "--text_path is missing"),
        ({"text_model": "bert", "text_path": "nowhere"}, "nowhere: expected the directory of an encoder, found none"),
        ({"text_model": "bag_of_words", "text_path": "x"}, "--text_path goes with --text_model=bert"),
        ({"text_model": "bag_of_words", "pooling": "cls"}, "--pooling goes with --text_model=bert, got bag_of_words"),
        ({"max_words": 7}, "--max_words goes with --text_model=bag_of_words, got own:texts"),
        ({"scaling": "caffe"}, "--scaling goes with --image_model=vgg19 or alexnet, got own:images"),
        ({"text_model": "bag_of_words", "vocabulary": "missing.txt"}, "--vocabulary: expected train, all or a file"),
        ({"text_model": "bag_of_words", "min_documents": 400}, "expected words that 400 or more of 100 documents have"),
        ({"max_skipped": 5}, "--max_skipped is a share, expected 0 to 1, got 5"),
        ({"batch": 0}, "must be at least 1, got 0"),
        ({"max_pixel": 0}, "unrecognized arguments: --max_pixel=0"),
    ],
)
def test_bad_input_is_one_line(folder, own, call, change, message):
    before = sorted(path for path in folder.rglob("*") if "__pycache__" not in str(path))
    status, _, err = call(*flags(folder, **change))
    assert status == 2 and err.count("\n") == 1 and message in err
    after = sorted(path for path in folder.rglob("*") if "__pycache__" not in str(path))
    if change.get("min_documents") is None:  # known only after the images, which are kept
        assert after == before
    assert not (folder / "features.npz").exists()


def test_defaults_are_those_of_the_library():
    options = extract._parser().parse_args(["--image_model=a", "--text_model=b", "--out=c"])
    assert (options.max_pixels, tuple(options.split), options.seed) == (MAX_PIXELS, OWN_SHARES, SPLIT_SEED)


def test_images_that_no_row_names_are_counted(folder, own, call):
    Image.fromarray(picture(0)).save(folder / "images/more.png")
    assert f"images in {folder / 'images'} that {folder / 'texts.csv'} does not name: 1" in call(*flags(folder))[1]


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


def test_a_network_of_given_weights(folder, call, monkeypatch):
    import safetensors.numpy

    from gpldan_jax.features import networks
    from tests.features import networks as small

    layers = (networks.Convolution(4, kernel=11, stride=8, padding=2, pool=3), networks.Convolution(2, pool=3))
    monkeypatch.setitem(networks.ARCHITECTURES, "alexnet", networks.Architecture(layers, linear=small.LINEAR))
    weights = folder / "alexnet.safetensors"
    safetensors.numpy.save_file(small.state_dict(networks.ImageNetwork(layers), networks.SIDE), weights)
    (folder / "texts.csv").write_text("image,text,split\n0.png,red red,train\n1.png,red,train\n2.png,a,test\n")
    chosen = {"image_model": "alexnet", "image_weights": weights, "text_model": "bag_of_words"}
    assert call(*flags(folder, **chosen), "--before_relu", "--scaling=caffe", "--batch=2")[0] == 0
    encode = network_encoder("alexnet", weights, rectified=False, scaling="caffe", batch=2)
    pictures = [encode.prepare(read_image(folder / f"images/{row}.png")) for row in range(3)]
    np.testing.assert_array_equal(np.load(folder / "features.npz")["image"], encode(pictures))
    described = data.load_dataset("npz", path=folder / "features.npz").features
    assert described["image"].items() >= encode.description.items()
    again = extractor({"features": described}, "image", weights)
    np.testing.assert_allclose(again([picture(0)]), encode(pictures[:1]), rtol=1e-4, atol=1e-4)


def test_a_model_of_extracted_features_answers_words(folder, call, capsys):
    """From a folder to a search: the vocabulary and the ids come along."""
    chosen = {"image_model": "hog_hsv", "text_model": "bag_of_words"}
    assert call(*flags(folder, **chosen))[0] == 0
    from configs import npz

    config = npz.get_config().to_dict()
    config["dataset"]["path"] = str(folder / "features.npz")
    config["model"] |= {"hidden": 8, "width": 8, "parts": 2}
    dataset, standardization = session.load(config["dataset"])
    projector = session.projector(config)
    import jax

    parameters = projector.init(jax.random.key(0), dataset.test.images[:1], dataset.test.texts[:1])["params"]
    workdir = folder / "run"
    workdir.mkdir()
    models.save_model(
        workdir / workdirs.MODEL, session.trained_model(config, dataset, standardization, parameters, epoch=1)
    )
    workdirs.write_json(workdir / workdirs.CONFIG, {"config": config, "data": dataset.fingerprint()})
    assert search.main(["build", f"--workdir={workdir}"]) == 0
    assert sorted(Index.load(workdir / "collection/image").ids.tolist()) == sorted(f"{row}.png" for row in range(PAIRS))
    assert Index.load(workdir / "collection/image").entry("4.png").fields["split"] == "validation"
    capsys.readouterr()
    assert search.main(["query", str(workdir / "collection"), "--text", "banana", "-k", "3", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["results"]) == 3


@pytest.mark.parametrize("package", ["pillow", "scikit-learn"])
def test_a_missing_package_is_named(folder, own, call, monkeypatch, package):
    import importlib.metadata

    right = importlib.metadata.version

    def version(name):
        if name == package:
            raise importlib.metadata.PackageNotFoundError(name)
        return right(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    status, _, err = call(*flags(folder, text_model="bag_of_words"))
    assert status == 2 and f"{package}: pip install 'gpldan_jax[features]'" in err and err.count("\n") == 1
