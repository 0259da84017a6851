"""`gpldan_jax.GPLDAN`: the run of the commands, behind scikit-learn's conventions."""

import dataclasses
import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV

import gpldan_jax
from gpldan_jax import GPLDAN, data, models, retrieval, training
from gpldan_jax import config as settings
from gpldan_jax.data.frames import check_pairs
from gpldan_jax.estimator.held_out import fit_dataset
from gpldan_jax.runs import session
from tests.containers import NA, Column, Frame, Tensor
from tests.training import tiny

SMALL = {
    "hidden": 16,
    "width": 8,
    "parts": 2,
    "classifier_hidden": 8,
    "epochs": 4,
    "batch_size": 16,
    "learning_rate": 1e-2,
}


@pytest.fixture(scope="module")
def pairs():
    """60 pairs with features off zero and far from unit variance, and classes as strings."""
    split = tiny.dataset(n=60).train
    return 3 * split.images + 5, 0.1 * split.texts, np.array(["cat", "dog"])[split.labels]


@pytest.fixture
def fitted(pairs):
    return GPLDAN(**SMALL, random_state=0).fit(*pairs)


def config(**changes):
    """What `run.py` makes of the settings `SMALL`."""
    made = settings.default_config()
    made["dataset"]["name"] = "tiny"
    for group in made.values():
        group.update({key: value for key, value in (SMALL | changes).items() if key in group})
    return made


def same(one, other):
    """Whether two estimators have the same bits."""
    leaves = [jax.tree.leaves((e.model_.parameters, vars(e.model_.standardization))) for e in (one, other)]
    return all(np.array_equal(a, b) for a, b in zip(*leaves, strict=True))


