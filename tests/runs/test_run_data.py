"""The data of a run are found again wherever they, the workdir or the current folder are now."""

import json
import shutil

import numpy as np
import pytest

from gpldan_jax import _files, config
from gpldan_jax.data import DataError
from gpldan_jax.runs import run_data, session
from gpldan_jax.runs import workdir as workdirs

OTHER = r"other data: .* has SHA-256 [0-9a-f]{12}\.\.\., the run in .* was made with SHA-256 [0-9a-f]{12}\.\.\."


def write_features(path, seed=0):
    rng = np.random.default_rng(seed)
    path.parent.mkdir(exist_ok=True, parents=True)
    np.savez(path, image=rng.normal(size=(30, 4)), text=rng.normal(size=(30, 3)), split=np.repeat([0, 1, 2], 10))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with features and the workdir of a run on them, whose config says `data/mine.npz`."""
    folder = tmp_path / "project"
    write_features(folder / "data/mine.npz")
    monkeypatch.chdir(folder)
    settings = config.with_values(config.dataset_config("npz"), {"dataset.path": "data/mine.npz"})
    dataset, _ = session.load(settings["dataset"])
    _files.write_json(folder / "runs/mine/config.json", session.describe(settings, dataset))
    return folder


def as_old(project):
    """Makes the workdir one of version 0.1.0, which does not say where the data were."""
    path = project / "runs/mine/config.json"
    described = json.loads(path.read_text())
    del described["data_path"]
    path.write_text(json.dumps(described))


def test_from_any_folder(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = run_data.find(project / "runs/mine")
    assert found.path == str(project / "data/mine.npz")
    np.testing.assert_allclose(found.scaled.train.images.std(axis=0), 1, rtol=1e-5)
    assert not np.allclose(found.unscaled.train.images.std(axis=0), 1)


def test_after_the_workdir_moved(project, tmp_path):
    shutil.move(project / "runs/mine", tmp_path / "elsewhere")
    assert run_data.find(tmp_path / "elsewhere").path == str(project / "data/mine.npz")


@pytest.mark.parametrize("is_old", [False, True])
def test_after_the_project_moved_as_a_whole(project, tmp_path, monkeypatch, is_old):
    if is_old:
        as_old(project)
    monkeypatch.chdir(tmp_path)
    project.rename(tmp_path / "moved")
    assert run_data.find(tmp_path / "moved/runs/mine").path == str(tmp_path / "moved/data/mine.npz")


def test_an_old_workdir_is_read_from_the_folder_where_it_was_made(project, tmp_path):
    as_old(project)
    shutil.move(project / "runs/mine", tmp_path / "elsewhere")
    assert run_data.find(tmp_path / "elsewhere").path == str(project / "data/mine.npz")


def test_other_bytes_on_the_way_do_not_count(project, tmp_path, monkeypatch):
    write_features(tmp_path / "here/data/mine.npz", seed=1)
    monkeypatch.chdir(tmp_path / "here")
    as_old(project)
    assert run_data.find(project / "runs/mine").path == str(project / "data/mine.npz")


def test_where_data_lie_now_can_be_said(project, tmp_path):
    shutil.move(project / "data/mine.npz", tmp_path / "renamed.npz")
    with pytest.raises(run_data.DataNotFoundError) as error:
        run_data.find(project / "runs/mine")
    message = str(error.value)
    assert message.startswith(f"the data of {project / 'runs/mine'} are not there (")
    assert f"{project / 'data/mine.npz'} does not exist" in message
    assert message.endswith("; give path, where they are now") and "\n" not in message
    assert run_data.find(project / "runs/mine", tmp_path / "renamed.npz").path == str(tmp_path / "renamed.npz")
    with pytest.raises(run_data.DataNotFoundError, match=r"gone\.npz does not exist.*\)$"):
        run_data.find(project / "runs/mine", tmp_path / "gone.npz")


def test_other_data_are_refused_with_both_fingerprints(project, tmp_path):
    write_features(tmp_path / "other.npz", seed=1)
    with pytest.raises(run_data.OtherDataError, match=f"{OTHER}$"):
        run_data.find(project / "runs/mine", tmp_path / "other.npz")
    write_features(project / "data/mine.npz", seed=1)
    with pytest.raises(run_data.OtherDataError, match=f"{OTHER}; give path, where they are now$"):
        run_data.find(project / "runs/mine")


def test_a_folder_of_datasets_that_moved(tmp_path, monkeypatch):
    # A dataset by name, whose files are in GPLDAN_DATA_DIR while it is trained on, and not later.
    monkeypatch.setenv("GPLDAN_DATA_DIR", str(tmp_path / "data"))
    dataset = {"name": "wikipedia", "path": "", "synthetic": False}
    assert run_data.absolute_path(dataset) == str(tmp_path / "data")
    monkeypatch.delenv("GPLDAN_DATA_DIR")
    assert run_data.absolute_path(dataset) is None
    assert run_data.absolute_path(dataset | {"path": "x", "synthetic": True}) is None


def test_generated_data_have_no_path(tmp_path):
    settings = config.with_values(config.dataset_config("npz"), {"dataset.synthetic": True})
    dataset, _ = session.load(settings["dataset"])
    _files.write_json(tmp_path / "config.json", session.describe(settings, dataset))
    assert run_data.find(tmp_path).path is None
    with pytest.raises(DataError, match="are generated: expected no path, got x"):
        run_data.find(tmp_path, "x")


def test_a_workdir_remembers_where_its_data_were_last(tmp_path):
    described = {"config": {"dataset": {"path": "a"}}, "data": "abc", "data_path": "/there/a"}
    with workdirs.open_workdir(tmp_path, described):
        pass
    moved = {"config": {"dataset": {"path": "b"}}, "data": "abc", "data_path": "/here/b"}
    with workdirs.open_workdir(tmp_path, moved):
        pass
    # The config stays that of the first start, so that the run leaves what it would have left.
    assert workdirs.read_json(tmp_path / "config.json") == described | {"data_path": "/here/b"}
