"""Turns a folder of pictures and a table of captions into a page to search in, with the pictures and captions on it.

    gpldan demo photos --texts=captions.csv
    gpldan demo photos --texts=captions.csv --no-serve --image_model=timm --image_path=my-encoder

Four commands run one after the other: extract, run, search build and search serve. Each is printed before it starts, so
that it can be repeated alone. The same command again goes on where it was stopped. Flags that are not listed here go to
`gpldan extract`, and settings, --config.GROUP.NAME=VALUE, to `gpldan run`. By default nothing is needed but pip install
'gpldan_jax[serve]': the pictures become histograms of edges and colours, the captions bags of words.
"""

import importlib
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gpldan_jax.cli.arguments import Parser, add_break_lock, add_switch
from gpldan_jax.config import SETTINGS

STOPPED = "stopped; the same command goes on"
_ENCODERS = {"--image_model": "hog_hsv", "--text_model": "bag_of_words"}
_TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
_OWN = ("--images", "--out", "--release", "--root")  # flags of extract that demo sets itself


def main(argv: Sequence[str], program: str) -> int:
    """Parses the flags and runs the four commands."""
    parser = _parser(program)
    options, rest = parser.parse_known_args(argv)
    settings, extracting = _split(rest)
    name = options.folder.resolve().name
    if not options.folder.is_dir():
        raise ValueError(f"{options.folder} is no folder; give the folder of the pictures")
    texts = options.texts or _find_table(options.folder)
    workdir = options.workdir or Path("runs") / name
    features, run, collection = workdir / f"{name}.npz", workdir / "run", workdir / "collection"
    fresh = ["--fresh"] if options.fresh else []
    given = {flag.partition("=")[0] for flag in extracting}
    encoders = [f"{flag}={default}" for flag, default in _ENCODERS.items() if flag not in given]
    extract = [f"--images={options.folder}", f"--texts={texts}", f"--out={features}", *encoders, *extracting, *fresh]
    _module("extract").check_flags(extract, f"{program}, for extract")
    _call("extract", extract)
    recipe = [f"--recipe={options.recipe}", *_for_few_pairs(features, settings)]
    if status := _call("run", ["--dataset=npz", f"--data={features}", *recipe, f"--workdir={run}", *settings, *fresh]):
        return status
    from gpldan_jax.serving import building

    if building.is_built(collection, run):
        print(f"{collection} is finished")
    else:
        _call("search", ["build", f"--workdir={run}", f"--out={collection}", f"--images={options.folder}"])
    serve = ["serve", str(collection), f"--images={options.folder}", f"--host={options.host}", f"--port={options.port}"]
    if not options.serve:
        print(f"next: gpldan search {shlex.join(serve)}")
        return 0
    return _call("search", serve)


def _call(command: str, argv: Sequence[str]) -> int:
    print(f"$ gpldan {command} {shlex.join(argv)}", flush=True)
    return _module(command).main(argv, f"gpldan {command}")


def _for_few_pairs(features: Path, settings: Sequence[str]) -> list[str]:
    """The settings with which a small collection can be trained, unless the user has chosen these."""
    from gpldan_jax import data

    train, validation = np.bincount(data.read_arrays(features, ["split"])["split"], minlength=3)[:2].tolist()
    wanted = {}
    if train < (usual := SETTINGS["train.batch_size"].default):
        wanted["train.batch_size"] = train
        print(f"{train} training pairs are fewer than a usual mini-batch of {usual}: each mini-batch has all of them")
    if not validation:
        wanted["train.selection"] = "last"
        print("there are no validation pairs: the last epoch is taken")
    given = {setting.partition("=")[0] for setting in settings}
    return [f for key, value in wanted.items() if (f := f"--config.{key}={value}").partition("=")[0] not in given]


def _module(command):
    return importlib.import_module(f"gpldan_jax.cli.{command}")


def _split(rest: Sequence[str]) -> tuple[list[str], list[str]]:
    """The settings of `gpldan run` and the flags of `gpldan extract`."""
    settings: list[str] = []
    extracting: list[str] = []
    for place, argument in enumerate(rest):
        if argument.partition("=")[0] in _OWN:
            raise ValueError(f"{argument}: the folder and --workdir say that")
        of_setting = argument.startswith("--config.")
        value_of_setting = place and rest[place - 1].startswith("--config.") and "=" not in rest[place - 1]
        (settings if of_setting or value_of_setting else extracting).append(argument)
    return settings, extracting


def _find_table(folder: Path) -> Path:
    tables = sorted(path for path in folder.iterdir() if path.suffix.lower() in _TABLES)
    if len(tables) == 1:
        return tables[0]
    found = ", ".join(path.name for path in tables) or "none"
    raise ValueError(f"--texts is missing: the file of the captions. Tables in {folder}: {found}")


def _parser(program: str) -> Parser:
    parser = Parser(prog=program, description=__doc__)
    add = parser.add_argument
    add("folder", type=Path, metavar="FOLDER", help="of the pictures")
    add("--texts", type=Path, metavar="FILE", help="the captions, as for extract; default: the only table in FOLDER")
    add("--workdir", type=Path, metavar="DIR", help="folder of the features, the run and the collection; default "
        "runs/FOLDER")  # fmt: skip
    add("--recipe", default="ours", help="of the training: ours or paper; default %(default)s")
    add("--no-serve", dest="serve", action="store_false", help="stop before the page")
    add("--host", default="127.0.0.1", help="address of the page; default %(default)s")
    add("--port", type=int, default=8000, help="of the page, 0 for any free one; default %(default)s")
    add_switch(add, "fresh", "start over: make features and model again")
    add_break_lock(add)
    return parser
