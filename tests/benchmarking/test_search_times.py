"""The benchmark of the search: its arithmetic, and that its peers find what the index finds."""

import importlib.util
import json

import numpy as np
import pytest

from gpldan_jax.benchmarking import search_times
from gpldan_jax.index.nearest import all_distances
from tests.benchmarking.records import benchmark
from tests.index import galleries

SMALL = ("--width=16", "--representations=2", "--queries=3", "-k=4", "--ceiling_size=16", "--rounds=2")
PEER_TOLERANCE = 1e-5  # peers compute in float32

has_torch = importlib.util.find_spec("torch") is not None
WITHOUT_TORCH = pytest.mark.skip(reason="needs torch: pip install 'gpldan_jax[peers]'")
PEERS = [
    pytest.param(name, marks=[] if has_torch or "numpy" in name else WITHOUT_TORCH)
    for name in ("_numpy_broadcast", "_torch_broadcast", "_torch_matmul")
]


@pytest.mark.parametrize("name", PEERS)
def test_peers_find_the_nearest(name):
    queries, gallery = galleries.encoded_items(3, seed=1), galleries.gallery(galleries.encoded_items(50))
    blocks = ((first, items) for first, items in search_times._whole_blocks(gallery, 16))
    distances, positions = getattr(search_times, name)(queries, blocks, 5)
    matrix = all_distances(queries, gallery)
    np.testing.assert_array_equal(positions, np.argsort(matrix, axis=1)[:, :5])
    np.testing.assert_allclose(distances, np.sort(matrix, axis=1)[:, :5], atol=PEER_TOLERANCE)


@pytest.mark.slow
def test_the_figures_of_a_search_by_hand(tmp_path, capsys):
    out, names = tmp_path / "found.json", ("jax", "numpy-broadcast")
    flags = ["--implementations", *names, "--sizes", "30", "20", f"--out={out}", f"--folder={tmp_path}"]
    assert benchmark("search", *SMALL, *flags) == 0
    found = json.loads(out.read_text())
    assert [(row["n"], row["implementation"]) for row in found["rows"]] == [
        (n, name) for n in (20, 30) for name in names
    ]
    assert found["problem"] == {"queries": 3, "k": 2, "h": 8, "nearest": 4}
    for row in found["rows"]:
        ceiling = found["ceilings"][row["library"]]["highest"]["flops_per_s"]
        assert row["flops"] == 2 * 3 * row["n"] * 2 * 16
        assert row["pairs_per_s"] == pytest.approx(3 * row["n"] / row["median_s"])
        assert row["fraction_of_ceiling"] == pytest.approx(row["flops"] / row["median_s"] / ceiling)
    assert "peak memory of the process" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]  # the generated indexes are gone


@pytest.mark.slow
def test_a_search_in_two_stages_has_a_recall(tmp_path, monkeypatch):
    pytest.importorskip("faiss", reason="a search in two stages needs faiss")
    for candidates, expected in ((200, 1), (4, 0.9)):
        monkeypatch.setattr(search_times, "_CANDIDATES", candidates)
        out = tmp_path / f"{candidates}.json"
        assert benchmark("search", *SMALL, "--implementations=jax-candidates", "--sizes=200", f"--out={out}") == 0
        (row,) = json.loads(out.read_text())["rows"]
        assert row["recall"] <= expected and row["fraction_of_ceiling"] is None and row["median_s"] > 0
    assert row["recall"] < 1 == json.loads((tmp_path / "200.json").read_text())["rows"][0]["recall"]


def test_a_peer_that_finds_something_else_is_an_error(tmp_path, capsys, monkeypatch):
    right = search_times._numpy_broadcast
    monkeypatch.setattr(search_times, "_numpy_broadcast", lambda *args: (right(*args)[0] + 1e-3, right(*args)[1]))
    flags = ["--implementations", "jax", "numpy-broadcast", "--sizes", "20", f"--out={tmp_path / 'found.json'}"]
    assert benchmark("search", *SMALL, *flags) == 1
    assert "error: jax and numpy-broadcast find distances that differ by 0.001" in capsys.readouterr().err
    assert not (tmp_path / "found.json").exists()
