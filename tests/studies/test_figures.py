"""What the figures of a sweep and of an ablation show; how they look was looked at."""

import itertools
import math

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="needs matplotlib: pip install 'gpldan_jax[plots]'")

from matplotlib.colors import to_hex

from gpldan_jax.studies import figures
from gpldan_jax.studies.grid_points import Grid
from gpldan_jax.studies.grid_summaries import PointSummary
from gpldan_jax.studies.table3 import VARIANTS
from gpldan_jax.studies.tables import MeanSd
from tests.studies.ablations import AVERAGES, NAMES, rows

STRONG, RING = "#0b4f8a", "#c8102e"
TWO = Grid((("loss.alpha", (3.0, 0.3, 1.0)), ("loss.beta", (0.0, 0.1, 1.0))), (0, 1))


def summarize(grid, *, failed=(), split="validation", metric="map@50", sd=0.01):
    """The value of point i is 0.3 + i / 100."""
    summaries = []
    for i, point in enumerate(grid.points()):
        found = {"validation": None, "test": None} | {split: {metric: {"average": MeanSd(0.3 + i / 100, sd)}}}
        if i in failed:
            summaries.append(PointSummary(point, grid.seeds, (), None, None, None, ((1, "nan"),)))
        else:
            summaries.append(PointSummary(point, grid.seeds, (5, 5), MeanSd(0.3, sd), **found))
    return summaries


def compose(grid, selected, **options):
    given = {name: options.pop(name) for name in ("failed", "sd") if name in options}
    options = {"dataset": "Mine", "metric": "map@50", "split": "validation"} | options
    summaries = summarize(grid, split=options["split"], metric=options["metric"], **given)
    return figures.compose_grid(summaries, summaries[selected], grid, **options)


def lines(panel, colour):
    """Where the markers of the lines of this colour are."""
    found = [line for line in panel.lines if to_hex(line.get_color()) == colour and line.get_marker() not in ("_", "|")]
    return [line.get_xydata().round(9).tolist() for line in found if len(line.get_xdata())]


def strong(panel):
    return next(container for container in panel.containers if to_hex(container.lines[0].get_color()) == STRONG)


def ticks(panel):
    return [label.get_text() for label in panel.get_xticklabels()]


def texts(legend):
    return [text.get_text() for text in legend.get_texts()]


def test_the_strong_line_runs_through_the_selected_point_in_both_panels():
    alpha, beta = compose(TWO, 7).axes  # alpha 1, beta 0.1
    # Against alpha, sorted, at beta 0.1: points 4, 7 and 1; against beta at alpha 1: 6, 7, 8.
    assert strong(alpha).lines[0].get_xydata().round(9).tolist() == [[0.3, 0.34], [1.0, 0.37], [3.0, 0.31]]
    assert strong(beta).lines[0].get_xydata().round(9).tolist() == [[0, 0.36], [1, 0.37], [2, 0.38]]
    assert lines(alpha, RING) == [[[1.0, 0.37]]] and lines(beta, RING) == [[[1.0, 0.37]]]
    (bars,) = strong(beta).lines[2]
    assert [segment[:, 1].round(9).tolist() for segment in bars.get_segments()] == [
        [0.35, 0.37],
        [0.36, 0.38],
        [0.37, 0.39],
    ]
    assert alpha.get_ylim() == beta.get_ylim()
    low, high = alpha.get_ylim()
    assert 0.28 < low < 0.29 and 0.39 < high < 0.4  # means from 0.30 to 0.38, bars of 0.01


def test_axes_and_ticks_are_those_of_the_values():
    alpha, beta = compose(TWO, 7).axes
    assert (alpha.get_xscale(), alpha.get_xlabel(), ticks(alpha)) == ("log", "alpha", ["0.3", "1", "3"])
    assert (beta.get_xscale(), beta.get_xlabel(), ticks(beta)) == ("linear", "beta", ["0", "0.1", "1"])
    assert list(beta.get_xticks()) == [0, 1, 2]  # 0 has no place on a log axis, 0.1 none beside 1 on a linear one
    assert alpha.get_ylabel() == "average MAP@50"


def test_other_lines_are_labelled_by_the_value_of_the_other_key():
    alpha, beta = (panel.get_legend() for panel in compose(TWO, 7).axes)
    assert (alpha.get_title().get_text(), texts(alpha)) == ("beta", ["0", "0.1", "1"])
    assert (beta.get_title().get_text(), texts(beta)) == ("alpha", ["0.3", "1", "3"])


def test_a_line_moved_aside_stays_less_than_halfway_to_the_next_value():
    grid = Grid((("loss.alpha", tuple(range(1, 31))), ("loss.beta", tuple(i / 10 for i in range(9)))), (0,))
    alpha = compose(grid, 0).axes[0]
    to_pixels = alpha.figure.dpi / 72
    shifts = []
    for container in alpha.containers:
        line = container.lines[0]
        here, there = (transform.transform((29, 0.3))[0] for transform in (alpha.transData, line.get_transform()))
        shifts.append((there - here) / to_pixels)
    places = figures._places(alpha, (29, 30))
    assert len({round(shift, 6) for shift in shifts}) == 9 and 0 == shifts[-1] != shifts[0]
    assert max(map(abs, shifts)) < (places[1] - places[0]) / 2


