"""Makes a search system of a trained model: builds a collection, asks it, and serves a page to search in.

    gpldan search build --workdir=runs/emoji
    gpldan search query runs/emoji/collection --text "red heart"
    gpldan search query runs/emoji/collection --picture=mine.png --json
    gpldan search recall runs/emoji/collection --candidates 100 400
    gpldan search serve runs/emoji/collection

A collection is a folder with an index of images, one of texts, or both. `build --workdir` makes both for the pairs of
the run's dataset; `build --model --features --modality` makes one for your own features. The ranking is exact, by the
distance of the paper. With `--candidates` only the nearest candidates of a vector index are ranked; `recall` measures
how many of the nearest items that misses.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from gpldan_jax.cli.arguments import Parser, add_break_lock, in_flags, json_line, needs_package, positive

STOPPED = "stopped; what was there before is as it was"
_LIMITS = (
    "Clients take turns, so none waits for all searches of another. A client, which is an IP address, can have at most "
    "256 connections, 256 searches that wait, 4 pictures that it sends, and 100 requests each second (600 at once). A "
    "picture can have at most 10,000,000 bytes and 16,000,000 pixels (a JPEG 40,000,000); it is decoded in a process "
    "of its own, in at most 10 seconds and 400,000,000 bytes of memory."
)
_IN_FLAGS = {  # words of the library, and how they are said in flags
    "make one with Index.with_candidates": "make one with `search build --candidates`",
    "to ask by; give features": "to ask by; give --features",
    "choose another gallery": "see --gallery",
    "images=": "--images=",
    "proxies must be": "--proxy must be",
}


def main(argv: Sequence[str], program: str) -> int:
    """Parses the flags and runs `build`, `query`, `recall` or `serve`."""
    options = _parser(program).parse_args(argv)
    try:
        options.run(options)
    except ValueError as error:
        message = in_flags(str(error))
        for words, flags in _IN_FLAGS.items():
            message = message.replace(words, flags)
        raise ValueError(message) from error
    return 0


def _build(options: argparse.Namespace) -> None:
    required = [flag for flag in ("model", "features", "modality") if getattr(options, flag) is not None]
    optional = [flag for flag in ("ids", "texts") if getattr(options, flag) is not None]
    if options.workdir and (required or optional):
        raise ValueError(f"--workdir goes without --{(required or optional)[0]}")
    if options.data and not options.workdir:
        raise ValueError("--data goes with --workdir; your own features are --features")
    if options.images and not options.workdir:
        raise ValueError("--images goes with --workdir, whose feature file names the images")
    if not options.workdir and len(required) < 3:
        raise ValueError("give --workdir, or --model, --features and --modality")
    if not options.workdir and not options.out:
        raise ValueError("--out is missing: the folder of the collection")
    if options.candidates:
        needs_package("faiss", "--candidates", "ann")
    from gpldan_jax.serving import building  # jax takes seconds to import; a mistyped flag should not wait

    if options.workdir:
        out = options.out or options.workdir / building.COLLECTION
        chosen = {"candidates": options.candidates, "path": options.data, "images": options.images}
        building.build_from_run(options.workdir, out, options.splits, **chosen)
        print(f"next: gpldan search serve {out}")
        return
    building.build_from_features(
        options.model,
        options.features,
        options.modality,
        options.out,
        ids=options.ids,
        texts=options.texts,
        candidates=options.candidates,
    )
    print(f"next: gpldan search serve {options.out}")


def _query(options: argparse.Namespace) -> None:
    flags = ("text", "picture", "item", "features")
    given = [flag for flag in flags if getattr(options, flag) is not None]
    if len(given) != 1:
        raise ValueError(f"ask by one of --{', --'.join(flags)}, got {', '.join(given) or 'none'}")
    from gpldan_jax import features
    from gpldan_jax.serving import queries

    flag, source = "--text_path", options.text_path
    if options.picture:
        flag, source = "--image_weights", options.image_weights
    try:
        answers = queries.ask(
            options.collection,
            given[0],
            getattr(options, given[0]),
            gallery=options.gallery,
            modality=options.modality,
            k=options.k,
            candidates=options.candidates,
            source=source,
            verify=not options.no_verify,
        )
    except features.FunctionNeededError:
        raise
    except features.FolderNeededError as error:
        raise ValueError(f"{error} with {'--image_path' if options.picture else flag}") from error
    except features.SourceNeededError as error:
        raise ValueError(f"{error} with {flag}") from error
    if answers[0].unknown:
        print(f"not in the vocabulary: {', '.join(answers[0].unknown)}", file=sys.stderr)
    for answer in answers:
        if options.json:
            results = [
                {"id": entry.id, "distance": distance, **entry.fields}
                for entry, distance in zip(answer.entries, answer.distances, strict=True)
            ]
            record = {"query": answer.query, "gallery": answer.gallery, "results": results}
            print(json_line(record))
        else:
            _print_table(answer)


def _recall(options: argparse.Namespace) -> None:
    from gpldan_jax.serving import queries

    report = queries.measure_recall(
        options.collection,
        options.candidates,
        gallery=options.gallery,
        features=options.features,
        modality=options.modality,
        k=options.k,
        queries=options.queries,
        verify=not options.no_verify,
    )
    for recall in report.recalls:
        if options.json:
            print(json.dumps({"gallery": report.gallery, **dataclasses.asdict(recall)}))
        else:
            print(
                f"{recall.candidates:,} candidates of {report.total:,} {report.gallery}s: recall@{recall.k} "
                f"{recall.recall:.4f} ({recall.queries} queries, {report.queries})"
            )
    if not options.json:
        print(f"next: gpldan search serve {options.collection} --candidates={report.recalls[-1].candidates}")


def _serve(options: argparse.Namespace) -> None:
    from gpldan_jax.serving import server

    sources = {"text": options.text_path, "image": options.image_weights}
    chosen = {"sources": sources, "images": options.images, "candidates": options.candidates}
    chosen["proxies"] = options.proxy
    server.serve(options.collection, host=options.host, port=options.port, **chosen)


def _print_table(answer):
    import rich.box
    import rich.table

    from gpldan_jax import _console

    title = f"{answer.query}: nearest of {answer.total:,} {answer.gallery}s"
    table = rich.table.Table(title=title, box=rich.box.SIMPLE_HEAD, title_justify="left")
    table.add_column("", justify="right")
    table.add_column("id")
    table.add_column("distance", justify="right")
    names = [name for name in answer.entries[0].fields if name != "picture"]
    for name in names:
        table.add_column(name)
    for rank, (entry, distance) in enumerate(zip(answer.entries, answer.distances, strict=True), start=1):
        table.add_row(str(rank), str(entry.id), f"{distance:.4f}", *(entry.fields[name] for name in names))
    _console.make_console().print(table)


def _parser(program: str = "gpldan search") -> Parser:
    parser = Parser(prog=program, description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def add_command(name, run, about, more=""):
        command = commands.add_parser(name, help=about, description=f"{about} {more}")
        command.set_defaults(run=run)
        return command.add_argument

    add = add_command("build", _build, "Build a collection; if interrupted, the old one stays as it was.")
    add("--workdir", type=Path, help="of a finished run: use its model and the pairs of its dataset")
    add("--splits", nargs="+", choices=("train", "validation", "test"), default=["train", "validation", "test"],
        metavar="SPLIT", help="with --workdir: splits of the dataset; default: all")  # fmt: skip
    add("--data", type=Path, metavar="PATH", help="with --workdir: where the data of the run lie now, if they moved")
    add("--images", type=Path, metavar="DIR", help="with --workdir: where the image files lie now, if they moved")
    add("--model", type=Path, help="for your own features: a model.safetensors")
    add("--features", type=Path, help="your own features: a .npy file, [n, d], not scaled")
    add("--modality", choices=("image", "text"), help="what they are features of")
    add("--ids", type=Path, help="a text file with one id in each line; default: numbers from 0")
    add("--texts", type=Path, help="a text file with a text to show for each item in each line")
    add("--out", type=Path, help="folder of the collection; default with --workdir: WORKDIR/collection")
    add("--candidates", action="store_true", help="add a vector index, for searches in two stages (needs faiss)")
    add_break_lock(add)

    add = add_command("query", _query, "Ask a collection.")
    _add_asking(add)
    add("--text", help="ask by words")
    add("--picture", type=Path, help="ask by a picture: a PNG, JPEG, WEBP, GIF or BMP file")
    _add_sources(add)
    add("--item", metavar="ID", help="ask by an item of the collection")
    add("--candidates", type=positive, help="re-rank only the N nearest candidates of the vector index", metavar="N")

    add = add_command("recall", _recall, "Measure what share of the exact nearest items a search in two stages finds.")
    _add_asking(add)
    add("--candidates", type=positive, nargs="+", default=[100, 1000], metavar="N",
        help="numbers of candidates to measure; default 100 1000")  # fmt: skip
    add("--queries", type=positive, default=200, metavar="N", help="use at most N queries; default %(default)s")
    add_break_lock(add)

    add = add_command("serve", _serve, "Serve a page to search in; by default on this machine only.", _LIMITS)
    add("collection", type=Path, help="a folder that build wrote")
    _add_sources(add)
    add("--images", type=Path, metavar="DIR",
        help="folder of the image files: who can search can open the originals of the pictures there")  # fmt: skip
    add("--candidates", type=positive, metavar="N",
        help="re-rank only the N nearest candidates of the vector index, for millions of items")  # fmt: skip
    add("--host", default="127.0.0.1", help="address to listen on; default %(default)s")
    add("--port", type=int, default=8000, help="0 for any free port; default %(default)s")
    add("--proxy", nargs="+", default=[], metavar="ADDRESS",
        help="addresses or networks of proxies, which are trusted to name their client in X-Forwarded-For; without it "
        "all clients of a proxy share the limits of one. Where the page listens on this machine only, the proxy must "
        "send Host: localhost")  # fmt: skip
    return parser


def _add_sources(add):
    add("--text_path", type=Path, help="folder of the text encoder, for a model whose texts went through one")
    add("--image_weights", "--image_path", type=Path,
        help="weights of the image network, or folder of the image encoder, as for extract")  # fmt: skip


def _add_asking(add):
    add("collection", type=Path, help="a folder that build wrote")
    add("--gallery", choices=("image", "text"), help="what to search; default: the other modality than the query's")
    add("--features", type=Path, help="ask by features: a .npy file, [q, d], not scaled")
    add("--modality", choices=("image", "text"), help="of --features; default: the other one than the gallery's")
    add("-k", type=positive, default=10, help="how many results; default %(default)s")
    add("--no_verify", action="store_true", help="compare no checksums of files larger than 1 MB: faster for large "
        "collections, but damage in them is not found")  # fmt: skip
    add("--json", action="store_true", help="print JSON, one object in each line")
