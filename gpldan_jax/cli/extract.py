"""Makes a feature file of a folder of images and a file of texts, for `run.py` to train on.

    gpldan extract --images=DIR --texts=FILE.csv --out=features.npz \\
        --image_model=vgg19 --image_weights=vgg19-dcbb9e9d.pth --text_model=bert --text_path=bert-large-uncased
    gpldan extract --release=wikipedia --root=wikipedia_dataset --out=features.npz \\
        --image_model=alexnet --image_weights=alexnet-owt-7be5be79.pth --text_model=bag_of_words

FILE has a row for each pair: `image`, a path in DIR; `text`; and where you have them `label`, `split` (train,
validation or test) and `id`. In a .jsonl file `text` may be a list of sentences. A pair that cannot be used is skipped
and listed with the reason.

Models: vgg19, alexnet (fc7, 4096), hog_hsv; bert (any encoder that `transformers` reads from a directory),
bag_of_words; or MODULE:FUNCTION, a function of your own that takes a list of pictures (uint8 [h, w, 3]) or of strings
and returns an array [n, d].

An interrupted extraction goes on where it was with the same command, and ends with the same bytes.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from gpldan_jax._files import check_writable
from gpldan_jax.cli.arguments import Parser, positive

RELEASES = ("wikipedia", "pascal", "nuswide")
_SHARES = (0.8, 0.1, 0.1)
_ONLY_OF = (  # flags of some models
    ("image_model", ("vgg19", "alexnet"), ("image_weights", "before_relu", "scaling")),
    ("text_model", ("bert",), ("text_path", "pooling", "long_texts")),
    ("text_model", ("bag_of_words",), ("vocabulary", "max_words", "min_documents")),
)


STOPPED = "stopped; the same command continues after the last block that was finished"


def main(argv: Sequence[str], program: str) -> int:
    """Parses the flags and extracts; returns the exit status."""
    parser = _parser(program)
    options = parser.parse_args(argv)
    for kind, of_models, names in _ONLY_OF:
        chosen = getattr(options, kind)
        for name in names:
            if chosen not in of_models and getattr(options, name) != parser.get_default(name):
                raise ValueError(f"--{name} goes with --{kind}={' or '.join(of_models)}, got {chosen}")
    _extract(options)
    return 0


def _extract(options):
    if options.release and (options.images or options.texts):
        raise ValueError("--release goes with --root, without --images and --texts")
    if not options.release and not (options.images and options.texts):
        raise ValueError("give --images and --texts, or --release and --root")
    if bool(options.release) != bool(options.root):
        raise ValueError("--release and --root go together")
    check_writable(options.out, (".npz",))
    if not 0 <= options.max_skipped <= 1:
        raise ValueError(f"--max_skipped is a share, expected 0 to 1, got {options.max_skipped:g}")
    # jax takes seconds to import; a mistyped flag should not wait
    from gpldan_jax.extraction import encoders as models
    from gpldan_jax.extraction import encoders as words
    from gpldan_jax.extraction import pipeline as running
    from gpldan_jax.extraction import releases, sources, splitting

    if options.text_model == models.BAG_OF_WORDS:
        text = words.chosen(options.vocabulary, options.max_words, options.min_documents)
    else:
        text = models.text_encoder(
            options.text_model,
            options.text_path,
            pooling=options.pooling,
            long_texts=options.long_texts,
            batch=options.batch,
        )
    if options.release:
        pairs = getattr(releases, options.release)(options.root)
    else:
        pairs = sources.read_table(options.texts, options.images)
        unused = sources.unused(options.images, pairs)
        if unused:
            print(f"images in {options.images} that {options.texts} does not name: {unused:,}")
    drawn = all(pair.split is None for pair in pairs)
    pairs = splitting.with_splits(pairs, options.split, options.seed)
    image = models.image_encoder(
        options.image_model,
        options.image_weights,
        rectified=not options.before_relu,
        scaling=options.scaling,
        batch=options.batch,
    )
    running.extract(
        pairs,
        image,
        text,
        options.out,
        sentences=options.sentences,
        max_skipped=options.max_skipped,
        max_pixels=options.max_pixels,
        batch=options.batch,
        threads=options.threads,
        settings={
            "pairs_of": options.release or options.texts.name,
            "split": {"shares": list(options.split), "seed": options.seed} if drawn else "given",
            "batch": options.batch,
        },
        fresh=options.fresh,
    )


def _parser(program: str = "gpldan extract") -> Parser:
    parser = Parser(prog=program, description=__doc__)

    add = parser.add_argument_group("what goes in").add_argument
    add("--images", type=Path, metavar="DIR", help="folder of the images")
    add("--texts", type=Path, metavar="FILE", help="a .csv or .jsonl file, a row for each pair")
    add("--release", choices=RELEASES, help="instead of both: a dataset as its authors released it")
    add("--root", type=Path, metavar="DIR", help="the folder of that release")
    add("--sentences", choices=("joined", "averaged"), default="joined",
        help="of a pair with several: one text of all, or the mean of their features; default %(default)s")  # fmt: skip
    add("--split", type=float, nargs=3, default=_SHARES, metavar=("TRAIN", "VALIDATION", "TEST"),
        help="shares to draw where the pairs have no split; default 0.8 0.1 0.1")  # fmt: skip
    add("--seed", type=int, default=0, help="of that draw; default %(default)s")

    add = parser.add_argument_group("image features").add_argument
    add("--image_model", required=True, metavar="MODEL", help="vgg19, alexnet, hog_hsv or MODULE:FUNCTION")
    add("--image_weights", type=Path, metavar="FILE", help="torchvision's state dict, .pth or .safetensors")
    add("--before_relu", action="store_true", help="take fc7 before its ReLU, not after it")
    add("--scaling", choices=("torchvision", "caffe"), default="torchvision",
        help="of pixels, as the weights expect; caffe: BGR, 0 to 255, for VGG weights of its authors")  # fmt: skip
    add("--max_pixels", type=positive, default=40_000_000, help="larger images are skipped; default %(default)s")

    add = parser.add_argument_group("text features").add_argument
    add("--text_model", required=True, metavar="MODEL", help="bert, bag_of_words or MODULE:FUNCTION")
    add("--text_path", type=Path, metavar="DIR", help="directory of the encoder and its tokenizer, for transformers")
    add("--pooling", choices=("mean", "cls"), default="mean", help="of the tokens of a text; default %(default)s")
    add("--long_texts", choices=("windows", "truncate"), default="windows",
        help="longer than the encoder takes: the mean of windows, or the first one; default %(default)s")  # fmt: skip
    add("--vocabulary", default="train", metavar="train|all|FILE",
        help="of the bag of words: that of the training pairs, of all pairs, or a word in each line")  # fmt: skip
    add("--max_words", type=positive, default=3000, help="keep the most frequent; default %(default)s")
    add("--min_documents", type=positive, default=2, help="texts that must have a word; default %(default)s")

    add = parser.add_argument_group("what comes out").add_argument
    add("--out", type=Path, required=True, metavar="FILE.npz", help="the feature file")
    add("--max_skipped", type=float, default=0.05, metavar="SHARE",
        help="stop where a larger share of the pairs cannot be used; default %(default)s")  # fmt: skip
    add("--batch", type=positive, default=32, help="images or texts that are encoded at a time; default %(default)s")
    add("--threads", type=positive, default=min(8, os.cpu_count() or 1), help="images decoded at a time")
    add("--fresh", action="store_true", help="start over and replace what is there")
    return parser
