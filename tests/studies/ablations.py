"""Rows of an ablation for tests of its table and its figure."""

from gpldan_jax.baselines import Method
from gpldan_jax.studies.fitting import Row
from gpldan_jax.studies.table3 import VARIANTS

NAMES = ["pairwise", "mutual", "unpaired", "pattern", "classifier", "attention"]
AVERAGES = {  # of three seeds
    "pairwise": (0.20, 0.21, 0.22),
    "mutual": (0.19, 0.21, 0.23),
    "unpaired": (0.40, 0.43, 0.43),
    "pattern": (0.38, 0.40, 0.41),
    "classifier": (0.38, 0.41, 0.41),
    "attention": (0.39, 0.43, 0.46),
}


def row(name, averages, metric="map@50"):
    """What came of a row of the table, its directions 0.1 beside the average; without averages it failed."""
    variant = VARIANTS[name]
    method = Method(name, variant.title, "unsupervised", "nowhere", lambda *args: None, (variant.settings(),))
    if averages is None:
        return Row(method, None, (), (), (), 0.0, "the loss | is nan")
    figures = [{metric: {"image_to_text": a - 0.1, "text_to_image": a + 0.1, "average": a}} for a in averages]
    return Row(method, variant.settings(), (), tuple(figures), (), 2.5)


def rows(averages=AVERAGES, **changes):
    return [row(name, found) for name, found in (averages | changes).items()]
