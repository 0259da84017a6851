r"""Turns images and captions into features, a file or a folder, for `gpldan run --dataset=npz` to train on.

    gpldan extract --images=DIR --texts=FILE.csv --out=features.npz \
        --image_model=vgg19 --image_weights=vgg19.safetensors --text_model=bert --text_path=bert-large-uncased
    gpldan extract --release=wikipedia --root=wikipedia_dataset --out=features.npz \
        --image_model=alexnet --image_weights=alexnet-owt-7be5be79.pth --text_model=bag_of_words
    gpldan extract --images=DIR --texts=FILE.csv --out=features.npz \
        --image_model=transformers --image_path=clip-vit-base-patch32 \
        --text_model=transformers --text_path=clip-vit-base-patch32

FILE is a table with a row for each pair (.csv, .tsv, .txt, .jsonl, .parquet), a .json file of COCO or Karpathy, or a
folder with metadata.csv or metadata.jsonl. Columns are found by their names: the image, a path in DIR; the text; and,
if you have them, label, split (train, validation or test), id and group. Rows with one image are a group, which stays
in one split. A pair that cannot be used is skipped and listed with the reason.

Models of images: vgg19, alexnet (fc7, 4096 features) and hog_hsv; of texts: bert (encoders of BERT's type) and
bag_of_words. Of both, from a folder on this machine: transformers (CLIP, SigLIP; for images also ViT and DINO) and
open_clip; for images also timm. Or MODULE:FUNCTION, your own function in MODULE.py: it takes a list of pictures (uint8
[h, w, 3]) or of strings, and returns an array [n, d].

--out=NAME.npz writes one file. --out=DIR writes a folder of .npy files, for features that may be larger than memory.
The same command continues an extraction that was interrupted; the result has the same bytes as without interruption.
"""

import argparse
import contextlib
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gpldan_jax._files import check_writable
from gpldan_jax.cli.arguments import Parser, add_break_lock, add_switch, positive

STOPPED = "stopped; the same command continues after the last block that was finished"
# As in the library, which takes seconds to import; a mistyped flag should not wait. A test compares them.
RELEASES = ("wikipedia", "pascal", "nuswide")
_COLUMNS = ("image", "text", "label", "split", "group", "id")
_SHARES = (0.8, 0.1, 0.1)
_MAX_PIXELS = 40_000_000
_OF_WORDS = ("vocabulary", "max_words", "min_documents", "analyzer", "numbers", "symbols")
_NGRAMS = (1, 2)
_IMAGE_FOLDERS = ("transformers", "timm", "open_clip")
_TEXT_FOLDERS = ("bert", "transformers", "open_clip")
_ONLY_OF = (  # flags of some models
    ("image_model", ("vgg19", "alexnet"), ("image_weights", "before_relu", "scaling")),
    ("image_model", _IMAGE_FOLDERS, ("image_path",)),
    ("text_model", _TEXT_FOLDERS, ("text_path",)),
    ("text_model", ("bert", "transformers"), ("pooling", "long_texts")),
    ("text_model", ("bag_of_words",), (*_OF_WORDS, "ngrams")),
)
_FLAGS = {  # what the library calls its arguments in messages
    r"with columns=\{'(\w+)': NAME\}": r"with --\1_column=NAME",
    r": columns: no (column|key) ('.*?') for the (\w+);": r": --\3_column: no \1 \2;",
    r": columns: ('.*?') is given for the (\w+) and for the (\w+)": r": --\2_column and --\3_column are both \1",
    r"leave out columns=\{'(\w+)': NAME\}": r"leave out --\1_column",
    r"say which: separator": "say which with --separator",
    r"\b(label_separator|separator)=": r"--\1=",
    r"Give label_separator": "Give --label_separator",
    r"unless cut_groups allows it": "or give --cut_groups",
}
_SHOWN = 10  # skipped pairs that are printed
_MANY = 0.05  # the share of texts without a known word from which on the command says what helps