def test_defaults_are_those_of_the_configs():
    defaults, parameters = settings.default_config(), GPLDAN().get_params()
    named = {key: value for group in defaults.values() for key, value in group.items() if key in parameters}
    ours = {key: parameters[key] for key in named}
    assert ours.pop("neighbours") is None and defaults["loss"]["target"] == "inputs" and named.pop("neighbours")
    assert ours.pop("selection") == "auto" and named.pop("selection") == "map"
    assert ours.pop("resident") is None and named.pop("resident")
    assert ours == named and len(named) == 27
    denoising = parameters["image_denoising"], parameters["text_denoising"]
    assert denoising == (defaults["denoise"]["image"], defaults["denoise"]["text"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes, run_changes",
    [
        ({}, {}),
        ({"selection": "recall", "remainder": "mask", "image_scaling": "raw"},) * 2,
        (
            {"neighbours": 5, "contrastive": 0.3, "temperature": 0.2},
            {"target": "neighbours", "neighbours": 5, "contrastive": 0.3, "temperature": 0.2},
        ),
    ],
)
def test_a_fit_is_the_run_of_the_commands(pairs, changes, run_changes):
    images, texts, labels = pairs
    parts = [(images[rows], texts[rows], labels[rows]) for rows in (slice(40), slice(40, 60))]
    model = GPLDAN(**SMALL | changes, random_state=3, resident=True).fit(*parts[0], validation=parts[1])

    run_config = config(seed=3, **run_changes)
    dataset = data.paired_dataset("tiny", train=parts[0], validation=parts[1], test=parts[1])
    dataset, standardization = data.standardize(
        dataset, image=run_config["dataset"]["image_scaling"] == "standardize", text=True
    )
    records = []
    state, progress = training.train(
        session.initial_state(run_config, dataset),
        dataset,
        training.CheckpointsInMemory(),
        report=records.append,
        epochs=4,
        batch_size=16,
        remainder=run_config["train"]["remainder"],
        criterion=run_config["train"]["selection"],
    )
    for one, other in zip(
        jax.tree.leaves((model.model_.parameters, vars(model.model_.standardization))),
        jax.tree.leaves((state.projector_parameters, vars(standardization))),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    assert model.n_epochs_ == progress.selection.epoch and model.seed_ == 3
    assert model.history_ == [{k: v for k, v in record.items() if k != "seconds"} for record in records]
    assert (model.n_image_features_in_, model.n_text_features_in_) == (10, 6)
    expected = retrieval.retrieval_distances(
        state.projector, state.projector_parameters, dataset.test.images, dataset.test.texts
    )
    np.testing.assert_array_equal(model.distances(*parts[1][:2]), expected)
    assert model.score(*parts[1]) == retrieval.evaluate(expected, dataset.test.labels)["map@50"]["average"]
    assert model.score(*parts[1][:2]) == retrieval.evaluate(expected, None)["recall@10"]["average"]


@pytest.mark.slow
def test_held_out_pairs_choose_the_epoch(pairs):
    images, texts, labels = pairs
    model = GPLDAN(**SMALL, validation_fraction=0.25, random_state=1).fit(*pairs)
    train, held = data.stratified_split(labels, (45, 15), seed=1)
    explicit = GPLDAN(**SMALL, random_state=1).fit(
        images[train], texts[train], labels[train], validation=(images[held], texts[held], labels[held])
    )
    assert same(model, explicit) and model.history_ == explicit.history_
    best = max(model.history_, key=lambda record: record["validation"]["map@50"]["average"])
    assert model.n_epochs_ == best["epoch"]
    assert "map@50" not in GPLDAN(**SMALL | {"epochs": 1}).fit(images, texts).history_[0]["validation"]


@pytest.mark.slow
def test_groups_are_held_out_whole_and_ranked_once(pairs):
    images, texts, _ = pairs
    groups = np.arange(len(images)) // 5
    images = images[5 * groups]  # five texts of each image
    model = GPLDAN(**SMALL, random_state=0, validation_fraction=0.25)
    options = {"selection": "auto", "validation_fraction": 0.25, "batch_size": 16, "seed": 0}
    dataset = fit_dataset(check_pairs(images, texts, None, groups), **options)
    found = [set(split.groups.tolist()) for split in (dataset.train, dataset.validation)]
    assert not found[0] & found[1] and len(dataset.validation) == 15
    fitted = model.fit(images, texts, groups=groups)
    first = 5 * np.arange(12)
    figures = retrieval.evaluate(
        fitted.distances(images[first], texts), None, image_groups=range(12), text_groups=groups
    )
    assert fitted.score(images, texts, groups=groups) == figures["recall@10"]["average"]
    assert fitted.score(images, texts, groups=groups) != fitted.score(images, texts)
    with pytest.raises(ValueError, match="with validation pairs, leave them out"):
        model.fit(images, texts, groups=groups, validation=(images, texts))


@pytest.mark.slow
def test_last_holds_nothing_out(pairs):
    images, texts, _ = pairs
    model = GPLDAN(**SMALL | {"batch_size": 60}, selection="last", random_state=0).fit(images, texts)
    assert model.n_epochs_ == 4 and model.history_[-1]["step"] == 4 and model.history_[-1]["validation"] == {}
    np.testing.assert_array_equal(model.model_.standardization.image_mean, images.mean(0, np.float64).astype("f4"))


@pytest.mark.slow
def test_conventions_of_scikit_learn(pairs, fitted):
    images, texts, _ = pairs
    model = GPLDAN(alpha=-1, parts=3)  # looked at by fit alone
    assert repr(model) == "GPLDAN(alpha=-1, parts=3)" and set(vars(model)) == set(model.get_params())
    assert model.set_params(**SMALL, alpha=1.0, random_state=0) is model
    for call in (
        lambda: model.distances(images, texts),
        lambda: model.score(images, texts),
        lambda: model.rank(images, texts, direction="image_to_text"),
        lambda: model.save("nowhere"),
    ):
        with pytest.raises(NotFittedError):
            call()
    before = model.get_params()
    assert model.fit(*pairs) is model and model.get_params() == before
    assert same(model, fitted) and model.history_ == fitted.history_
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params() and not hasattr(copy, "model_")
    with pytest.raises(ValueError, match="Invalid parameter 'alpa'"):
        model.set_params(alpa=1)

    # Another fit knows nothing of the first.
    model.set_params(random_state=1).fit(images[:40, :7], texts[:40])
    assert model.n_image_features_in_ == 7
    assert same(model, GPLDAN(**SMALL, random_state=1).fit(images[:40, :7], texts[:40]))
    assert not same(model, GPLDAN(**SMALL, random_state=2).fit(images[:40, :7], texts[:40]))


@pytest.mark.slow
def test_random_states(pairs):
    images, texts, _ = pairs
    short = SMALL | {"epochs": 1}
    drawn = [
        GPLDAN(**short, random_state=np.random.RandomState(7)).fit(images, texts),
        GPLDAN(**short, random_state=np.random.RandomState(7)).fit(images, texts),
    ]
    assert same(*drawn) and same(drawn[0], GPLDAN(**short, random_state=drawn[0].seed_).fit(images, texts))
    assert GPLDAN(**short).fit(images, texts).seed_ != GPLDAN(**short).fit(images, texts).seed_
    assert GPLDAN(**short, random_state=np.int64(5)).fit(images, texts).seed_ == 5
    assert GPLDAN(**short, random_state=2**32 - 1).fit(images, texts).seed_ == 2**32 - 1
    for wrong in (-1, 2**32, "seed", 0.5):
        with pytest.raises(ValueError):
            GPLDAN(**short, random_state=wrong).fit(images, texts)


@pytest.mark.slow
def test_forms_of_the_same_features(pairs, fitted):
    images, texts, labels = pairs
    one_hot = np.eye(2)[(labels == "dog").astype(int)]
    assert same(GPLDAN(**SMALL, random_state=0).fit(images.tolist(), texts.astype("f8"), one_hot), fitted)
    np.testing.assert_array_equal(
        fitted.distances(images[:3].tolist(), texts.astype("f8")), fitted.distances(images[:3], texts)
    )
    assert same(GPLDAN(**SMALL, random_state=0, resident=False).fit(*pairs), fitted)


def test_ranks_are_rows_of_the_gallery(pairs, fitted):
    images, texts, _ = pairs
    images, texts = images[:7], np.repeat(texts[:10], 2, axis=0)  # each text twice: ties
    distances = fitted.distances(images, texts)
    assert distances.shape == (7, 20) and distances.dtype == np.float32
    ranked = fitted.rank(images, texts, direction="image_to_text")
    np.testing.assert_array_equal(ranked, np.argsort(distances, axis=1, kind="stable"))
    np.testing.assert_array_equal(fitted.rank(images, texts, direction="image_to_text", k=5), ranked[:, :5])
    np.testing.assert_array_equal(fitted.rank(images, texts, direction="image_to_text", k=99), ranked)
    ranked = fitted.rank(texts, images, direction="text_to_image", k=3)
    np.testing.assert_array_equal(ranked, np.argsort(distances.T, axis=1, kind="stable")[:, :3])
    with pytest.raises(ValueError, match="direction must be one of image_to_text, text_to_image, got 'image'"):
        fitted.rank(images, texts, direction="image")
    with pytest.raises(ValueError, match="k must be a whole number of at least 1, got 0"):
        fitted.rank(images, texts, direction="image_to_text", k=0)
    with pytest.raises(ValueError, match=r"images must be \[n, 10\] as in fit, got \[20, 6\]"):
        fitted.rank(texts, images, direction="image_to_text")


def test_a_saved_estimator_comes_back_as_it_was(pairs, fitted, tmp_path):
    fitted.save(tmp_path / "model.safetensors")
    loaded = GPLDAN.load(tmp_path / "model.safetensors")
    assert loaded.get_params() == fitted.get_params() and same(loaded, fitted)
    fitted_names = ("n_image_features_in_", "n_text_features_in_", "n_epochs_", "history_", "seed_")
    assert all(getattr(loaded, name) == getattr(fitted, name) for name in fitted_names)
    np.testing.assert_array_equal(loaded.distances(*pairs[:2]), fitted.distances(*pairs[:2]))
    assert loaded.score(*pairs) == fitted.score(*pairs)
    assert same(clone(loaded).fit(*pairs), fitted)
    loaded.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()
    assert models.load_model(tmp_path / "model.safetensors").projector == fitted.model_.projector


@pytest.mark.slow
def test_our_recipe_needs_no_labels_and_its_bank_is_saved(pairs, tmp_path):
    images, texts, _ = pairs
    small = SMALL | {"parts": 1, "bank": 30, "bank_neighbours": 3, "epochs": 3}
    model = GPLDAN.from_recipe("ours", **small, random_state=0).fit(images, texts)
    assert model.selection == "agreement" and "agreement@50" in model.history_[-1]["validation"]
    assert model.model_.bank.joint.shape[0] == 30 and model.model_.bank.neighbours == 3
    without = dataclasses.replace(model.model_, bank=None)
    distances = model.distances(images, texts)
    model.save(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(GPLDAN.load(tmp_path / "model.safetensors").distances(images, texts), distances)
    model.model_ = without
    assert np.abs(model.distances(images, texts) - distances).max() > 0.01
    with pytest.raises(ValueError, match="recipe must be one of paper, ours, got 'mine'"):
        GPLDAN.from_recipe("mine")


def test_values_of_numpy_are_saved(pairs, tmp_path):
    numpy_values = {"alpha": np.float32(0.5), "parts": np.int64(2), "epochs": np.int64(1)}
    model = GPLDAN(**SMALL | numpy_values, random_state=np.random.RandomState(7)).fit(*pairs[:2])
    model.save(tmp_path / "model.safetensors")
    loaded = GPLDAN.load(tmp_path / "model.safetensors")
    assert (loaded.alpha, loaded.parts, loaded.random_state) == (0.5, 2, model.seed_)
    assert same(clone(loaded).fit(*pairs[:2]), model)


def test_a_model_of_a_run_is_loaded_with_its_settings(pairs, tmp_path):
    path = tmp_path / "model.safetensors"
    run_config = config(seed=4, alpha=0.5)
    dataset, standardization = data.standardize(tiny.dataset(), image=True, text=False)
    state = session.initial_state(run_config, dataset)
    saved = session.trained_model(run_config, dataset, standardization, state.projector_parameters, 3)
    models.save_model(path, saved)
    loaded = GPLDAN.load(path)
    expected = GPLDAN(**SMALL, alpha=0.5, random_state=4, selection="map").get_params()
    assert loaded.get_params() == expected
    assert (loaded.n_epochs_, loaded.seed_, loaded.history_, loaded.n_text_features_in_) == (3, 4, [], 6)
    images, texts = dataset.test.images, dataset.test.texts
    np.testing.assert_array_equal(
        loaded.distances(images, texts),
        retrieval.retrieval_distances(
            state.projector, state.projector_parameters, standardization.images(images), standardization.texts(texts)
        ),
    )
    run_config["loss"]["target"] = "neighbours"
    models.save_model(path, session.trained_model(run_config, dataset, standardization, state.projector_parameters, 3))
    assert GPLDAN.load(path).neighbours == 20


def test_other_files_are_refused(fitted, tmp_path):
    path = tmp_path / "model.safetensors"
    model = fitted.model_

    def saved(metadata):
        models.save_model(path, models.TrainedModel(model.projector, model.parameters, model.standardization, metadata))
        return path

    with pytest.raises(ValueError, match="cannot be read as a safetensors file"):
        GPLDAN.load(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"without the settings of its training; use gpldan_jax\.load_model"):
        GPLDAN.load(saved({"epoch": 1}))
    later = json.loads(json.dumps(dict(model.metadata)))
    later["estimator"]["parameters"]["gamma"] = 1
    with pytest.raises(ValueError, match="another version of gpldan_jax: it has a parameter gamma"):
        GPLDAN.load(saved(later))
    with pytest.raises(ValueError, match=r"another version of gpldan_jax: its config lacks"):
        GPLDAN.load(saved({"epoch": 1, "config": {"dataset": {"image_scaling": "raw", "text_scaling": "raw"}}}))


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"alpha": -1}, "alpha must be a number of at least 0, got -1"),
        ({"alpha": "1"}, "alpha must be a number of at least 0, got '1'"),
        ({"alpha": float("nan")}, "alpha must be a number of at least 0, got nan"),
        ({"temperature": 0}, "temperature must be a number above 0, got 0"),
        ({"text_denoising": 1.5}, "text_denoising must be a number of at least 0 and at most 1, got 1.5"),
        ({"discrepancy": "abs"}, "discrepancy must be one of absolute, squared, signed, got 'abs'"),
        ({"neighbours": 0}, "neighbours must be None or a whole number of at least 1, got 0"),
        ({"epochs": 2.0}, "epochs must be a whole number of at least 0, got 2.0"),
        ({"patience": True}, "patience must be a whole number of at least 0, got True"),
        ({"resident": 1}, "resident must be None, True or False, got 1"),
        ({"verbose": 3}, "verbose must be 0, 1 or 2, got 3"),
        ({"parts": 3}, "parts must divide width, got 3 and 8"),
        ({"selection": "best"}, "selection must be one of auto, map, recall, agreement, last, got 'best'"),
        ({"epochs": 5, "steps": 9}, "steps=9 has no effect beside epochs=5: set epochs=0"),
        ({"bank": 1}, "bank must be 0 or at least 2, got 1"),
        (
            {"soft_contrastive": 0.1},
            "soft_contrastive takes its targets from neighbourhoods, so neighbours must not be",
        ),
        ({"selection": "map"}, "selection='map' needs labels"),
        ({"validation_fraction": 1}, "validation_fraction must be a number above 0 and below 1, got 1"),
        ({"validation_fraction": 0.001}, "validation_fraction=0.001 of 60 pairs is none to choose an epoch by"),
    ],
)
def test_arguments_out_of_range_are_named(pairs, parameters, message):
    with pytest.raises(ValueError, match=message):
        GPLDAN(**SMALL | parameters).fit(*pairs[:2])


