"""Makes a search system of a trained model: builds an index, asks it, and serves a page.

    gpldan search build --workdir=runs/emoji
    gpldan search query runs/emoji/collection --text "red heart"
    gpldan search query runs/emoji/collection --picture=mine.png --json
    gpldan search recall runs/emoji/collection --candidates 100 400
    gpldan search serve runs/emoji/collection

A collection is a folder with an index of images, one of texts, or both. `build --workdir` makes both of the pairs that
the run's dataset has; `build --model --features --modality` makes one of your own features. The ranking is exact, by
the distance of the paper; with `--candidates` only the nearest of a vector index are ranked, and `recall` measures what
that misses.
"""

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from gpldan_jax.cli.arguments import Parser, positive

STOPPED = "stopped; what was there before is as it was"


def main(argv: Sequence[str], program: str) -> int:
    """Parses the flags and runs `build`, `query`, `recall` or `serve`; returns the exit status."""
    options = _parser(program).parse_args(argv)
    return options.run(options)


def build(options: argparse.Namespace) -> int:
    """`build`."""
    given = [flag for flag in ("model", "features", "modality") if getattr(options, flag) is not None]
    described = [flag for flag in ("ids", "texts") if getattr(options, flag) is not None]
    if options.workdir and (given or described):
        raise ValueError(f"--workdir goes without --{(given or described)[0]}")
    if not options.workdir and len(given) < 3:
        raise ValueError("give --workdir, or --model, --features and --modality")
    if not options.workdir and not options.out:
        raise ValueError("--out is missing: the folder of the collection")
    if options.candidates and importlib.util.find_spec("faiss") is None:
        raise ValueError("--candidates needs faiss: pip install 'gpldan_jax[ann]'")
    from gpldan_jax.serving import building  # jax takes seconds to import; a mistyped flag should not wait

    if options.workdir:
        out = options.out or options.workdir / building.COLLECTION
        building.of_workdir(options.workdir, out, options.splits, candidates=options.candidates)
    else:
        building.of_features(
            options.model,
            options.features,
            options.modality,
            options.out,
            ids=options.ids,
            texts=options.texts,
            candidates=options.candidates,
        )
    return 0


def query(options: argparse.Namespace) -> int:
    """`query`."""
    kinds = ("text", "picture", "item", "features")
    given = [kind for kind in kinds if getattr(options, kind) is not None]
    if len(given) != 1:
        raise ValueError(f"ask by one of --{', --'.join(kinds)}, got {', '.join(given) or 'none'}")
    from gpldan_jax.serving import queries as asking

    asking.query(options.collection, given[0], getattr(options, given[0]), options)
    return 0


def recall(options: argparse.Namespace) -> int:
    """`recall`."""
    from gpldan_jax.serving import queries as asking

    asking.recall(options.collection, options)
    return 0


def serve(options: argparse.Namespace) -> int:
    """`serve`."""
    from gpldan_jax.serving import server

    sources = {"text": options.text_path, "image": options.image_weights}
    server.serve(options.collection, host=options.host, port=options.port, sources=sources)
    return 0


def _parser(program: str = "gpldan search") -> Parser:
    parser = Parser(prog=program, description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(run, about):
        made = commands.add_parser(run.__name__, help=about, description=about)
        made.set_defaults(run=run)
        return made.add_argument

    add = command(build, "Represents a collection and writes its index; an interruption leaves the one there was.")
    add("--workdir", type=Path, help="of a finished run: its model, and the pairs of its dataset")
    add("--splits", nargs="+", choices=("train", "validation", "test"), default=["train", "validation", "test"],
        metavar="SPLIT", help="of the dataset; default: all")  # fmt: skip
    add("--model", type=Path, help="a model.safetensors")
    add("--features", type=Path, help="of your own collection: .npy, [n, d]")
    add("--modality", choices=("image", "text"), help="what they are features of")
    add("--ids", type=Path, help="a text file with an id in each line; default: numbers from 0")
    add("--texts", type=Path, help="a text file with a text to show of each item in each line")
    add("--out", type=Path, help="folder of the collection; default: WORKDIR/collection")
    add("--candidates", action="store_true", help="add a vector index, for searches in two stages (needs faiss)")

    def add_sources():
        add("--text_path", type=Path, help="directory of the text encoder, for a model whose texts went through one")
        add(
            "--image_weights", type=Path, help="weights of the image network, for a model whose images went through one"
        )

    def add_asking():
        add("collection", type=Path, help="a folder that build wrote")
        add("--gallery", choices=("image", "text"), help="what to search; default: the other modality of the query")
        add("--features", type=Path, help="ask by features: .npy, [q, d], not scaled")
        add("--modality", choices=("image", "text"), help="what --features are; default: the other one of the gallery")
        add("-k", type=positive, default=10, help="how many results; default %(default)s")
        add("--no_verify", action="store_true", help="do not compare checksums, for large collections of your own")
        add("--json", action="store_true", help="print JSON, one object in each line")

    add = command(query, "Asks a collection.")
    add_asking()
    add("--text", help="ask by words")
    add("--picture", type=Path, help="ask by a picture: PNG, JPEG, WEBP, GIF or BMP file")
    add_sources()
    add("--item", metavar="ID", help="ask by an item of the collection")
    add("--candidates", type=positive, help="rank only so many, the nearest of the vector index")
    add = command(recall, "Measures what share of the exact nearest a search in two stages finds, and stores it.")
    add_asking()
    add("--candidates", type=positive, nargs="+", default=[100, 1000], help="numbers to measure; default 100 1000")
    add("--queries", type=positive, default=200, help="at most so many queries; default %(default)s")
    add = command(serve, "Serves a page to search in, on this machine only unless told otherwise.")
    add("collection", type=Path, help="a folder that build wrote")
    add_sources()
    add("--host", default="127.0.0.1", help="address to listen at; default %(default)s")
    add("--port", type=int, default=8000, help="0 for any; default %(default)s")
    return parser
