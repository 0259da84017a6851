"""Compares two finished runs on the same test pairs, query by query.

    gpldan compare-runs runs/mine runs/base
    gpldan compare-runs runs/mine runs/base --trec=trec

It prints the figures of both, their difference with its 95 % interval by the paired bootstrap over queries, and in how
many queries each run is better. With --trec it also writes the rankings (the nearest 1,000 items of each query) and the
relevance for trec_eval.
"""

from collections.abc import Sequence
from pathlib import Path

from gpldan_jax.cli.arguments import Parser

STOPPED = "stopped"


def main(argv: Sequence[str], program: str) -> int:
    """Parses the flags, prints the comparison and writes the TREC files."""
    parser = Parser(prog=program, description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, metavar="WORKDIR", help="the workdirs of two finished runs")
    parser.add_argument("--data", type=Path, metavar="PATH", help="where the data lie now, if they have moved")
    parser.add_argument("--trec", type=Path, metavar="DIR", help="folder for run files and qrels of trec_eval")
    options = parser.parse_args(argv)
    if len(options.folders) != 2:
        raise ValueError(f"expected two workdirs, got {len(options.folders)}: try {program} runs/mine runs/base")
    from gpldan_jax.studies import run_comparison

    rankings = [run_comparison.rank_test_items(folder, options.data) for folder in options.folders]
    print("\n".join(run_comparison.compare_rankings(*rankings)))
    if options.trec:
        names = [folder.resolve().name.replace(" ", "_") for folder in options.folders]
        if names[0] == names[1]:
            names = [f"{name}-{place}" for place, name in enumerate(names, start=1)]
        files = {
            file
            for ranking, name in zip(rankings, names, strict=True)
            for file in run_comparison.write_trec(ranking, options.trec, name)
        }
        print(f"\nwritten to {options.trec}: {', '.join(sorted(file.name for file in files))}")
    return 0
