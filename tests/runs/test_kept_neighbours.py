"""Runs on so many pairs that neighbours are found block by block and kept, and that figures are of a part of them."""

import json

import numpy as np
import pytest

from gpldan_jax import config, training
from gpldan_jax.cli.main import main
from gpldan_jax.data import FeaturesOnDisk, PairedDataset, PairedSplit
from gpldan_jax.index import Index
from gpldan_jax.retrieval.agreement import neighbourhood_relevance
from gpldan_jax.runs import kept_neighbours, run_data, session
from gpldan_jax.runs.kept_neighbours import kept_neighbourhoods
from gpldan_jax.training import batches, neighbour_search


@pytest.fixture
def few(monkeypatch):
    """Twenty pairs are many."""
    for module in (neighbour_search, batches, kept_neighbours):
        monkeypatch.setattr(module, "IN_ONE_PROGRAM", 20)
    for name, size in {"_PAIRS": 16, "_KNOWN": 9, "_AT_A_TIME": 8}.items():
        monkeypatch.setattr(neighbour_search, name, size)


def split(n, width=5, **options):
    random = np.random.default_rng(0)
    return PairedSplit(random.normal(size=(n, width)), random.normal(size=(n, width)), **options)


def test_they_are_found_once(few, tmp_path, monkeypatch):
    pairs, path, said = split(50), tmp_path / "neighbours.npz", []
    monkeypatch.setattr(kept_neighbours, "_SECONDS", -1)
    first = kept_neighbourhoods(pairs, 3, path, said.append)
    assert f"looking for the 3 nearest of each of 50 training pairs; they are kept in {path}" == said[0]
    assert said[-1] == "neighbours: 50 of 50 pairs, about 0 s more" and len(said) <= 12
    again = kept_neighbourhoods(pairs, 3, path, said.append)
    assert said[-1] == f"the neighbours of the training pairs are read from {path}"
    np.testing.assert_array_equal(first.columns, again.columns)
    np.testing.assert_array_equal(first.weights, again.weights)
    path.write_bytes(path.read_bytes()[:-100])  # a damaged file is made again
    kept_neighbourhoods(pairs, 3, path, said.append)
    assert len(np.load(path)["columns"]) == 50
    assert kept_neighbourhoods(pairs, None, path, said.append) is None
    assert kept_neighbourhoods(split(20), 3, path, said.append) is None


def test_the_search_can_be_stopped(few, tmp_path):
    with pytest.raises(training.Interrupted):
        kept_neighbourhoods(split(50), 3, tmp_path / "neighbours.npz", lambda line: None, lambda: True)
    assert not list(tmp_path.iterdir())


def test_of_many_pairs_some_are_ranked():
    many = split(50)
    some = training.ranked_pairs(many, 20)
    assert len(some) == 20
    rows = [many.images.tolist().index(image) for image in some.images.tolist()]
    assert rows == sorted(set(rows)) and some.texts.tolist() == many.texts[rows].tolist()
    assert training.ranked_pairs(many, 20).images.tolist() == some.images.tolist()
    assert training.ranked_pairs(many, 0) is many and training.ranked_pairs(many, 50) is many


def test_groups_are_ranked_whole():
    groups = np.repeat(np.arange(10), 5)
    images = np.repeat(np.random.default_rng(0).normal(size=(10, 4)), 5, axis=0)
    many = PairedSplit(images, split(50).texts, groups=groups)
    assert training.ranked_pairs(many, 23) is many  # 10 images and 50 texts are fewer than 23 of both
    some = training.ranked_pairs(many, 22)
    assert len(some) == 20 and np.unique(some.groups, return_counts=True)[1].tolist() == [5] * 4
    assert len(training.ranked_pairs(many, 1)) == 5  # one group at least


def test_the_ranked_pairs_of_test_keep_their_rows_in_the_file():
    many = split(50)
    dataset = PairedDataset("mine", many, many, many, file_rows=(np.arange(50),) * 2 + (100 + np.arange(50),))
    some = training.with_ranked_test(dataset, 20)
    assert some.train is many and some.validation is many
    np.testing.assert_array_equal(some.test.images, many.images[some.file_rows[2] - 100])
    assert training.with_ranked_test(dataset, 50) is dataset


def test_agreement_looks_among_some_of_many(monkeypatch):
    pairs, known = split(9), split(60)
    whole = neighbourhood_relevance(pairs, known)(slice(None))
    monkeypatch.setitem(neighbourhood_relevance.__globals__, "KNOWN_PAIRS", 30)
    some, again = (neighbourhood_relevance(pairs, known)(slice(None)) for _ in range(2))
    np.testing.assert_array_equal(some, again)
    assert np.abs(some - whole).max() > 0.01
    fewer = split(30)
    monkeypatch.setitem(neighbourhood_relevance.__globals__, "KNOWN_PAIRS", 30)
    np.testing.assert_allclose(np.diag(neighbourhood_relevance(pairs, fewer)(slice(None))), 1, rtol=1e-5)


@pytest.mark.slow
def test_a_run_keeps_its_neighbours_and_says_what_is_drawn(few, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(session, "KNOWN_PAIRS", 100)
    random = np.random.default_rng(0)
    (tmp_path / "features").mkdir()
    for name in ("image", "text"):
        np.save(tmp_path / f"features/{name}.npy", random.normal(size=(200, 6)).astype(np.float32))
    changes = {"dataset.path": str(tmp_path / "features"), "mesh.resident": False, "mesh.data": 1}
    changes |= {"model.hidden": 8, "model.width": 8, "train.batch_size": 16, "train.epochs": 1, "retrieval.bank": 10}
    settings = config.with_values(config.dataset_config("npz", recipe="ours"), changes | {"train.evaluate_pairs": 15})
    assert session.run(settings, tmp_path / "run") == 0
    out = capsys.readouterr().out
    for line in (
        "validation ranks 15 of 20 pairs, drawn at random: train.evaluate_pairs",
        "agreement looks for neighbours among 100 of the 160 training pairs, drawn at random",
        "looking for the 10 nearest of each of 160 training pairs",
        "of 20 test pairs 15 are ranked, drawn at random",
    ):
        assert line in out
    assert "On 15 of the 20 test pairs, drawn at random." in (tmp_path / "run/README.md").read_text()
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert results["test_pairs"] == {"ranked": 15, "of": 20} and results["chance"]["recall@1"] == 1 / 15
    assert session.run(config.with_values(settings, {"train.epochs": 2}), tmp_path / "run") == 0
    assert "are read from" in capsys.readouterr().out
    # What reads the run leaves the features on disk, and looks at the pairs that its figures are of.
    found = run_data.find_ranked(tmp_path / "run")
    assert isinstance(found.unscaled.train.images, FeaturesOnDisk) and len(found.unscaled.test) == 20
    assert len(found.scaled.test) == 15
    assert main(["search", "build", f"--workdir={tmp_path / 'run'}", f"--out={tmp_path / 'search'}"]) == 0
    assert len(Index.load(tmp_path / "search/image")) == 200
    assert main(["report", str(tmp_path / "run"), f"--out={tmp_path / 'a.html'}"]) == 0
    assert "Examples of retrieval on test" in (tmp_path / "a.html").read_text()
