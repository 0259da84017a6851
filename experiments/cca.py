"""Ridge CCA on the dataset of a config, ridge and components chosen on validation: the figure to beat.

python experiments/cca.py --config=configs/emoji.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `configs`, which is not installed

import numpy as np

from experiments import run

RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
COMPONENTS = (5, 9, 16, 32, 64)


def main(argv: list[str]) -> int:
    """Prints one line; returns the exit status."""
    try:
        config, _ = run.parse(argv)
        from experiments import session

        dataset, _ = session.load(config["dataset"])
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    fits = [fit for ridge in RIDGES for fit in figures(dataset, ridge)]
    ridge, r, validation, test = max(fits, key=lambda fit: fit[2]["average"])
    print(
        f"{dataset.title}  ridge CCA ({ridge:g}, {r} components, chosen among {len(fits)})  "
        f"validation map@50 {validation['average']:.3f}  test map@50 image to text {test['image_to_text']:.3f}  "
        f"text to image {test['text_to_image']:.3f}  average {test['average']:.3f}"
    )
    return 0


def figures(dataset, ridge: float) -> list[tuple[float, int, dict[str, float], dict[str, float]]]:
    """Ridge, components, and map@50 on validation and test by cosine distance, for each number of components."""
    from gpldan_jax import baselines, retrieval

    project_images, project_texts, _ = baselines.ridge_cca(
        dataset.train.images, dataset.train.texts, ridge=ridge, components=max(COMPONENTS)
    )
    found = []
    for components in COMPONENTS:
        scores = []
        for split in (dataset.validation, dataset.test):
            views = project_images(split.images)[:, :components], project_texts(split.texts)[:, :components]
            images, texts = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in views)
            scores.append(retrieval.evaluate(1 - images @ texts.T, split.labels)["map@50"])
        found.append((ridge, components, *scores))
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv))