def test_too_many_lines_to_label_are_grey_and_counted():
    grid = Grid((("loss.alpha", tuple(float(i) for i in range(1, 12))), ("loss.beta", (0.0, 0.1))), (0, 1))
    alpha, beta = compose(grid, 0).axes
    assert texts(beta.get_legend()) == ["1", "10 others"]
    assert len(beta.containers) == 11 and len(alpha.containers) == 2


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_a_panel_for_each_key_with_a_choice(n):
    keys = ("loss.alpha", "loss.beta", "loss.adversarial", "optim.learning_rate", "optim.classifier_learning_rate")
    grid = Grid(tuple((key, (0.1, 1.0) if i < n else (0.5,)) for i, key in enumerate(keys)), (0,))
    panels = compose(grid, 0).axes
    assert [panel.get_xlabel() for panel in panels] == [key.partition(".")[2] for key in keys[:n]]


def test_a_failed_point_is_a_gap_and_named():
    made = compose(TWO, 7, failed=(6, 8))
    beta = made.axes[1]
    assert [math.isnan(value) for value in strong(beta).lines[0].get_ydata()] == [True, False, True]
    note = "Not shown, since training failed: alpha 1, beta 0 (seed 1); alpha 1, beta 1 (seed 1)."
    assert made.get_supxlabel() == note
    assert compose(TWO, 7).get_supxlabel() == ""
    assert "; and 4 more." in compose(TWO, 8, failed=range(8)).get_supxlabel().replace("\n", " ")


@pytest.mark.parametrize("sd", [None, 0.0])
def test_the_title_says_dataset_split_and_seeds(sd):
    grid = Grid(TWO.axes, (0,) if sd is None else (0, 1))
    made = compose(grid, 7, dataset="Mine $x$ (synthetic)", split="test", metric="recall", sd=sd)
    seeds = "one seed" if sd is None else "mean ± standard deviation over 2 seeds"
    assert made.get_suptitle() == f"Mine $x$ (synthetic), test, {seeds}"
    assert made.axes[0].get_ylabel() == "average recall (mean of @1, @5 and @10)"


def test_labels_of_close_ticks_give_way_to_the_selected_one():
    values = tuple(round(10 ** (-2 + i / 6), 5) for i in range(25))
    grid = Grid((("loss.alpha", values),), (0, 1))
    panel = compose(grid, 11).axes[0]
    shown = ticks(panel)
    assert len(shown) == 25 and {"0.01", "100", "0.1", "10"} <= set(shown) and shown[11] == "0.68129"
    places = figures._places(panel, values)
    labelled = [(place, label) for place, label in zip(places, shown, strict=True) if label]
    for (left, a), (right, b) in itertools.pairwise(labelled):
        assert right - left > 6 * (len(a) + len(b)) / 2


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="no key was swept over more than one value"):
        compose(Grid((("loss.alpha", (1.0,)),), (0, 1)), 0)
    summaries = summarize(TWO)
    with pytest.raises(ValueError, match="no point has map@50 on test"):
        figures.compose_grid(summaries, summaries[0], TWO, dataset="Mine", metric="map@50", split="test")


def test_the_figure_of_an_ablation_has_means_seeds_published_averages_and_chance():
    published = {name: variant.published for name, variant in VARIANTS.items()}
    about = {"dataset": "$Mine$", "metric": "map@50", "chance": 0.125}
    panel = figures.compose_ablation(rows(unpaired=None), published=published, **about).axes[0]
    lines = {line.get_label(): line.get_xydata() for line in panel.lines}
    bars = panel.containers[0]
    np.testing.assert_allclose(bars.lines[0].get_xydata()[0], [0.21, 0])
    assert bars.lines[0].get_xydata()[:, 1].tolist() == [0, 1, 3, 4, 5]  # none of the row that failed
    np.testing.assert_allclose(bars.lines[2][0].get_segments()[0], [[0.20, 0], [0.22, 0]])  # sd 0.01
    assert len(lines["single seeds"]) == 5 * 3 and lines["published, other features"][2].tolist() == [0.481, 2]
    assert lines["chance"][:, 0].tolist() == [0.125, 0.125]
    labels = [label.get_text() for label in panel.get_yticklabels()]
    assert labels[2] == "3. + L_ud (failed)" and labels[0] == "1. L_pd alone"
    assert panel.get_ylim()[0] > panel.get_ylim()[1]  # the first row on top

    of_none = figures.compose_ablation(rows(dict.fromkeys(NAMES)), published=dict.fromkeys(NAMES), **about)
    assert len(of_none.axes[0].lines) == 1
    one = rows({name: found[:1] for name, found in AVERAGES.items()})
    labels = [line.get_label() for line in figures.compose_ablation(one, published=published, **about).axes[0].lines]
    assert labels == ["chance", "one seed", "published, other features"]
