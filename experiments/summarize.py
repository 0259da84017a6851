"""Mean and standard deviation over finished runs of the same dataset, as a Markdown table.

python experiments/summarize.py runs/emoji-*
"""

import json
import statistics
import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    """Prints the table; returns the exit status."""
    groups: dict[str, list[dict]] = {}
    for argument in arguments:
        path = Path(argument) / "results.json"
        if not path.exists():
            print(f"error: {argument} holds no results.json: not a run, or not finished", file=sys.stderr)
            return 2
        results = json.loads(path.read_text())
        groups.setdefault(results["dataset"], []).append(results)
    print("| dataset | metric | runs | image to text | text to image | average | chance |")
    print("|---|---|---|---|---|---|---|")
    for dataset, runs in groups.items():
        metric = "map@50" if "map@50" in runs[0]["test"] else "recall@10"
        cells = [_cell([run["test"][metric][d] for run in runs]) for d in ("image_to_text", "text_to_image", "average")]
        print(f"| {dataset} | {metric} | {len(runs)} | {' | '.join(cells)} | {runs[0]['chance'][metric]:.3f} |")
    return 0


def _cell(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
