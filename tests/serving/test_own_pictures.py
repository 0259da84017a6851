"""From a folder of pictures and captions to their page: the command `demo`, the collection, the files, the browser."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from gpldan_jax.cli.main import main
from gpldan_jax.index import Index
from gpldan_jax.runs import workdir as workdirs
from gpldan_jax.serving import Collection
from gpldan_jax.serving.building import build_from_run
from gpldan_jax.serving.thumbnail_file import FILE
from tests.serving import served

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning"),  # of ml_collections
]
SMALL = ["--config.model.hidden=8", "--config.model.width=8", "--config.train.epochs=1"]
COLOURS = {"red": (220, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 220)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with 48 pictures in a folder of their own and a table of two captions for each."""
    folder = tmp_path_factory.mktemp("at") / "shapes"
    (folder / "sub").mkdir(parents=True)
    random = np.random.default_rng(0)
    with open(folder / "captions.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "caption"])
        for row in range(48):
            name, colour = list(COLOURS.items())[row % 3]
            picture = random.integers(0, 30, (200, 300, 3)) + colour
            Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / f"sub/{row}.jpg")
            table.writerow([f"sub/{row}.jpg", f"a {name} wall"])
            table.writerow([f"sub/{row}.jpg", f"the wall number{row} is {name}"])
    return folder


def demo(folder, *flags):
    return main(["demo", str(folder), f"--workdir={folder.parent / 'work'}", "--no-serve", *SMALL, *flags])


@pytest.fixture(scope="module")
def collection(folder):
    assert demo(folder) == 0
    return folder.parent / "work" / "collection"


def test_the_command_says_its_steps_and_the_same_again_does_none_of_them(folder, collection, capsys):
    before = {path: path.stat().st_mtime_ns for path in collection.parent.rglob("*") if path.is_file()}
    assert demo(folder) == 0
    out = capsys.readouterr().out
    steps = [line.split(" --")[0] for line in out.splitlines() if line.startswith("$ ")]
    assert steps == ["$ gpldan extract", "$ gpldan run"] and "collection is finished" in out
    assert "38 training pairs" not in out and "next: gpldan search serve" in out.splitlines()[-1]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_killed_build_is_made_again(folder, collection, capsys):
    (collection / "collection.json").unlink()
    assert demo(folder) == 0 and "$ gpldan search build" in capsys.readouterr().out
    assert (collection / "collection.json").exists()


def test_captions_and_pictures_are_in_the_collection(collection):
    images, texts = (Index.load(collection / of) for of in ("image", "text"))
    assert (len(images), len(texts)) == (48, 96)
    rows = [entry.fields for entry in map(images.entry, images.ids.tolist())]
    assert all(row["text"].startswith("a ") and len(row["text"].split("\n")) == 2 for row in rows)
    assert {row["file"] for row in rows} == {f"sub/{row}.jpg" for row in range(48)}
    for row in rows:
        number = row["text"].split("number")[1].split()[0]
        assert row["file"] == f"sub/{number}.jpg" and len(row["picture"]) == 32
    fields = texts.entry(texts.ids[1].item()).fields
    assert "picture" not in fields and fields["text"]


def test_a_few_pairs_are_trained_with_a_smaller_batch(folder, tmp_path, capsys):
    table = (folder / "captions.csv").read_text().splitlines()
    (tmp_path / "few.csv").write_text("\n".join(table[:41]))
    flags = [f"--texts={tmp_path / 'few.csv'}", f"--workdir={tmp_path / 'few'}"]
    assert demo(folder, *flags) == 0
    out = capsys.readouterr().out
    assert "32 training pairs are fewer than a usual mini-batch of 64" in out and "--config.train.batch_size=32" in out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--texts=no.csv"], "no.csv"),
        (["--out=x.npz"], "--out=x.npz: the folder and --workdir say that"),
        (["--image_modle=vgg19"], "unknown flag --image_modle; did you mean --image_model?"),
        (["--image_model=vgg19"], "--image_weights is missing"),
    ],
)
def test_what_cannot_work_is_said_first(folder, tmp_path, capsys, flags, message):
    status = main(["demo", str(folder), f"--workdir={tmp_path / 'w'}", "--no-serve", *flags])
    assert status == 2 and message in capsys.readouterr().err and not (tmp_path / "w").exists()


