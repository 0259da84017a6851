"""The command: its flags, modules of the user's, missing packages, and an interruption from outside."""

import importlib.metadata
import inspect
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from gpldan_jax import extraction
from gpldan_jax.cli import extract
from gpldan_jax.data.own_features import OWN_SHARES, SPLIT_SEED
from gpldan_jax.features.pictures import MAX_PIXELS
from tests.commands import ROOT
from tests.extraction.folders import PAIRS, flags, picture

Image = pytest.importorskip("PIL.Image", reason="images need Pillow")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": None}, "give --images and --texts, or --release and --root"),
        ({"release": "wikipedia"}, "--release goes with --root, without --images and --texts"),
        ({"images": None, "texts": None, "release": "pascal"}, "--release and --root go together"),
        ({"images": None, "texts": None, "release": "flickr", "root": "."}, "invalid choice: 'flickr'"),
        ({"root": "."}, "--release and --root go together"),
        ({"out": "features.csv"}, "features.csv must end in .npz; or name a folder, without a dot in its name"),
        ({"out": "texts.csv/features"}, "texts.csv/features"),
        ({"out": ".."}, "..: expected the name of a folder"),
        ({"out": "/proc/features.npz"}, "cannot write"),
        ({"texts": "missing.csv"}, "missing.csv: no such file"),
        (
            {"image_model": "vgg16"},
            "unknown image encoder 'vgg16': expected vgg19, alexnet, hog_hsv, transformers, timm, open_clip or M",
        ),
        ({"image_model": "vgg19"}, "--image_weights is missing"),
        ({"image_model": "vgg19", "image_weights": "texts.csv"}, "texts.csv"),
        (
            {"image_model": "hog_hsv", "image_weights": "x.pth"},
            "--image_weights goes with --image_model=vgg19 or alexnet",
        ),
        (
            {"image_model": "nothing:here"},
            "image encoder nothing:here: nothing cannot be imported: No module named",
        ),
        ({"image_model": "own:nothing"}, "image encoder own:nothing: own has no function 'nothing'"),
        (
            {"text_model": "gpt"},
            "unknown text encoder 'gpt': expected bert, transformers, open_clip, bag_of_words or M",
        ),
        ({"text_model": "bert"}, "--text_path is missing"),
        ({"text_model": "open_clip"}, "--text_path is missing"),
        ({"image_model": "timm"}, "--image_path is missing: the directory with the image encoder"),
        ({"image_model": "transformers", "image_path": "nowhere"}, "nowhere: expected the directory of an encoder"),
        ({"image_path": "x"}, "--image_path goes with --image_model=transformers or timm or open_clip, got own:images"),
        ({"text_model": "bert", "text_path": "nowhere"}, "nowhere: expected the directory of an encoder, found none"),
        (
            {"text_model": "bag_of_words", "text_path": "x"},
            "--text_path goes with --text_model=bert or transformers or open_clip",
        ),
        ({"text_model": "bag_of_words", "pooling": "cls"}, "--pooling goes with --text_model=bert or transformers"),
        ({"max_words": 7}, "--max_words goes with --text_model=bag_of_words, got own:texts"),
        ({"analyzer": "char"}, "--analyzer goes with --text_model=bag_of_words, got own:texts"),
        ({"text_model": "bag_of_words", "analyzer": "chars"}, "invalid choice: 'chars'"),
        ({"scaling": "caffe"}, "--scaling goes with --image_model=vgg19 or alexnet, got own:images"),
        ({"text_model": "bag_of_words", "vocabulary": "missing.txt"}, "vocabulary: expected train, all or a file"),
        ({"text_model": "bag_of_words", "min_documents": 400}, "expected words that 400 or more of 100 documents have"),
        ({"max_skipped": 5}, "argument --max_skipped: must be a share from 0 to 1, got 5"),
        ({"batch": 0}, "must be at least 1, got 0"),
        ({"images": None, "image": "x", "out": None}, "unknown flag --image; did you mean --images?"),
        ({"max_pixel": 0}, "unknown flag --max_pixel; did you mean --max_pixels?"),
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


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--ngrams", "1", "3"), "--ngrams goes with --analyzer=char, got auto"),
        (("--analyzer=char", "--symbols"), "--numbers and --symbols go with --analyzer=word; --analyzer=char counts"),
        (("--analyzer=char", "--ngrams", "3", "1"), "two whole numbers from 1 to 10, got (3, 1)"),
    ],
)
def test_flags_of_words_that_do_not_go_together(folder, call, given, message):
    status, _, err = call(*flags(folder, image_model="hog_hsv", text_model="bag_of_words"), *given)
    assert status == 2 and err.count("\n") == 1 and message in err and not (folder / "features.npz.parts").exists()


def test_defaults_are_those_of_the_library():
    options = extract._parser("gpldan extract").parse_args(["--image_model=a", "--text_model=b", "--out=c"])
    assert (options.max_pixels, tuple(options.split), options.seed) == (MAX_PIXELS, OWN_SHARES, SPLIT_SEED)
    library = inspect.signature(extraction.extract).parameters
    for name in ("sentences", "max_skipped", "max_pixels", "batch", "fresh"):
        assert getattr(options, name) == library[name].default, name
    library = inspect.signature(extraction.choose_words).parameters
    for name in extract._OF_WORDS:
        assert getattr(options, name) == library[name].default, name
    assert tuple(options.ngrams) == library["ngram_range"].default
    assert tuple(extraction.RELEASES) == extract.RELEASES