def main(argv: Sequence[str], program: str) -> int:
    """Parses the flags and extracts."""
    options = check_flags(argv, program)
    of_user = ":" in options.image_model or ":" in options.text_model
    with _importable(Path.cwd()) if of_user else contextlib.nullcontext():
        _extract(options)
    return 0


def check_flags(argv: Sequence[str], program: str) -> argparse.Namespace:
    """Returns the flags, parsed and checked as far as that takes no time."""
    parser = _parser(program)
    options = parser.parse_args(argv)
    _check(options, parser)
    check_writable(options.out, (".npz",), or_folder=True)
    return options


def _check(options: argparse.Namespace, parser: Parser) -> None:
    for kind, of_models, names in _ONLY_OF:
        chosen = getattr(options, kind)
        for name in names:
            if chosen not in of_models and getattr(options, name) != parser.get_default(name):
                raise ValueError(f"--{name} goes with --{kind}={' or '.join(of_models)}, got {chosen}")
    if options.analyzer != "char" and tuple(options.ngrams) != _NGRAMS:
        raise ValueError(f"--ngrams goes with --analyzer=char, got {options.analyzer}")
    if options.analyzer == "char" and (options.numbers or options.symbols):
        raise ValueError("--numbers and --symbols go with --analyzer=word; --analyzer=char counts them anyway")
    if options.release and (options.images or options.texts):
        raise ValueError("--release goes with --root, without --images and --texts")
    if options.release and any(
        getattr(options, name) is not None
        for name in (*(f"{name}_column" for name in _COLUMNS), "separator", "label_separator")
    ):
        raise ValueError("--release has no table: the flags of columns and separators go with --texts")
    if not options.release and not (options.images and options.texts):
        raise ValueError("give --images and --texts, or --release and --root")
    if bool(options.release) != bool(options.root):
        raise ValueError("--release and --root go together")
    if options.image_model in ("vgg19", "alexnet") and not options.image_weights:
        raise ValueError(f"--image_weights is missing: the file with torchvision's weights of {options.image_model}")
    if options.image_model in _IMAGE_FOLDERS and not options.image_path:
        raise ValueError("--image_path is missing: the directory with the image encoder")
    if options.text_model in _TEXT_FOLDERS and not options.text_path:
        raise ValueError("--text_path is missing: the directory with the encoder and its tokenizer")


def _extract(options: argparse.Namespace) -> None:
    from gpldan_jax import extraction

    if options.text_model == "bag_of_words":
        chosen = {name: getattr(options, name) for name in _OF_WORDS}
        text: Any = extraction.choose_words(**chosen, ngram_range=tuple(options.ngrams))
    else:
        settings = {"pooling": options.pooling, "long_texts": options.long_texts, "batch": options.batch}
        text = extraction.text_encoder(options.text_model, options.text_path, **settings)
    if options.release:
        pairs = extraction.RELEASES[options.release](options.root)
    else:
        columns = {name: getattr(options, f"{name}_column") for name in _COLUMNS}
        with _in_flags():
            pairs = extraction.read_table(
                options.texts,
                options.images,
                columns={name: column for name, column in columns.items() if column is not None} or None,
                separator=options.separator,
                label_separator=options.label_separator,
            )
        unused = extraction.count_unused_images(options.images, pairs)
        if unused:
            print(f"images in {options.images} that {options.texts} does not name: {unused:,}")
    drawn = all(pair.split is None for pair in pairs)
    settings = {"rectified": not options.before_relu, "scaling": options.scaling, "batch": options.batch}
    with _in_flags():
        pairs = extraction.draw_splits(pairs, options.split, options.seed, cut_groups=options.cut_groups)
    made = extraction.extract(
        pairs,
        extraction.image_encoder(options.image_model, options.image_weights, path=options.image_path, **settings),
        text,
        options.out,
        sentences=options.sentences,
        max_skipped=options.max_skipped,
        max_pixels=options.max_pixels,
        batch=options.batch,
        threads=options.threads,
        provenance={
            "pairs_of": options.release or options.texts.name,
            "split": {"shares": list(options.split), "seed": options.seed} if drawn else "given",
        },
        folder=options.root if options.release else options.images,
        fresh=options.fresh,
    )
    if made is None:
        print(f"{options.out} is finished; --fresh starts over")
    else:
        _report(made)


