"""Workdirs, models and indexes that version 0.1.0 wrote still open.

`made_by_0.1.0.zip` holds what the commands of commit ffa4c13 made of 60 generated pairs: a finished run with its search
collection, a run that was stopped by SIGTERM after an epoch, and an estimator.
"""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

import gpldan_jax
from gpldan_jax import load_model
from gpldan_jax.index import Index
from gpldan_jax.runs import session
from gpldan_jax.runs import workdir as workdirs
from gpldan_jax.studies import overview_tables


@pytest.fixture
def old(tmp_path, monkeypatch):
    """The folder with the old files; the current directory, since their configs name `mine.npz`."""
    with zipfile.ZipFile(Path(__file__).with_name("made_by_0.1.0.zip")) as archive:
        archive.extractall(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


old_model = pytest.mark.filterwarnings("ignore:.*model.safetensors has no checksums")


def config_of(folder):
    return json.loads((folder / workdirs.CONFIG).read_text())["config"]


@old_model
def test_a_finished_run_is_shown(old, capsys):
    before = (old / "run" / workdirs.MODEL).read_bytes()
    assert session.run(config_of(old / "run"), Path("run")) == 0
    assert "run is finished" in capsys.readouterr().out
    assert (old / "run" / workdirs.MODEL).read_bytes() == before


def test_a_finished_run_is_summarized(old):
    figures = json.loads((old / "run" / workdirs.RESULTS).read_text())["test"]["map@50"]
    assert f"| map@50 | 1 | {figures['image_to_text']:.3f} |" in overview_tables([old / "run"])[2]


@pytest.mark.slow
def test_an_interrupted_run_continues(old, capsys):
    records = (old / "interrupted" / workdirs.METRICS).read_text().splitlines()
    with pytest.warns(UserWarning, match=r"interrupted/checkpoints/\d+ has no checksums"):
        assert session.run(config_of(old / "interrupted"), Path("interrupted")) == 0
    assert "continuing interrupted after step" in capsys.readouterr().out
    after = (old / "interrupted" / workdirs.METRICS).read_text().splitlines()
    assert after[: len(records)] == records
    assert [json.loads(line)["epoch"] for line in after] == list(range(1, 13))
    assert load_model(old / "interrupted" / workdirs.MODEL).metadata["version"] == gpldan_jax.__version__


def test_another_config_is_still_refused(old):
    config = config_of(old / "run")
    config["loss"]["alpha"] = 2.0
    with pytest.raises(workdirs.WorkdirError, match=r"another config \(loss.alpha: 1.0 there, 2.0 now\)"):
        session.run(config, Path("run"))


def test_a_model_opens(old):
    with pytest.warns(UserWarning, match=r"model.safetensors has no checksums, as files of older versions"):
        model = load_model(old / "run" / workdirs.MODEL)
    assert (model.projector.hidden, model.projector.width, model.projector.parts) == (8, 8, 2)
    assert model.standardization.image_mean.shape == (10,) and model.metadata["config"] == config_of(old / "run")


@pytest.mark.slow
def test_an_index_opens_and_finds_the_same(old):
    expected = json.loads((old / "expected.json").read_text())
    index = Index.load(old / "run" / "collection" / "image")
    with np.load(old / "mine.npz") as arrays:
        found = index.search(arrays["text"][:3], 4)
    assert found.ids.tolist() == expected["ids"]
    np.testing.assert_allclose(found.distances, expected["distances"], atol=1e-6)


def test_an_estimator_opens(old):
    pytest.importorskip("sklearn", reason="the estimator needs scikit-learn")
    from gpldan_jax import GPLDAN

    with pytest.warns(UserWarning, match=r"estimator.safetensors has no checksums"):
        model = GPLDAN.load(old / "estimator.safetensors")
    assert model.epochs == 2 and model.neighbours is None and len(model.history_) == 2