def test_a_module_of_the_user_may_import_another_one_beside_it(folder, call, monkeypatch):
    (folder / "helper_of_mine.py").write_text("def width(picture):\n    return len(picture[0])\n")
    (folder / "encoder_of_mine.py").write_text(
        "def images(pictures):\n    import helper_of_mine\n    return [[helper_of_mine.width(p)] for p in pictures]\n"
    )
    monkeypatch.chdir(folder)
    chosen = {"image_model": "encoder_of_mine:images", "text_model": "bag_of_words"}
    assert call(*flags(folder, **chosen))[0] == 0
    expected = [picture(row).shape[1] for row in range(PAIRS)]
    np.testing.assert_array_equal(np.load(folder / "features.npz")["image"][:, 0], expected)


def test_weights_of_pytorch_without_pytorch(folder, own, call, monkeypatch):
    (folder / "alexnet.pth").write_bytes(b"PK\3\4...")
    monkeypatch.setitem(sys.modules, "torch", None)
    status, _, err = call(*flags(folder, image_model="alexnet", image_weights="alexnet.pth"))
    assert status == 2 and err.count("\n") == 1 and err.startswith("error: alexnet.pth is a file of PyTorch: ")
    assert "/whl/cpu), or convert it where PyTorch is: python -c" in err and "pip install 'gpldan_jax[torch]' (" in err


def test_images_that_no_row_names_are_counted(folder, own, call):
    Image.fromarray(picture(0)).save(folder / "images/more.png")
    assert f"images in {folder / 'images'} that {folder / 'texts.csv'} does not name: 1" in call(*flags(folder))[1]


@pytest.mark.parametrize(
    ("content", "given", "message"),
    [
        ("image,title,caption\n0.png,a,b\n", (), "may each be the text; say which with --text_column=NAME\n"),
        ("image,price\n0.png,3\n", (), "or say which with --text_column=NAME\n"),
        ("image,text\n0.png,a\n", ("--image_column=photo",), "line 1: --image_column: no column 'photo'; there are"),
        (
            "image,text\n0.png,a\n",
            ("--image_column=text", "--text_column=Text"),
            "line 1: --image_column and --text_column are both 'Text'",
        ),
        ("image,txet\n0.png,a\n", (), "rename or delete it, or say which with --text_column=NAME\n"),
        ("image^text\n0.png^a\n", (), "separates the cells, say which with --separator\n"),
        ("image,text,a;path;title\n0.png,a\n", (), "may each separate the cells; say which with --separator\n"),
        ("image,text\n0.png,a\n", ("--separator=ab",), "error: --separator='ab': expected comma, semicolon, tab, bar"),
        ("image,text\n0.png,a\n", ("--label_separator=",), "error: --label_separator='': expected what is between"),
        ("image,text,split\n0.png,a,0\n0.png,b,1\n", (), "must be in one split, or give --cut_groups\n"),
    ],
)
def test_messages_about_a_table_name_flags(folder, own, call, content, given, message):
    (folder / "texts.csv").write_text(content)
    status, _, err = call(*flags(folder), *given)
    assert status == 2 and err.count("\n") == 1 and err.startswith("error: ") and message in err
    assert "columns=" not in err and not (folder / "features.npz").exists()


@pytest.mark.filterwarnings("ignore:.*that are not used")
def test_columns_and_separators_are_given_by_flags(folder, own, call):
    rows = "".join(f"{row}.png^text {row}^{'x;y' if row % 2 else 'y'}^{row // 40}^z\n" for row in range(80))
    (folder / "texts.csv").write_text(f"photo^alt^tags^part^other\n{rows}")
    chosen = {"image_column": "photo", "text_column": "alt", "label_column": "tags", "split_column": "part"}
    assert call(*flags(folder, **chosen, separator="^", label_separator=";"))[0] == 0
    made = np.load(folder / "features.npz")
    assert made["class_names"].tolist() == ["x", "y"] and made["label"].sum() == 120
    assert np.bincount(made["split"]).tolist() == [40, 40]


def test_a_warning_about_a_table_names_the_flag(folder, own, call):
    table = (folder / "texts.csv").read_text()
    (folder / "texts.csv").write_text(table.replace("class ", "a;"))
    with pytest.warns(UserWarning, match=r"Give --label_separator to make several of them$"):
        assert call(*flags(folder))[0] == 0


@pytest.mark.parametrize("package", ["pillow", "scikit-learn"])
def test_a_missing_package_is_named(folder, own, call, monkeypatch, package):

    right = importlib.metadata.version

    def version(name):
        if name == package:
            raise importlib.metadata.PackageNotFoundError(name)
        return right(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    status, _, err = call(*flags(folder, text_model="bag_of_words"))
    assert status == 2 and f"{package}: pip install 'gpldan_jax[features]'" in err and err.count("\n") == 1


@pytest.mark.slow
def test_interrupting_the_command_from_outside(folder, own, call):
    slow = "import time\nfrom own import images as fast\ndef images(p):\n    time.sleep(0.2)\n    return fast(p)\n"
    (folder / "slow.py").write_text(slow)
    command = [sys.executable, "-c", "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
               "sys.argv.pop(0); import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"]  # fmt: skip
    command += [str(ROOT / "experiments/extract.py"), *flags(folder, image_model="slow:images"), "--batch=16"]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    parts = folder / "features.npz.parts/blocks"
    deadline = time.monotonic() + 60
    while not any(parts.glob("image-*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err.count("\n") == 1 and "the same command continues" in err
    assert any(parts.glob("image-*")) and not (folder / "features.npz").exists()