def test_fewer_pairs_than_a_mini_batch_are_trained_all_at_once(pairs):
    images, texts, _ = pairs
    with pytest.warns(
        UserWarning, match=r"batch_size=64 is more than the 54 training pairs \(6 of 60 are held out\): a"
    ):
        few = GPLDAN(**SMALL | {"batch_size": 64, "epochs": 1}).fit(images, texts)
    assert few.batch_size == 64 and few.history_[-1]["step"] == 1
    with pytest.warns(UserWarning, match="batch_size=61 is more than the 60 training pairs: a mini-batch has all"):
        last = GPLDAN(**SMALL | {"batch_size": 61, "epochs": 1, "selection": "last", "random_state": 0}).fit(
            images, texts
        )
    same = GPLDAN(**SMALL | {"batch_size": 60, "epochs": 1, "selection": "last", "random_state": 0}).fit(images, texts)
    np.testing.assert_array_equal(last.distances(images, texts), same.distances(images, texts))


def test_every_number_and_choice_has_a_range(pairs):
    for name in set(GPLDAN().get_params()) - {"random_state"}:
        with pytest.raises(ValueError, match=f"{name} must be"):
            GPLDAN(**{name: -1}).fit(*pairs[:2])


def test_features_that_do_not_fit_are_refused(pairs, fitted):
    images, texts, labels = pairs
    holed = images.copy()
    holed[3, 2] = np.nan
    with pytest.raises(ValueError, match=r"images: expected finite float32 values.* row 3 "):
        clone(fitted).fit(holed, texts)
    with pytest.raises(ValueError, match=r"images: expected finite float32 values.* row 3 "):
        fitted.distances(holed, texts)
    with pytest.raises(ValueError, match=r"as many rows, got \[60, 10\] and \[59, 6\]"):
        clone(fitted).fit(images, texts[:-1])
    with pytest.raises(ValueError, match=r"as many rows, got \[60, 10\] and \[59, 6\]"):
        fitted.score(images, texts[:-1])
    with pytest.raises(ValueError, match=r"texts must be \[n, 6\] as in fit, got \[60, 5\]"):
        fitted.distances(images, texts[:, 1:])
    with pytest.raises(ValueError, match=r"images must have rows, got shape \[0, 10\]"):
        fitted.distances(images[:0], texts)
    with pytest.raises(ValueError, match=r"images: expected shape \[rows, features\], found \[10\]"):
        fitted.distances(images[0], texts)
    with pytest.raises(ValueError, match="labels: expected 60 labels"):
        clone(fitted).fit(images, texts, labels[:-1])
    for matrix in (sparse.csr_matrix(images), sparse.coo_array(images)):
        with pytest.raises(TypeError, match=r"images must be a dense array, got a sparse .*; use its toarray"):
            clone(fitted).fit(matrix, texts)


