"""Mutated inputs for each reader: its own errors only, each names the file, each within a second."""

import contextlib
import json
import os
import random
import shutil
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

READ, REFUSED = "read", "refused by name"
UNNAMED, SLOW, OTHER = "refused without a name", "SLOW", "TRACEBACK"
BAD = (UNNAMED, SLOW, OTHER)
_LONGEST = 1.0  # seconds
_TOKENS = (
    *(
        b"\x00",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\r\n",
        b"\n\n",
        b'"',
        b"'",
        b",",
        b"\t",
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b"\\",
    ),
    *(b"null", b"true", b"NaN", b"Infinity", b"-1", b"0", b"1e999", b"9" * 400, b"[" * 3000, b'{"a":' * 2000),
    *(b"\xed\xa0\x80", b"\\ud800", b"../../etc/passwd", b"&amp;", b"<text>", b"(", b")", b"<f8", b"|O", b"1.5"),
)


@dataclass(frozen=True)
class Reader:
    """A reader, and a file that it reads.

    Attributes:
        write: writes whole files into a folder; returns those that may be mutated.
        read: takes the folder.
    """

    write: Callable[[Path], list[Path]]
    read: Callable[[Path], Any]


def mutate(folder: Path, seed: int, count: int, until: float) -> Iterator[dict[str, Any]]:
    """Yields a record for each finding, and one for each reader and harmless outcome, with its `"count"`.

    Args:
        folder: to work in.
        seed: decides the mutations.
        count: how many of each reader.
        until: when to stop, as `time.time()`.
    """
    root = folder / "readers"
    for name, reader in readers().items():
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        targets = reader.write(root)
        reader.read(root)  # what is whole is read; and the first time loads libraries
        contents = {path: path.read_bytes() for path in targets}
        counts: Counter[str] = Counter()
        for number in range(count):
            if time.time() > until:
                break
            rng = random.Random(f"{seed}/{name}/{number}")
            path = rng.choice(targets)
            path.write_bytes(mutated(contents[path], rng))
            outcome, said = _outcome(reader, root, path)
            path.write_bytes(contents[path])
            counts[outcome] += 1
            if outcome in BAD:
                yield _record(name, outcome, f"{seed}/{name}/{number}", said, path.name)
        for outcome in (READ, REFUSED):
            yield _record(name, outcome, str(seed), "", "") | {"count": counts[outcome]}


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Returns a content after one to four changes, as faults and fuzzers make them."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(len(found) + 1)
        end = min(len(found), place + rng.choice((1, 2, 8, 64)))
        kind = rng.randrange(7)
        if kind == 0 and place < len(found):
            found[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            found[place:end] = b""
        elif kind == 2:
            found[place:place] = rng.choice(_TOKENS)
        elif kind == 3:
            found[place:end] = rng.choice(_TOKENS)
        elif kind == 4:
            found[place:place] = found[place:end] * rng.choice((1, 3))
        elif kind == 5:
            found[place:end] = rng.randbytes(end - place)
        elif rng.random() < 0.3:
            del found[place:]
    return bytes(found)


def _outcome(reader, root, path):
    started = time.perf_counter()
    outcome, said = READ, ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            reader.read(root)
        except (ValueError, OSError) as error:
            said = str(error)
            # The file, or the folder that it belongs to.
            is_named = any(name in said for name in (path.name, str(path.parent), root.name))
            outcome = REFUSED if is_named else UNNAMED
        except Exception as error:
            outcome, said = OTHER, f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - started
    if seconds > _LONGEST:
        reader_again = time.perf_counter()  # a machine that is busy is no fault of the reader
        with contextlib.suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(root)
        if (seconds := time.perf_counter() - reader_again) > _LONGEST:
            return SLOW, f"{seconds:.1f} s"
    return outcome, said[:300]


def _record(name, outcome, seed, said, file):
    of = {"kind": "reader", "case": name, "file": file, "done": "mutated", "command": "", "count": 1}
    return {**of, "outcome": outcome, "said": said, "seed": seed}


def readers() -> dict[str, Reader]:
    """Returns the readers by name."""
    from gpldan_jax import _checksums, data, models
    from gpldan_jax.benchmarking import results
    from gpldan_jax.extraction import read_nuswide, read_pascal, read_table, read_wikipedia
    from gpldan_jax.extraction.feature_blocks import read_block
    from gpldan_jax.features.thumbnails import make_thumbnail
    from gpldan_jax.index import Index
    from gpldan_jax.reports import folders
    from gpldan_jax.runs import kept_neighbours
    from gpldan_jax.runs import workdir as workdirs
    from gpldan_jax.serving.thumbnail_file import FILE, build_thumbnails, open_thumbnails
    from gpldan_jax.studies import overview

    def table(name, text):
        def write(root):
            (root / "images").mkdir()
            for row in range(4):
                (root / "images" / f"{row}.jpg").touch()
            (root / name).write_text(text, encoding="utf-8")
            return [root / name]

        return Reader(write, lambda root: read_table(root / name, root / "images"))

    rows = [{"image": f"{row}.jpg", "text": f"a text, {row}", "label": "a", "split": "train"} for row in range(4)]
    csv = "image,text,label\n" + "".join(f'{row}.jpg,"a text, {row}",b\n' for row in range(4))
    coco = {"images": [{"id": row, "file_name": f"{row}.jpg"} for row in range(4)],
            "annotations": [{"image_id": row, "caption": f"text {row}"} for row in range(4)]}  # fmt: skip
    karpathy = {"images": [{"filename": f"{row}.jpg", "split": "train", "sentences": [{"raw": "a"}, {"raw": "b"}]}
                for row in range(4)]}  # fmt: skip
    arrays = {"image": np.ones((6, 3), np.float32), "text": np.eye(6, 4, dtype=np.float32), "split": np.arange(6) % 3,
              "label": np.arange(6) % 2, "id": np.array(list("abcdef")), "image_of": np.arange(6),
              "caption_utf8": np.frombuffer(b"abcdef", np.uint8), "caption_ends": np.arange(1, 7),
              "manifest": np.array(json.dumps({"image": {"extractor": "x"}, "text": {"extractor": "y"}}))}  # fmt: skip
    arrays["image"][2:] += np.arange(4)[:, None]

    def folder_of_arrays(root, *, checked=False):
        for name, values in arrays.items():
            np.save(root / f"{name}.npy", values)
        if checked:
            _checksums.write_folder(root, {})
        return [root / "checksums.json"] if checked else sorted(root.glob("*.npy"))

    def load_folder(root):
        dataset = data.load_dataset("npz", path=root)
        return data.describe(dataset, root, ["train", "test"])

    def npz(root):
        np.savez(root / "mine.npz", **arrays)
        return [root / "mine.npz"]

    def load_npz(root):
        dataset = data.load_dataset("npz", path=root / "mine.npz")
        return data.describe(dataset, root / "mine.npz", ["train", "test"])

    def text_labels(root):
        for name in ("image", "text"):
            np.save(root / f"{name}.npy", arrays[name])
        (root / "label.txt").write_text("a\nb\nc\na\nb\nc\n")
        (root / "split.txt").write_text("train\ntrain\ntrain\nval\ntest\ntest\n")
        return [root / "label.txt", root / "split.txt"]

    def model():
        import jax

        projector = models.Projector(hidden=4, width=4, parts=2)
        images, texts = np.eye(5, 3, dtype=np.float32), np.eye(5, 2, dtype=np.float32)
        parameters = jax.device_get(projector.init(jax.random.key(0), images, texts)["params"])
        unscaled = data.Standardization(np.zeros(3), np.ones(3), np.zeros(2), np.ones(2))
        side = {name: models.BankSide(np.ones((3, width), np.float32), np.zeros(width, np.float32), np.float32(1),
                np.ones((3, 4), np.float32)) for name, width in (("image", 3), ("text", 2))}  # fmt: skip
        bank = models.Bank(**side, joint=np.ones((3, 4), np.float32), neighbours=2, weight=0.5)
        return models.TrainedModel(projector, parameters, unscaled, {"epoch": 1}, bank)

    def write_model(root):
        model().save(root / "model.safetensors")
        return [root / "model.safetensors"]

    def write_index(root):
        Index.build(model(), np.ones((4, 3)), list("abcd"), "image", fields={"text": list("wxyz")}).save(root / "index")
        return sorted((root / "index").glob("*.*"))

    def neighbours(root):
        np.savez(root / "neighbours.npz", columns=np.zeros((5, 2), np.int32), weights=np.ones((5, 2), np.float32))
        return [root / "neighbours.npz"]

    def block(root):
        np.savez(root / "image-000000000.npz", features=arrays["image"], rows=np.arange(6), digests=np.zeros((6, 32)),
                 problems=np.array(json.dumps({"7": "there is no such file"})))  # fmt: skip
        return [root / "image-000000000.npz"]

    figures = {"map@50": {"image_to_text": 0.5, "text_to_image": 0.4, "average": 0.45}}
    config = {"config": {"dataset": {"name": "npz"}, "train": {"seed": 0}}, "data": "ab", "versions": {"jax": "1"}}
    of_run = {"dataset": "d", "synthetic": False, "seed": 0, "epochs": 2, "test": figures, "validation": figures,
              "chance": {"map@50": 0.1}, "selection": {"criterion": "map", "epoch": 1, "value": 0.5}}  # fmt: skip

    def run(root):
        # Without checksums, as those of version 0.1.0, so that what is inside is looked at.
        (root / "config.json").write_text(json.dumps(config))
        (root / "results.json").write_text(json.dumps(of_run))
        records = [{"epoch": epoch, "loss": 0.5, "validation": figures} for epoch in (1, 2)]
        (root / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        return sorted(root.iterdir())

    def read_run(root):
        folders.read(root)
        return overview.overview_tables([root])

    about = {"dataset": "d", "synthetic": False, "seeds": [0], "command": "c", "versions": {"jax": "1"}}
    row = {"name": "cca", "title": "CCA", "supervision": "unsupervised", "transductive": False, "tried": 1,
           "figures": [figures], "validation": [figures], "seconds": 1.0, "failed": "",
           "trials": [{"settings": {}, "value": 0.5}]}  # fmt: skip

    def comparison(root):
        (root / "config.json").write_text(json.dumps(config))
        (root / "table2.json").write_text(json.dumps({**about, "methods": [row]}))
        (root / "cca").mkdir()
        levels = {name: [0.5] * 21 for name in ("image_to_text", "text_to_image", "average")}
        (root / "cca" / "seed-0.json").write_text(json.dumps({"seconds": 1.0, "test": figures, "curves": levels}))
        return [root / "config.json", root / "table2.json", root / "cca" / "seed-0.json"]

    def sweep(root):
        mean = {"mean": 0.5, "sd": 0.1}
        point = {"title": "alpha 1", "value": mean, "epochs": [1], "failed": [],
                 "test": {"map@50": dict.fromkeys(figures["map@50"], mean)}}  # fmt: skip
        record = {**about, "criterion": "map", "points": [point], "selected": point, "chance": {"map@50": 0.1}}
        (root / "sweep.json").write_text(json.dumps(record))
        return [root / "sweep.json"]

    def benchmark(root):
        shutil.copyfile(_RESULTS / "loss-bfloat16-xeon-2-cores-2026-11-22.json", root / "results.json")
        return [root / "results.json"]

    def record(root):
        _checksums.write_record(root / "slices.json", {"slice": 3, "of": ["a", 1.5, None]})
        return [root / "slices.json"]

    def thumbnails(root):
        pictures = [np.full((8, 8, 3), 30 * row, np.uint8) for row in range(4)]
        make_thumbnail(pictures[0])
        (root / "names.json").write_text(json.dumps(build_thumbnails(root, pictures, threads=1)))
        return [root / FILE]

    def read_thumbnails(root):
        opened = open_thumbnails(root)
        try:
            return [opened.file(name) for name in json.loads((root / "names.json").read_text())]
        finally:
            opened.close()

    def wikipedia(root):
        for name in ("texts", "images/art"):
            (root / name).mkdir(parents=True)
        lines = [f"text-{row}\timage-{row}\t{row % 10 + 1}" for row in range(2866)]
        (root / "trainset_txt_img_cat.list").write_text("\n".join(lines[:2173]) + "\n")
        (root / "testset_txt_img_cat.list").write_text("\n".join(lines[2173:]) + "\n")
        (root / "categories.list").write_text("".join(f"class {number}\n" for number in range(10)))
        (root / "texts" / "text-3.xml").write_text("<document><text>a &amp; b</text></document>")
        return [root / name for name in ("testset_txt_img_cat.list", "categories.list", "texts/text-3.xml")]

    def pascal(root):
        for name in ("dataset/cat", "sentence/cat"):
            (root / name).mkdir(parents=True)
        (root / "dataset" / "cat" / "2008_1.jpg").touch()
        (root / "sentence" / "cat" / "2008_1.txt").write_text("A cat.\nTwo cats.\n")
        return [root / "sentence" / "cat" / "2008_1.txt"]

    def nuswide(root):
        from gpldan_jax.extraction.releases import NUSWIDE_CLASSES

        lists = {"ImageList/Imagelist.txt": [f"actor\\{row:04d}_{row + 7}.jpg" for row in range(40)],
                 "NUS_WID_Tags/All_Tags.txt": [f"{row + 7}      tag{row}" for row in range(40)]}  # fmt: skip
        for number, name in enumerate(NUSWIDE_CLASSES):
            lists[f"Groundtruth/AllLabels/Labels_{name}.txt"] = [str(int(row % 10 == number)) for row in range(40)]
        for name, lines in lists.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text("".join(f"{line}\n" for line in lines))
        (root / "Flickr" / "actor").mkdir(parents=True)
        for row in range(40):
            (root / "Flickr" / "actor" / f"{row:04d}_{row + 7}.jpg").touch()
        return [root / name for name in lists]

    found = {
        "captions: .csv": table("mine.csv", csv),
        "captions: .tsv": table("mine.tsv", csv.replace(",", "\t")),
        "captions: .txt": table("mine.txt", csv.replace(",", "|")),
        "captions: .jsonl": table("mine.jsonl", "".join(json.dumps(of) + "\n" for of in rows)),
        "captions: .json": table("mine.json", json.dumps(rows)),
        "captions: COCO": table("captions_train.json", json.dumps(coco)),
        "captions: Karpathy": table("dataset.json", json.dumps(karpathy)),
        "release: Pascal": Reader(pascal, read_pascal),
        "release: NUS-WIDE": Reader(nuswide, lambda root: read_nuswide(root, per_class=2)),
        "folder of .npy": Reader(folder_of_arrays, load_folder),
        "folder of extract": Reader(lambda root: folder_of_arrays(root, checked=True), load_folder),
        "labels in .txt": Reader(text_labels, load_folder),
        ".npz": Reader(npz, load_npz),
        "block of an extraction": Reader(block, lambda root: read_block(root / "image-000000000.npz")),
        "kept neighbours": Reader(neighbours, lambda root: kept_neighbours._read(root / "neighbours.npz", (5, 2))),
        "model with a bank": Reader(write_model, lambda root: models.load_model(root / "model.safetensors")),
        "index": Reader(write_index, lambda root: Index.load(root / "index")),
        "index, not verified": Reader(write_index, lambda root: Index.load(root / "index", verify=False)),
        "thumbnails": Reader(thumbnails, read_thumbnails),
        "run": Reader(run, read_run),
        "comparison": Reader(comparison, read_run),
        "sweep": Reader(sweep, folders.read),
        "benchmark results": Reader(benchmark, lambda root: results.read(root / "results.json")),
        "release: Wikipedia": Reader(wikipedia, read_wikipedia),
        "record with a checksum": Reader(record, lambda root: workdirs.read_json(root / "slices.json", {"slice": int})),
    }
    with contextlib.suppress(ImportError):
        import pyarrow
        import pyarrow.parquet

        def parquet(root):
            (root / "images").mkdir()
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), root / "mine.parquet")
            return [root / "mine.parquet"]

        found["captions: .parquet"] = Reader(parquet, lambda root: read_table(root / "mine.parquet", root / "images"))
    return found


_RESULTS = Path(os.path.abspath(__file__)).parents[1] / "results"
