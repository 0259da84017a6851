"""The figure of a fitted estimator."""

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="needs matplotlib: pip install 'gpldan_jax[plots]'")

from gpldan_jax import GPLDAN, retrieval
from gpldan_jax.estimator.plots import compose_plot
from tests.estimator.test_gpldan import SMALL
from tests.training import tiny


@pytest.fixture(scope="module")
def split():
    return tiny.dataset(n=60).train


@pytest.fixture(scope="module")
def model(split):
    return GPLDAN(**SMALL, random_state=0).fit(split.images, split.texts, split.labels)


def test_the_training_is_drawn_with_the_figure_that_selects_and_the_epoch_it_selected(model):
    figure = model.plot()
    loss, selects = figure.axes
    assert loss.get_xlabel() == "epoch" and selects.get_ylabel() == "map@50, held-out pairs"
    assert loss.lines[0].get_ydata().tolist() == [record["loss"] for record in model.history_]
    expected = [record["validation"]["map@50"]["average"] for record in model.history_]
    assert selects.lines[0].get_ydata().tolist() == expected
    assert loss.lines[1].get_xdata()[0] == model.n_epochs_


def test_precision_against_recall_is_drawn_beside_it_for_labelled_pairs(model, split):
    figure = model.plot(split.images, split.texts, split.labels)
    curves = retrieval.precision_recall(model.distances(split.images, split.texts), split.labels)
    panel = next(axes for axes in figure.axes if axes.get_xlabel() == "recall")
    drawn = {line.get_label(): line.get_ydata().tolist() for line in panel.lines}
    assert drawn == {
        "image to text": curves["image_to_text"],
        "text to image": curves["text_to_image"],
        "average": curves["average"],
    }


def test_groups_count_each_image_once(model, split):
    groups = np.arange(60) // 2
    images = split.images[2 * groups]
    figure = model.plot(images, split.texts, split.labels[2 * groups], groups=groups)
    distances = model.distances(images[::2], split.texts)
    labels = split.labels[2 * groups]
    expected = retrieval.precision_recall(distances, (labels[::2], labels))["average"]
    panel = next(axes for axes in figure.axes if axes.get_xlabel() == "recall")
    assert next(line for line in panel.lines if line.get_label() == "average").get_ydata().tolist() == expected


def test_a_plot_says_what_is_missing(model, split):
    with pytest.raises(ValueError, match="needs images, texts and labels, got only some"):
        model.plot(split.images, split.texts)
    with pytest.raises(ValueError, match="no history, since a run made it; give images, texts and labels"):
        compose_plot([], 3, "map")


def test_a_fit_by_the_last_epoch_is_plotted_without_held_out_pairs(split):
    model = GPLDAN(**SMALL, random_state=0, selection="last").fit(split.images, split.texts)
    (axes,) = model.plot().axes
    assert len(axes.lines) == 2
