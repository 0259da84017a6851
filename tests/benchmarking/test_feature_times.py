"""The benchmark of the image networks: its figures, and that it notices other features."""

import json

import numpy as np
import pytest

from gpldan_jax.benchmarking import feature_times
from gpldan_jax.features import networks
from tests.benchmarking.records import benchmark

FLAGS = (
    "--network=alexnet",
    "--implementations",
    "jax",
    "jax-batch",
    "--ceiling_size=16",
    "--rounds=2",
    "--sizes",
    "2",
)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    layers = (networks.Convolution(4, kernel=11, stride=8, padding=2, pool=3), networks.Convolution(2, pool=3))
    monkeypatch.setitem(
        networks.ARCHITECTURES, "alexnet", networks.Architecture(layers, ("classifier.1", "classifier.4"))
    )


@pytest.mark.slow
def test_the_figures(tmp_path, capsys):
    assert benchmark("features", *FLAGS, f"--out={tmp_path / 'found.json'}") == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert [(row["implementation"], row["mode"], row["n"]) for row in found["rows"]] == [
        ("jax", "features", 2),
        ("jax-batch", "features", 2),
    ]
    for row in found["rows"]:
        assert row["pairs_per_s"] == pytest.approx(2 / row["median_s"]) and row["fraction_of_ceiling"] is None
    assert found["problem"] == {"network": "alexnet", "layer": "fc7", "weights": "random"}
    out = capsys.readouterr().out
    assert "features of pictures, alexnet" in out and "pictures/s" in out and "pairs/s" not in out


@pytest.mark.slow
def test_there_is_no_plot_of_it(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    assert benchmark("features", *FLAGS, f"--out={tmp_path / 'found.json'}") == 0
    capsys.readouterr()
    assert benchmark("plot", str(tmp_path / "found.json"), f"--out={tmp_path / 'found.png'}") == 2
    assert capsys.readouterr().err.endswith("expected results of loss or train, found those of features\n")
    assert benchmark("features", *FLAGS, f"--plot={tmp_path / 'found.png'}") == 2
    assert "unexpected argument '--plot" in capsys.readouterr().err


@pytest.mark.slow
def test_other_features_are_an_error(tmp_path, capsys, monkeypatch):
    right = feature_times._make_call

    def wrong(name, *args):
        call = right(name, *args)
        return lambda: call() * np.float32(1 + 1e-3 * (name == "jax-batch"))

    monkeypatch.setattr(feature_times, "_make_call", wrong)
    assert benchmark("features", *FLAGS, f"--out={tmp_path / 'found.json'}") == 1
    assert "error: jax and jax-batch find features that differ by 0.001" in capsys.readouterr().err
    assert not (tmp_path / "found.json").exists()


def test_random_weights_are_torchvisions_by_name_and_shape():
    found = {name: array.shape for name, array in feature_times.random_weights("alexnet").items()}
    assert found == {
        "features.0.weight": (4, 3, 11, 11),
        "features.0.bias": (4,),
        "features.3.weight": (2, 4, 3, 3),
        "features.3.bias": (2,),
        "classifier.1.weight": (4096, 2 * 6 * 6),
        "classifier.1.bias": (4096,),
        "classifier.4.weight": (4096, 4096),
        "classifier.4.bias": (4096,),
    }
