"""A sweep in this process; tests/cli/test_sweep.py calls it as a user does."""

import json
import sys

import numpy as np
import pytest

from gpldan_jax import config as settings
from gpldan_jax.studies import Grid
from gpldan_jax.studies.grid_search import sweep

GRID = Grid((("loss.alpha", (0.1, 1.0)),), (0, 1))


def config(path, **changes):
    small = {"model.hidden": 16, "model.width": 8, "train.batch_size": 20, "train.epochs": 1, "train.selection": "map"}
    given = {"dataset.name": "npz", "dataset.path": str(path), "mesh.data": 1}
    return settings.with_values(settings.default_config(), small | given | changes)


@pytest.mark.slow
def test_a_sweep_keeps_finished_slices_and_the_best_models(features, tmp_path, capsys):
    folder = tmp_path / "sweep"
    options = {"slice_size": 2, "figure": False, "command": "sweep it", "run_command": "run it"}
    assert sweep(config(features), GRID, folder, **options) == 0
    shown = capsys.readouterr().out
    assert "2 points, 4 runs of 1 epochs, 2 at a time" in shown and "slice 2/2" in shown
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert names == {"config.json", "slices.json", "slices", "models", "sweep.csv", "sweep.json", "best.py"}
    assert len(list((folder / "models").iterdir())) == 2 and len(list((folder / "slices").iterdir())) == 2
    record = json.loads((folder / "sweep.json").read_text())
    assert record["command"] == "sweep it" and record["versions"]["jax"] and record["chance"]["map@50"] > 0
    assert record["selected"]["test"] and "run it" in (folder / "best.py").read_text()

    before = (folder / "sweep.csv").read_bytes()
    assert (
        sweep(config(features), GRID, folder, **options | {"slice_size": 1}) == 0
    )  # the size of the first start stays
    assert "slice 1/" not in capsys.readouterr().out and (folder / "sweep.csv").read_bytes() == before


@pytest.mark.slow
def test_a_sweep_in_which_all_points_fail_says_so(features, tmp_path, capsys):
    rate = {"optim.learning_rate": 1e30, "train.epochs": 2}
    folder = tmp_path / "sweep"
    assert sweep(config(features, **rate), GRID, folder, figure=False) == 1
    assert "error: no point can be selected, a seed of each failed; alpha 0.1, seed 0: the " in capsys.readouterr().out
    assert (folder / "sweep.csv").exists() and not (folder / "best.py").exists()


def test_what_cannot_be_swept_is_refused_before_anything_is_written(features, tmp_path):
    with np.load(features) as arrays:
        np.savez(tmp_path / "bare.npz", **{name: arrays[name] for name in ("image", "text")} | {"split": [0, 1] * 500})
    bare = config(tmp_path / "bare.npz", **{"train.selection": "recall"})
    for given, options, message in (
        (bare, {"on_test": True}, "on_test needs test pairs, bare has none"),
        (config(features, **{"train.selection": "last"}), {}, "train.selection=last cannot choose among points"),
        (config(features, **{"train.batch_size": 801}), {}, "batch_size must not exceed the training pairs"),
    ):
        with pytest.raises(ValueError, match=message):
            sweep(given, GRID, tmp_path / "sweep", figure=False, **options)
    assert not (tmp_path / "sweep").exists()


def test_a_figure_needs_matplotlib_before_anything_is_trained(features, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"figure2\.png.*pip install 'gpldan_jax\[plots\]', or figure=False"):
        sweep(config(features), GRID, tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["damaged", "gone"])
def test_a_lost_model_of_the_best_point_is_trained_again(features, tmp_path, capsys, lost):
    folder = tmp_path / "sweep"
    assert sweep(config(features), GRID, folder, slice_size=2, figure=False) == 0
    record, path = (folder / "sweep.json").read_bytes(), sorted((folder / "models").iterdir())[0]
    whole = path.read_bytes()
    if lost == "gone":
        path.unlink()
    else:
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    capsys.readouterr()
    assert sweep(config(features), GRID, folder, slice_size=2, figure=False) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert path.name in shown.replace(" ", "") and "trained again" in shown
    assert path.read_bytes() == whole and (folder / "sweep.json").read_bytes() == record
