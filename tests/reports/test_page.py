"""The page and its sections of sweeps, comparisons and ablations."""

import json
import re
import statistics
import sys

import pytest

pytest.importorskip("jinja2", reason="a report needs jinja2: pip install 'gpldan_jax[report]'")
pytest.importorskip("matplotlib", reason="a report needs matplotlib: pip install 'gpldan_jax[report]'")

from gpldan_jax.reports import report
from tests.reports.workdirs import (
    SCRIPT,
    ablation,
    changed,
    comparison,
    features_file,
    figures,
    page_of,
    sweep,
    untrained_run,
    write,
)


@pytest.mark.slow
def test_the_page_needs_nothing_else_and_its_ids_are_its_own(made, emoji, tmp_path):
    text, page = page_of(
        made, emoji[0], comparison(tmp_path / "c"), sweep(tmp_path / "s"), ablation(tmp_path / "a"), made
    )
    assert not page.tags["script"] and not page.tags["link"] and not page.tags["iframe"]
    assert page.addresses and all(address.startswith(("#", "data:image/")) for address in page.addresses)
    assert "@import" not in text
    assert {f"#{name}" for name in page.ids} >= {address for address in page.addresses if address.startswith("#")}
    assert set(re.findall(r"url\(([^)]*)\)", text)) <= {f"#{name}" for name in page.ids}
    assert len(page.ids) == len(set(page.ids))
    assert all(page.pictures) and page.tags["svg"] > 8  # each says what it shows
    assert page.tags["caption"] == page.tags["table"] and page.tags["h1"] == 1 and page.tags["h2"] == 7
    assert page.addresses[:7] == [f"#s{place}" for place in range(1, 7)] + ["#made"]
    assert "prefers-color-scheme: dark" in text and "@media print" in text and 'name="viewport"' in text


@pytest.mark.slow
def test_the_same_folders_give_the_same_page(made):
    assert page_of(made)[0] == page_of(made)[0]


def test_what_files_say_is_escaped(tmp_path):
    features_file(tmp_path / "mine.npz", names=(SCRIPT, "dog", "bird"))
    folder = untrained_run(tmp_path / "run", name="npz", path=str(tmp_path / "mine.npz"))
    text, page = page_of(folder, comparison(tmp_path / SCRIPT.replace("/", "\\"), title=SCRIPT))
    assert not page.tags["script"] and "<script" not in text.lower()
    assert text.count("&lt;script&gt;alert(") > 8  # classes, plots and examples; folder, method and command
    assert any(SCRIPT in alt for alt in page.pictures)
    assert page.table("map@50 on test")[2][0] == SCRIPT and f"compare {SCRIPT}" in page.commands


def test_a_comparison(tmp_path):
    text, page = page_of(comparison(tmp_path))
    heading, *rows = page.table("map@50 on test")
    assert heading == [
        *("", "supervision", "settings tried", "image to text", "text to image", "average", "published"),
        "seconds of one fit",
    ]
    deviation = statistics.stdev([0.5, 0.75])
    assert rows[1][5] == f"{0.625:.3f} ± {deviation:.3f}" and rows[1][3] == f"{0.675:.3f} ± {deviation:.3f}"
    assert rows[2][1] == "supervised, transductive" and rows[3][3] == "failed: the loss is not finite"
    best = re.findall(r'<strong><data value="[\d.]*">([^<]*)', text)
    assert best[:2] == [f"0.625 ± {deviation:.3f}", "0.625 ± 0.000"]  # the best of each group, then of each class
    _, *classes = page.table("queries of each class")
    assert classes[0] == ["third", "0.625", "0.312"] and classes[1][1:] == ["0.375", "0.188"]
    assert page.tags["svg"] == 3 and "at half of the recall: third 0.625, first 0.375, Ours 0.625" in text
    assert "class 0" in text  # the files that would name it are not there


def test_the_published_figures_stand_beside(tmp_path):
    folder = comparison(tmp_path)
    record = json.loads((folder / "table2.json").read_text())
    write(folder / "table2.json", changed(record, ["methods", 1, "name"], "gpldan"))
    (folder / "ours").rename(folder / "gpldan")
    text, page = page_of(folder)
    assert (
        page.table("map@50 on test")[2][6].split() == ["0.482", "/", "0.543", "/", "0.513"]
        and "of other features" in text
    )


def test_validation_stands_beside_where_it_was_kept(tmp_path):
    folder = comparison(tmp_path)
    record = json.loads((folder / "table2.json").read_text())
    for method in record["methods"]:
        method["validation"] = [figures(0.75), figures(0.25)] if method["figures"] else []
    write(folder / "table2.json", record)
    heading, first, *_, failed = page_of(folder)[1].table("map@50 on test")
    assert heading[6] == "validation, average" and first[6] == f"0.500 ± {statistics.stdev([0.75, 0.25]):.3f}"
    assert len(first) == len(failed) == len(heading)


def test_a_comparison_from_before_curves_were_kept(tmp_path):
    _, page = page_of(comparison(tmp_path, with_curves=False))
    assert page.tags["svg"] == 1 and len(page.tables) == 1
    assert page.notes == ["Kept no curves or figures of classes: third, first, Ours."]


def test_a_sweep(tmp_path):
    _, page = page_of(sweep(tmp_path))
    assert page.table("every point")[1:] == [
        ["alpha 0.5", "0.250 ± 0.010", "3, 4", ""],
        ["alpha 1.0", "0.375 ± 0.010", "3, 4", "selected"],
        ["alpha 9", "-", "-", "failed: seed 1: the loss is nan"],
    ]
    assert page.table("the selected point")[1] == ["map@50", *["0.312 ± 0.010"] * 3, "0.125"]
    assert any(address.startswith("data:image/png") for address in page.addresses)
    assert "sweep it" in page.commands
    (tmp_path / "figure2.png").unlink()
    assert page_of(tmp_path)[1].notes == ["There is no figure2.png."]


def test_an_ablation(tmp_path):
    _, page = page_of(ablation(tmp_path))
    heading, first, second = page.table("map@50 on test")
    deviation = statistics.stdev([0.125, 0.375])
    assert heading[:3] == ["", "unpaired", "mutual"] and first[:3] == ["with pairwise", "no", "no"]
    assert second[:3] == ["with attention", "yes", "no"]
    assert first[5:] == [f"0.250 ± {deviation:.3f}", "0.202", "2.0"] and second[6] == "-"
    assert any(address.startswith("data:image/png") for address in page.addresses)
    assert "ablate it" in page.commands


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_missing_package_is_named_before_anything_slow(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"^a report: .*: pip install 'gpldan_jax\[report\]'$"):
        report([tmp_path / "not read"])
