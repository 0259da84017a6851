"""A run in a folder whose data move, and whose number of epochs changes."""

import json
import random
import shutil

import numpy as np
import pytest

from gpldan_jax import config
from gpldan_jax.runs import session
from gpldan_jax.runs import workdir as workdirs
from tests.damage import damage

FILES = ("model.safetensors", "results.json", "README.md")


@pytest.fixture
def settings(features):
    changes = {"model.hidden": 16, "model.width": 8, "model.parts": 2, "train.batch_size": 200}
    changes |= {"dataset.path": str(features), "train.epochs": 2, "mesh.data": 1}
    return config.with_values(config.dataset_config("npz"), changes)


def run(settings, folder, **changes):
    changes = {name.replace("__", "."): value for name, value in changes.items()}
    return session.run(config.with_values(settings, changes), folder)


def outcome(folder):
    """All that a run leaves but the times."""
    records = workdirs.read_records(folder / "metrics.jsonl")
    records = [{name: value for name, value in record.items() if name != "seconds"} for record in records]
    return records, *((folder / name).read_bytes() for name in FILES)


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 3])
def test_more_epochs_on_a_finished_run_leave_what_a_longer_run_leaves(settings, tmp_path, capsys, every):
    assert run(settings, tmp_path / "whole", train__epochs=5, train__evaluate_every=every) == 0
    assert run(settings, tmp_path / "parts", train__evaluate_every=every) == 0
    capsys.readouterr()
    assert run(settings, tmp_path / "parts", train__epochs=5, train__evaluate_every=every) == 0
    out = capsys.readouterr().out
    assert "parts was to train 2 epochs; now it is to train 5" in out
    assert "continuing" in out and "after step 8 of 20" in out and "epoch 3/5" in out and "epoch 2/" not in out
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")
    assert workdirs.read_json(tmp_path / "parts/config.json")["config"]["train"]["epochs"] == 5
    assert run(settings, tmp_path / "parts", train__epochs=5, train__evaluate_every=every) == 0
    assert "parts is finished" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_leaves_a_card_and_an_old_one_gets_it(settings, tmp_path):
    assert run(settings, tmp_path / "run") == 0
    card = (tmp_path / "run/README.md").read_text()
    assert "# GPLDAN on mine" in card and "| pairs | 800 train, 100 validation, 100 test |" in card
    assert "gpldan run --dataset=npz --data=mine.npz " in card and str(tmp_path) not in card
    assert json.loads((tmp_path / "run/config.json").read_text())["data"] in card
    (tmp_path / "run/README.md").unlink()  # as in a workdir of an older version
    assert run(settings, tmp_path / "run") == 0
    assert (tmp_path / "run/README.md").read_text() == card
    (tmp_path / "run/README.md").write_text("mine")
    assert run(settings, tmp_path / "run") == 0
    assert (tmp_path / "run/README.md").read_text() == "mine"
    (tmp_path / "run/README.md").unlink()
    (tmp_path / "run/model.safetensors").unlink()
    assert run(settings, tmp_path / "run") == 0
    assert (tmp_path / "run/README.md").read_text() == card


@pytest.mark.slow
def test_what_is_damaged_in_a_finished_run_is_made_again_or_named(settings, tmp_path, capsys):
    folder = tmp_path / "run"
    assert run(settings, folder) == 0
    whole, rng = outcome(folder), random.Random(0)
    damage(folder / "model.safetensors", rng)
    assert run(settings, folder) == 0
    shown = capsys.readouterr().out
    assert "model.safetensors" in shown and "it is made again from the checkpoints" in shown
    assert outcome(folder) == whole
    for damaged in (whole[2].replace(b'"epochs": 2', b'"epochs": 3'), b'{"a": 1}'):
        (folder / "results.json").write_bytes(damaged)
        with pytest.raises(workdirs.WorkdirError, match=r"results.json is damaged: .*delete it, and the same command"):
            run(settings, folder)
    (folder / "results.json").unlink()
    (folder / "metrics.jsonl").write_text("5\n")
    assert run(settings, folder) == 0
    assert "was damaged or lacked lines; it is written again" in capsys.readouterr().out.replace("\n", " ")
    assert outcome(folder) == whole
    shutil.rmtree(folder / "checkpoints")
    (folder / "model.safetensors").unlink()
    with pytest.raises(workdirs.WorkdirError, match=r"model.safetensors is gone: no checkpoints are left; use fresh"):
        run(settings, folder)


