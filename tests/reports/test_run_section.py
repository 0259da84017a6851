"""The section of a run."""

import json
import re
import shutil

import numpy as np
import pytest

pytest.importorskip("jinja2", reason="a report needs jinja2: pip install 'gpldan_jax[report]'")
pytest.importorskip("matplotlib", reason="a report needs matplotlib: pip install 'gpldan_jax[report]'")

from tests.reports.workdirs import (
    assert_figures_are_those_of,
    changed,
    features_file,
    page_of,
    untrained_run,
    write,
)


@pytest.mark.slow
def test_emoji_are_shown_by_picture_and_name(emoji):
    folder, text, page = emoji
    assert_figures_are_those_of(folder, page)
    by_image, by_text = re.split("Text to image: the 6", text.split("Image to text: the 6")[1])
    assert by_image.count("<img") == 5 and len(re.findall(r'class="query">.*\s*<img', by_image)) == 5
    assert by_text.count("<img") == 5 * 6 and not re.search(r'class="query">.*\s*<img', by_text)
    assert "Smileys &amp; Emotion" in text and "hits convention" in text
    from gpldan_jax.data.emoji import load_emoji_arrays

    arrays = load_emoji_arrays()
    names = {name for name, split in zip(arrays.names, arrays.split, strict=True) if split == 2}
    assert {alt for alt in page.pictures if alt in arrays.names} <= names


@pytest.mark.slow
def test_without_labels_partners_are_what_counts(tmp_path):
    features_file(tmp_path / "bare.npz", labels=False)
    folder = untrained_run(tmp_path / "run", name="npz", path=str(tmp_path / "bare.npz"))
    text, page = page_of(folder)
    assert_figures_are_those_of(folder, page)
    assert "pairs have no labels" in text and "Precision against recall" not in text and "query 1 of 40" in text
    assert "its partner at rank" in text and "not its partner" in text


@pytest.mark.slow
def test_a_synthetic_run_says_so(tmp_path):
    folder = untrained_run(tmp_path, name="npz", synthetic=True)
    text, page = page_of(folder)
    assert "Synthetic: the features were generated." in page.notes[0] and "(synthetic), seed 0</h2>" in text


def test_other_data_leave_the_stored_tables(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "run")
    described, gone = json.loads((folder / "config.json").read_text()), str(tmp_path / "gone.npz")
    for new, why in (
        (changed(described, ["data"], "0"), "other data"),
        (changed(changed(described, ["config", "dataset", "path"], gone), ["data_path"], gone), "gone.npz"),
        (changed(described, ["config", "dataset", "variant"], None), "no dataset setting 'variant'"),
    ):
        write(folder / "config.json", new)
        text, page = page_of(folder)
        assert_figures_are_those_of(folder, page)
        assert len(page.notes) == 1 and why in page.notes[0] and "are left out" in page.notes[0]
        assert "Examples of retrieval on test" not in text and page.tags["svg"] == 2  # the training curves stay


def test_without_test_pairs_validation_is_what_there_is(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "run")
    results = json.loads((folder / "results.json").read_text())
    write(folder / "results.json", results | {"test": None, "chance": None})
    _, page = page_of(folder)
    average = f"{results['validation']['map@50']['average']:.3f}"
    assert page.table("the selected model")[1] == ["map@50", "-", "-", "-", "-", average]
    assert page.notes == ["The dataset has no test pairs, so there are no curves and examples."]


@pytest.mark.slow
def test_a_model_that_does_not_give_the_results_is_not_used(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "run")
    results = json.loads((folder / "results.json").read_text())
    write(folder / "results.json", changed(results, ["test", "map@50", "average"], 0.99))
    assert "results.json 0.990" in page_of(folder)[1].notes[0]
    write(folder / "results.json", changed(results, ["selection", "epoch"], 3))
    assert "not the model of results.json" in page_of(folder)[1].notes[0]
    (folder / "model.safetensors").write_bytes(b"x")
    assert "cannot be read as a safetensors file" in page_of(folder)[1].notes[0]
    (folder / "model.safetensors").unlink()
    assert "there is no model.safetensors" in page_of(folder)[1].notes[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:several. pairs without a label")
def test_several_labels_and_several_captions_of_an_image(tmp_path):
    random = np.random.default_rng(0)
    rows = np.repeat(np.arange(60), 2)
    label = random.random((60, 3)) < 0.4
    np.savez(
        tmp_path / "several.npz",
        image=random.standard_normal((60, 5)),
        image_of=rows,
        text=random.standard_normal((120, 4)),
        label=label[rows],
        class_names=np.array(["animal", "pet", "sea"]),
        group=rows,
        split=np.where(rows < 20, 0, np.where(rows < 30, 1, 2)),
    )
    folder = untrained_run(tmp_path / "run", name="npz", path=str(tmp_path / "several.npz"))
    text, page = page_of(folder)
    assert_figures_are_those_of(folder, page)
    assert "ndcg@50" in text and "a class in common" in text and "its partner" in text
    assert all(name in text for name in ("animal", "pet", "sea"))
    # The share of relevant items, by a loop over the different images and texts with a label.
    of_images, of_texts = label[30:], np.repeat(label[30:], 2, axis=0)
    shares = []
    for queries, gallery in ((of_images, of_texts), (of_texts, of_images)):
        others = [other for other in gallery if other.any()]
        shares.append(np.mean([(one & other).any() for one in queries if one.any() for other in others]))
    assert f"{np.mean(shares):.3f}" in text