def test_validation_pairs_that_do_not_fit_are_refused(pairs):
    images, texts, labels = pairs
    model = GPLDAN(**SMALL)
    with pytest.raises(ValueError, match=r"validation must be \(images, texts\) or \(images, texts, labels\)"):
        model.fit(images, texts, validation=images)
    with pytest.raises(ValueError, match="labels must be given for the training and the validation pairs, or for nei"):
        model.fit(images, texts, labels, validation=(images, texts))
    with pytest.raises(ValueError, match="validation images and texts must have as many rows"):
        model.fit(images, texts, validation=(images, texts[1:]))
    with pytest.raises(ValueError, match="validation: expected 10 image and 6 text features as in train, found 9 and"):
        model.fit(images, texts, validation=(images[:, 1:], texts))


def test_a_fit_that_fails_leaves_the_last_one(pairs):
    images, texts, _ = pairs
    model = GPLDAN(**SMALL, random_state=0).fit(images, texts)
    before = model.distances(images, texts)
    with pytest.raises(training.NotFinite):
        model.set_params(learning_rate=1e30).fit(images, texts)
    np.testing.assert_array_equal(model.distances(images, texts), before)


@pytest.mark.slow
def test_texts_in_the_place_of_y(pairs):
    images, texts, labels = pairs
    grid = GridSearchCV(
        GPLDAN(**SMALL, selection="last", random_state=0), {"learning_rate": [1e-6, 1e-2]}, cv=2, error_score="raise"
    )
    grid.fit(images, texts, labels=labels)
    assert grid.best_params_ == {"learning_rate": 1e-2}
    half = GPLDAN(**SMALL, selection="last", random_state=0).fit(images[30:], texts[30:])
    assert grid.cv_results_["split0_test_score"][1] == half.score(images[:30], texts[:30])