def test_a_folder_without_a_table_or_no_folder_is_said(folder, tmp_path, capsys):
    assert main(["demo", str(folder / "sub")]) == 2
    assert f"--texts is missing: the file of the captions. Tables in {folder / 'sub'}: none" in capsys.readouterr().err
    assert main(["demo", str(tmp_path / "no")]) == 2 and "is no folder" in capsys.readouterr().err


def test_pictures_that_moved_are_said_and_found_again(folder, collection, tmp_path, capsys):
    run, out = collection.parent / "run", tmp_path / "c"
    (folder / "sub").rename(folder / "moved")
    try:
        build_from_run(run, out)
        assert "48 of 48 images cannot be read and have no thumbnail, such as sub/" in capsys.readouterr().out
        folder.rename(folder.with_name("gone"))
        build_from_run(run, out)
        assert "no thumbnails: the folder of the images" in capsys.readouterr().out
        assert "picture" not in Index.load(out / "image").entry(Index.load(out / "image").ids[0].item()).fields
    finally:
        folder.with_name("gone").rename(folder)
        (folder / "moved").rename(folder / "sub")
    build_from_run(run, out, images=folder)
    assert len(Collection.load(out).pictures) == 48


def test_originals_are_sent_only_from_the_given_folder(folder, collection):
    with served.serving(Collection.load(collection)) as port:
        about = served.answer(port, "/api/about")
        assert about["title"] == "shapes" and about["pictures"] and about["photos"]
        item = about["shelf"][0]
        assert "original" not in item and "file" not in item["fields"]
        status, headers, file = served.ask(port, item["picture"])
        assert status == 200 and headers.get_content_type() == "image/webp" and len(file) > 100
        assert served.ask(port, "/original?image=" + item["id"])[0] == 404
    (folder / "sub" / "0.jpg").rename(folder / "sub" / "kept")
    (folder / "sub" / "0.jpg").symlink_to(collection / "collection.json")
    try:
        with served.serving(Collection.load(collection, images=folder)) as port:
            items = served.answer(port, "/api/search", words="wall", k=48)
            address = next(item["original"] for item in items["results"] if "number1 " in item["fields"]["text"])
            status, headers, file = served.ask(port, address)
            assert status == 200 and file == (folder / "sub/1.jpg").read_bytes()
            assert headers.get_content_type() == "image/jpeg" and headers["X-Content-Type-Options"] == "nosniff"
            outside = next(item["original"] for item in items["results"] if "number0 " in item["fields"]["text"])
            assert served.ask(port, outside)[0] == 404  # a link that leaves the folder
            for wrong in ("/original", "/original?image=no", "/original?image=..%2Fcaptions.csv", "/original?text=1"):
                assert served.ask(port, wrong)[0] in (400, 404)
    finally:
        (folder / "sub" / "kept").replace(folder / "sub" / "0.jpg")


def test_a_folder_that_fits_nothing_is_refused(collection, workdir, built, tmp_path):
    with pytest.raises(ValueError, match="is no folder"):
        Collection.load(collection, images=tmp_path / "no")
    with pytest.raises(ValueError, match="names no image files"):
        Collection.load(built, images=tmp_path)
    with pytest.raises(ValueError, match="the data name no image files, so images="):
        build_from_run(workdir, tmp_path / "c", images=tmp_path)


def test_the_report_shows_the_pictures_and_captions(collection, tmp_path, capsys):
    pytest.importorskip("jinja2", reason="a report needs jinja2")
    pytest.importorskip("matplotlib", reason="a report needs matplotlib")
    run = collection.parent / "run"
    assert json.loads((run / workdirs.RESULTS).read_text())["dataset"] == "shapes"
    assert main(["report", str(run), f"--out={tmp_path / 'report.html'}"]) == 0, capsys.readouterr().err
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/webp;base64,") > 5 and " wall" in page


def test_a_collection_of_before_has_no_thumbnails_and_is_served(collection, tmp_path):
    loaded = Collection.load(collection)
    assert loaded.pictures is not None
    (collection / FILE).rename(tmp_path / FILE)
    try:
        with pytest.warns(UserWarning, match="pictures.sqlite is missing"):
            without = Collection.load(collection)
        with served.serving(without) as port:
            about = served.answer(port, "/api/about")
            assert not about["pictures"] and "picture" not in about["shelf"][0]
    finally:
        (tmp_path / FILE).rename(collection / FILE)
