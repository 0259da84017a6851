"""Two runs on the same queries, and the files for trec_eval."""

from pathlib import Path

import numpy as np
import pytest

from gpldan_jax import retrieval
from gpldan_jax.cli.main import main
from gpldan_jax.data import PairedSplit
from gpldan_jax.studies.run_comparison import Ranking, compare_rankings, write_trec
from tests.commands import SMALL

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of ml_collections
RNG = np.random.default_rng(0)
LABELS = np.array([0, 0, 1, 1, 2, -1])
N = len(LABELS)


def ranking(name="a", *, labels=LABELS, groups=None, data="x", distances=None):
    test = PairedSplit(np.arange(N * 3.0).reshape(N, 3), np.eye(N), labels, groups=groups)
    if distances is None:
        distances = RNG.random((len(test.image_rows()), len(test.text_rows())), np.float32)
    return Ranking(Path("runs") / name, data, test, distances)


def test_the_figures_the_difference_and_the_counts():
    first = ranking(distances=(1 - np.eye(N)).astype(np.float32), labels=None)
    worst = np.full((N, N), 0.5, np.float32) + np.eye(N, dtype=np.float32)
    second = ranking("b", distances=worst, labels=None)
    heading, _, one, other, _, difference = compare_rankings(first, second)
    assert heading == "| recall@10, test | image to text | text to image | average |"
    assert one == "| runs/a | 1.000 | 1.000 | 1.000 |" and other.endswith("| 1.000 | 1.000 | 1.000 |")  # 6 items
    assert "+0.000 [+0.000, +0.000]" in difference and "the same in 12." in difference
    second = ranking("b", distances=worst)
    first = ranking(distances=(1 - np.eye(N)).astype(np.float32))
    figures = [retrieval.evaluate_pairs(of.distances, of.test)["map@50"]["average"] for of in (first, second)]
    _, _, one, other, _, difference = compare_rankings(first, second)
    assert one.endswith(f"| {figures[0]:.3f} |") and other.endswith(f"| {figures[1]:.3f} |")
    assert difference.startswith(f"runs/a less runs/b: {figures[0] - figures[1]:+.3f} [")
    assert "is better in 10 queries, worse in 0, and the same in 0." in difference  # the unlabelled pair is no query


def test_partners_of_a_group_count_without_labels():
    groups = np.array([0, 0, 1, 2, 3, 4])
    images = np.arange(N * 3.0).reshape(N, 3)
    images[1] = images[0]  # one image with two texts
    test = PairedSplit(images, np.eye(N), None, groups=groups)
    distances = RNG.random((5, N)).astype(np.float32)
    of = Ranking(Path("runs/a"), "x", test, distances)
    recall = retrieval.evaluate_pairs(distances, test)["recall@10"]["image_to_text"]
    assert compare_rankings(of, of)[2].startswith(f"| runs/a | {recall:.3f} |")


def test_other_data_are_refused():
    with pytest.raises(ValueError, match=r"runs/a and runs/b have other data: SHA-256 x\.\.\. and SHA-256 y"):
        compare_rankings(ranking(), ranking("b", data="y"))


@pytest.mark.parametrize("labels", [LABELS, np.eye(N, 4, dtype=bool)[[0, 0, 1, 1, 2, 5]]])
def test_the_files_say_what_the_metrics_say(tmp_path, labels):
    """The average precision of the files by hand is MAP of all items; the field's `trec` is that of trec_eval."""
    of = ranking(labels=labels)
    files = write_trec(of, tmp_path / "trec", "mine")
    assert [file.name for file in files] == [
        "mine.image_to_text.run", "image_to_text.qrels", "mine.text_to_image.run", "text_to_image.qrels",
    ]  # fmt: skip
    expected = retrieval.evaluate_pairs(of.distances, of.test)["map@all"]
    for run, qrels, direction in ((*files[:2], "image_to_text"), (*files[2:], "text_to_image")):
        relevant = {}
        for query, _, item, gain in map(str.split, qrels.read_text().splitlines()):
            relevant.setdefault(query, set()).add(item)
            assert gain == "1"
        precisions = {query: [] for query in relevant}
        scores = {}
        for query, _, item, rank, score, name in map(str.split, run.read_text().splitlines()):
            assert name == "mine" and float(score) <= scores.get(query, 0)
            scores[query] = float(score)
            if item in relevant.get(query, ()):
                precisions[query].append((len(precisions[query]) + 1) / int(rank))
        found = np.mean([sum(of) / len(relevant[query]) for query, of in precisions.items()])
        assert found == pytest.approx(expected[direction])


def test_without_labels_partners_are_relevant(tmp_path):
    files = write_trec(ranking(labels=None), tmp_path, "mine")
    assert files[1].read_text() == "".join(f"image{i} 0 text{i} 1\n" for i in range(N))


@pytest.mark.slow
def test_the_command(tmp_path, capsys):
    folders = [str(tmp_path / name / "run") for name in "ab"]
    for seed, folder in enumerate(folders):
        flags = (*SMALL, "--config.train.epochs=1", f"--config.train.seed={seed}", f"--workdir={folder}")
        assert main(["run", "--dataset=emoji", *flags]) == 0
    shown = [line for line in capsys.readouterr().out.splitlines() if "map@50 " in line]
    assert main(["compare-runs", *folders, f"--trec={tmp_path / 'trec'}"]) == 0
    heading, _, one, other, *_ = (out := capsys.readouterr().out).splitlines()
    assert heading.startswith("| map@50, test |") and len(shown) >= 2
    assert one.split(" | ")[1] in " ".join(shown) and other.split(" | ")[1] in " ".join(shown)
    assert "written to" in out and sorted(file.name for file in (tmp_path / "trec").iterdir()) == [
        "image_to_text.qrels", "run-1.image_to_text.run", "run-1.text_to_image.run", "run-2.image_to_text.run",
        "run-2.text_to_image.run", "text_to_image.qrels",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "argv, message",
    [
        (["one"], "error: expected two workdirs, got 1: try gpldan compare-runs runs/mine runs/base"),
        (["one", "two"], "error: one holds no results.json: it is no run, or not finished"),
    ],
)
def test_bad_input_is_one_line(argv, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["compare-runs", *argv]) == 2
    assert capsys.readouterr().err.strip() == message