@pytest.mark.slow
def test_only_the_estimator_needs_scikit_learn():
    code = """
import sys
import gpldan_jax
assert "GPLDAN" in dir(gpldan_jax) and not {"sklearn", "scipy.sparse"} & set(sys.modules)
sys.modules["sklearn"] = None
try:
    from gpldan_jax import GPLDAN
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "gpldan_jax.GPLDAN needs scikit-learn: pip install 'gpldan_jax[sklearn]'\n"
    code = "import sys; sys.modules['sklearn'] = None; from gpldan_jax import *; assert 'GPLDAN' not in dir()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="module 'gpldan_jax' has no attribute 'GPLDANs'"):
        _ = gpldan_jax.GPLDANs


IMAGE_NAMES, TEXT_NAMES = [f"pixel {i}" for i in range(10)], [f"word {i}" for i in range(6)]


@pytest.mark.slow
def test_the_names_of_columns_are_those_of_the_fit(pairs, tmp_path):
    images, texts, labels = pairs
    frames = Frame(images, IMAGE_NAMES), Frame(texts, TEXT_NAMES)
    model = GPLDAN(**SMALL, random_state=0).fit(*frames, labels)
    assert same(model, GPLDAN(**SMALL, random_state=0).fit(*pairs))
    model.save(tmp_path / "model")
    for named in (model, GPLDAN.load(tmp_path / "model")):
        assert named.feature_names_in_.tolist() == named.image_feature_names_in_.tolist() == IMAGE_NAMES
        assert named.text_feature_names_in_.tolist() == TEXT_NAMES
        expected = named.score(*frames, labels)
        with pytest.warns(UserWarning, match="images have no feature names"):
            assert named.score(images, frames[1], labels) == expected
        turned = Frame(images[:, ::-1], IMAGE_NAMES[::-1])
        for call in (
            lambda: named.score(turned, frames[1]),  # noqa: B023
            lambda: named.distances(turned, frames[1]),  # noqa: B023
            lambda: named.rank(frames[1], turned, direction="text_to_image"),  # noqa: B023
        ):
            with pytest.raises(ValueError, match=r"images: the feature names .* same order as they were in fit"):
                call()
    with pytest.raises(ValueError, match="validation texts: the feature names should match"):
        model.fit(*frames, validation=(frames[0], Frame(texts, TEXT_NAMES[::-1])))
    assert not hasattr(model.fit(images, frames[1]), "feature_names_in_")
    assert model.text_feature_names_in_.tolist() == TEXT_NAMES


@pytest.mark.slow
def test_a_file_without_names_is_that_of_before(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    assert "feature_names" not in models.load_model(tmp_path / "model").metadata["estimator"]
    assert not hasattr(GPLDAN.load(tmp_path / "model"), "feature_names_in_")


@pytest.mark.slow
def test_objects_and_tensors_are_read_as_numbers_and_text(pairs, fitted):
    images, texts, labels = pairs
    again = GPLDAN(**SMALL, random_state=0).fit(Tensor(images), texts.astype(object), Column(labels))
    assert same(fitted, again)
    assert fitted.score(images.tolist(), Tensor(texts), Column(labels)) == fitted.score(*pairs)
    with pytest.raises(ValueError, match="labels must be all text or all numbers, got both"):
        fitted.score(images, texts, Column([*labels[:-1], 3]))
    with pytest.raises(ValueError, match="groups must have no missing values, row 59"):
        fitted.score(images, texts, groups=Column([*range(59), NA]))


@pytest.mark.slow
def test_grids_of_data_frames(pairs):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    images, texts, labels = pairs
    frames = pandas.DataFrame(images, columns=IMAGE_NAMES), pandas.DataFrame(texts, columns=TEXT_NAMES)
    model = GPLDAN(**SMALL | {"epochs": 1, "selection": "last"}, random_state=0)
    grid = GridSearchCV(model, {"alpha": [0.5, 1]}, cv=2, error_score="raise").fit(*frames)
    plain = GridSearchCV(model, {"alpha": [0.5, 1]}, cv=2).fit(images, texts)
    np.testing.assert_array_equal(grid.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"])
    assert grid.best_estimator_.feature_names_in_.tolist() == IMAGE_NAMES
    with pytest.raises(ValueError, match="same order as they were in fit"):
        grid.best_estimator_.score(frames[0][IMAGE_NAMES[::-1]], frames[1])
    kinds = model.fit(*frames, pandas.Series(labels, dtype="category"))
    assert same(kinds, model.fit(images, texts, labels))


@pytest.mark.slow
def test_strict_promotion_gives_the_same(pairs):
    images, texts, labels = pairs
    expected = GPLDAN(**SMALL, random_state=0).fit(images, texts, labels)
    with jax.numpy_dtype_promotion("strict"):
        found = GPLDAN(**SMALL, random_state=0).fit(images, texts, labels)
        assert found.score(images, texts, labels) == expected.score(images, texts, labels)
    assert same(found, expected)


@pytest.mark.slow
def test_several_labels_and_no_label(pairs):
    images, texts, names = pairs
    several = np.stack(
        [np.ones(len(names), int), names == "dog"], axis=1
    )  # all share a class: every ranking is perfect
    some = np.where(np.arange(len(names))[:, None] % 7, several, 0)
    with pytest.warns(UserWarning, match="pairs without a label"):
        model = GPLDAN(**SMALL, random_state=0).fit(images, texts, some)
    assert model.score(images, texts, several) == 1.0
    kept = np.arange(len(names)) % 3 > 0
    for missing in ("", None):
        with pytest.warns(UserWarning, match="pairs without a label"):
            found = model.score(images, texts, np.where(kept, names.astype(object), missing))
        assert found == pytest.approx(model.score(images[kept], texts[kept], names[kept]))