def _report(made: Any) -> None:
    skipped = made.manifest["skipped"]
    for entry in skipped[:_SHOWN]:
        print(f"skipped {entry['id']}: {entry['reason']}")
    if len(skipped) > _SHOWN:
        print(f"... and {len(skipped) - _SHOWN:,} more, all in {made.skipped_path}")
    if "too_long" in made.manifest:
        long = made.manifest["too_long"]
        cut = made.manifest["text"].get("long_texts", "truncate") == "truncate" and long["texts"]
        ending = ", and only their beginning counts" if cut else ""
        print(f"{long['texts']:,} of {long['of']:,} texts are longer than the encoder takes at once{ending}")
    unknown = _report_words(made.manifest) if "without_known_word" in made.manifest else ""
    splits = ", ".join(f"{count:,} {name}" for name, count in made.splits.items())
    features = ", ".join(f"{kind} {width} ({made.manifest[kind]['extractor']})" for kind, width in made.widths.items())
    pairs = f"{made.manifest['pairs']:,} pairs ({splits})"
    print(f"{made.path}: {pairs}, {features}, {len(skipped):,} skipped{unknown}, {made.seconds:.1f} s")
    selection = " --config.train.selection=map" if made.labelled else ""
    # What is in a folder may be larger than memory, so the run reads it as it goes.
    on_disk = " --config.mesh.resident=False" if made.path.is_dir() else ""
    print(f"next: gpldan run --dataset=npz --config.dataset.path={made.path}{on_disk}{selection}")


def _report_words(manifest: dict[str, Any]) -> str:
    """Prints what a user should know of a bag of words; returns the part of the last line about it."""
    words, unknown = manifest["text"], manifest["without_known_word"]
    char = words["analyzer"] == "char"
    if char and "chosen_by" in words:
        chosen, (shortest, longest) = words["chosen_by"], words["ngram_range"]
        print(
            f"{chosen['texts_without_spaces']:,} of {chosen['of']:,} texts have no spaces between words, so the "
            f"features are groups of {shortest} to {longest} characters; --analyzer=word takes words"
        )
    if unknown["texts"] > _MANY * unknown["of"]:
        given = words["vocabulary_of"] == "given"
        more = "a file with their words" if given else "--vocabulary=all, --min_documents=1 or a larger --max_words"
        other = "" if char else "; for texts without spaces between words, --analyzer=char"
        print(
            f"{unknown['texts']:,} of {unknown['of']:,} texts have no word of the vocabulary. Their features are all "
            f"0, so no search can tell them apart. What helps: {more}{other}"
        )
    return f", {unknown['texts']:,} texts without a known word"