@pytest.mark.slow
def test_fewer_epochs_than_done_are_refused_and_nothing_changes(settings, tmp_path):
    assert run(settings, tmp_path / "run") == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(workdirs.WorkdirError) as error:
        run(settings, tmp_path / "run", train__epochs=1)
    assert str(error.value) == (
        f"{tmp_path / 'run'} cannot go on to 1 epochs: epochs must be at least 2, since 2 epochs are trained already, "
        "got 1; choose another workdir, or use fresh to start over"
    )
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["gone", "emptied", "damaged"])
def test_lost_records_of_a_finished_run_are_written_again(settings, tmp_path, capsys, lost):
    assert run(settings, tmp_path / "run") == 0
    path, before = tmp_path / "run/metrics.jsonl", outcome(tmp_path / "run")
    path.write_text({"damaged": path.read_text().replace('"epoch": 2', '"epoch": 3')}.get(lost, ""))
    if lost == "gone":
        path.unlink()
    capsys.readouterr()
    assert run(settings, tmp_path / "run") == 0
    shown = "".join(capsys.readouterr().out.split("\n"))
    assert "metrics.jsonl" in shown and "it is made again from the checkpoints" in shown
    assert outcome(tmp_path / "run") == before
    assert run(settings, tmp_path / "run") == 0 and "is finished" in capsys.readouterr().out


@pytest.mark.slow
def test_fewer_epochs_than_asked_but_more_than_done(settings, tmp_path, monkeypatch):
    assert run(settings, tmp_path / "whole", train__epochs=3) == 0
    # Stopped after its second epoch of nine.
    append = workdirs.append_record

    def stop_at_two(path, record):
        append(path, record)
        if record["epoch"] == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(workdirs, "append_record", stop_at_two)
        run(settings, tmp_path / "run", train__epochs=9)
    assert run(settings, tmp_path / "run", train__epochs=3) == 0
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


@pytest.mark.slow
def test_without_checkpoints_a_finished_run_is_not_trained_anew_unasked(settings, tmp_path):
    assert run(settings, tmp_path / "run") == 0
    shutil.rmtree(tmp_path / "run/checkpoints")
    with pytest.raises(workdirs.WorkdirError, match=r"finished after 2 epochs, and its folder checkpoints is empty"):
        run(settings, tmp_path / "run", train__epochs=3)
    assert (tmp_path / "run/results.json").exists()


@pytest.mark.slow
def test_the_same_bytes_elsewhere_are_the_same_run(settings, features, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(settings, tmp_path / "whole", train__epochs=4, dataset__path="mine.npz") == 0
    assert run(settings, tmp_path / "run", dataset__path="mine.npz") == 0
    # The data, the workdir and the current folder move.
    (tmp_path / "elsewhere").mkdir()
    shutil.move(features, tmp_path / "elsewhere/renamed.npz")
    shutil.move(tmp_path / "run", tmp_path / "elsewhere/run")
    monkeypatch.chdir(tmp_path / "elsewhere")
    folder = tmp_path / "elsewhere/run"
    assert run(settings, folder, dataset__path="renamed.npz", train__epochs=4) == 0
    assert outcome(folder) == outcome(tmp_path / "whole")
    # From here the path of the first start leads nowhere, but the workdir knows where the data are.
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert run(settings, folder, dataset__path="mine.npz", train__epochs=4) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"mine.npz leads nowhere from here; the data of {folder} are at ")
    assert f"{tmp_path / 'elsewhere/renamed.npz'}" in out and "run is finished" in out


@pytest.mark.slow
def test_other_bytes_at_the_same_path_are_another_run(settings, features, tmp_path):
    assert run(settings, tmp_path / "run") == 0
    with np.load(features) as arrays:
        np.savez(features, **{**arrays, "image": arrays["image"] + 1.5 * np.eye(1000, 30)})
    with pytest.raises(workdirs.WorkdirError) as error:
        run(settings, tmp_path / "run")
    assert "holds a run with other data (the data are not those it was started with: SHA-256 " in str(error.value)