@contextlib.contextmanager
def _in_flags() -> Iterator[None]:
    """Says in flags what errors and warnings of the library say in arguments."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except ValueError as error:
            raise ValueError(_with_flags(str(error))) from error
        finally:
            said = [(_with_flags(str(warning.message)), warning.category) for warning in caught]
    for message, category in said:
        warnings.warn(message, category, stacklevel=2)


def _with_flags(message: str) -> str:
    for argument, flag in _FLAGS.items():
        message = re.sub(argument, flag, message)
    return message


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Lets MODULE, and what it imports, be found in a folder, as `python -m` does; the path is put back."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _share(text: str) -> float:
    if not 0 <= (share := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f"must be a share from 0 to 1, got {share:g}")
    return share


def _parser(program: str) -> Parser:
    parser = Parser(prog=program, description=__doc__)

    add = parser.add_argument_group("pairs").add_argument
    add("--images", type=Path, metavar="DIR", help="folder of the images")
    add("--texts", type=Path, metavar="FILE", help="the captions: a table, a .json file, or a folder of metadata")
    for name in _COLUMNS:
        add(f"--{name}_column", metavar="NAME", help=f"the column of the {name}; by default it is found by its name")
    add("--separator", metavar="CHARACTER",
        help="what separates the cells of a table: comma, semicolon, tab, bar or a character; by default the header "
             "shows it")  # fmt: skip
    add("--label_separator", metavar="TEXT", help="what separates several classes in a label, such as ';'")
    add("--release", choices=RELEASES, help="instead of both: a dataset as its authors released it")
    add("--root", type=Path, metavar="DIR", help="the folder of that release")
    add("--sentences", choices=("joined", "averaged"), default="joined",
        help="several sentences of a pair: one text, or the mean of their features; default %(default)s")  # fmt: skip
    add("--split", type=float, nargs=3, default=_SHARES, metavar=("TRAIN", "VALIDATION", "TEST"),
        help="shares of a random split, if the pairs have none; default 0.8 0.1 0.1")  # fmt: skip
    add("--seed", type=int, default=0, help="of the random split; default %(default)s")
    add_switch(add, "cut_groups", "allow splits of yours that have captions of one image in several parts")

    add = parser.add_argument_group("image features").add_argument
    add("--image_model", required=True, metavar="MODEL", 
        help="vgg19, alexnet, hog_hsv, transformers, timm, open_clip or MODULE:FUNCTION")  # fmt: skip
    add("--image_path", type=Path, metavar="DIR", help="folder of the encoder, for transformers, timm and open_clip")
    add("--image_weights", type=Path, metavar="FILE",
        help="torchvision's state dict, .safetensors, or .pth where PyTorch is installed")  # fmt: skip
    add("--before_relu", action="store_true", help="take fc7 before its ReLU, not after it")
    add("--scaling", choices=("torchvision", "caffe"), default="torchvision",
        help="of pixels, as the weights expect; caffe: BGR, 0 to 255, for VGG weights of its authors")  # fmt: skip
    add("--max_pixels", type=positive, default=_MAX_PIXELS, help="larger images are skipped; default %(default)s")

    add = parser.add_argument_group("text features").add_argument
    add("--text_model", required=True, metavar="MODEL", 
        help="bert, transformers, open_clip, bag_of_words or MODULE:FUNCTION")  # fmt: skip
    add("--text_path", type=Path, metavar="DIR",
        help="folder of the encoder and its tokenizer, for bert, transformers and open_clip")  # fmt: skip
    add("--pooling", choices=("mean", "cls"), default="mean",
        help="mean of the tokens of a text, or its first token; default %(default)s")  # fmt: skip
    add("--long_texts", choices=("windows", "truncate"), default="windows",
        help="longer than the encoder takes: the mean of windows, or the first one; default %(default)s")  # fmt: skip
    add("--vocabulary", default="train", metavar="train|all|FILE",
        help="of the bag of words: that of the training pairs, of all pairs, or a file of words")  # fmt: skip
    add("--max_words", type=positive, default=3000, help="keep the most frequent; default %(default)s")
    add("--min_documents", type=positive, default=2, help="texts that must have a word; default %(default)s")
    add("--analyzer", choices=("auto", "word", "char"), default="auto",
        help="count words, or groups of characters; auto: char if most texts have no spaces between words")  # fmt: skip
    add("--ngrams", type=positive, nargs=2, default=_NGRAMS, metavar=("SHORTEST", "LONGEST"),
        help="how many characters such a group has; default 1 2")  # fmt: skip
    add("--numbers", action="store_true", help="a number of one digit is a word too")
    add("--symbols", action="store_true", help="each symbol is a word too, such as an emoji")

    add = parser.add_argument_group("result").add_argument
    add("--out", type=Path, required=True, metavar="FILE.npz|DIR",
        help="the feature file; without an ending a folder of .npy files, for features larger than memory")  # fmt: skip
    add("--max_skipped", type=_share, default=0.05, metavar="SHARE",
        help="stop if a larger share of the pairs cannot be used; default %(default)s")  # fmt: skip
    add("--batch", type=positive, default=32, help="images or texts that are encoded at a time; default %(default)s")
    add("--threads", type=positive, default=min(8, os.cpu_count() or 1), help="images decoded at a time")
    add("--fresh", action="store_true", help="start over and replace an earlier result")
    add_break_lock(add)
    return parser
