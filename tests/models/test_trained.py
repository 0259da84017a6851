"""The exported model against the one it came from."""

import json
import random

import jax
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from gpldan_jax import models
from gpldan_jax.data import standardize
from tests.damage import damage
from tests.models import trained_models
from tests.training import tiny


def model():
    dataset, standardization = standardize(tiny.dataset(), image=True, text=False)
    state = tiny.state()
    return dataset, models.TrainedModel(
        state.projector, jax.device_get(state.projector_parameters), standardization, {"dataset": "tiny"}
    )


def test_a_model_is_shown_in_one_line():
    projector = models.Projector(hidden=4, width=8, parts=2)
    scaling = models.Standardization(np.zeros(3), np.ones(3), np.zeros(2), np.ones(2))
    parameters = projector.init(jax.random.key(0), np.ones((1, 3)), np.ones((1, 2)))["params"]
    pairs = models.choose_pairs(np.eye(6, 3), np.eye(6, 2), pairs=6)
    bank = models.network_bank(projector, parameters, pairs, neighbours=2, weight=1.0)
    shown = repr(models.TrainedModel(projector, parameters, scaling, {"dataset": "tiny", "epoch": 3}, bank))
    assert shown == ("<TrainedModel: trained on tiny, epoch 3, 3 image and 2 text features, H = 8, k = 2, a bank of 6>")
    assert repr(models.TrainedModel(projector, parameters, scaling, {})) == (
        "<TrainedModel: 3 image and 2 text features, H = 8, k = 2>"
    )


@pytest.mark.slow
def test_a_model_comes_back_as_it_was(tmp_path):
    dataset, saved = model()
    models.save_model(tmp_path / "model.safetensors", saved)
    loaded = models.load_model(tmp_path / "model.safetensors")
    assert loaded.projector == saved.projector and loaded.metadata == saved.metadata
    np.testing.assert_array_equal(loaded.standardization.image_std, saved.standardization.image_std)
    inputs = dataset.test.images, dataset.test.texts
    for one, other in zip(
        jax.tree.leaves(saved.projector.apply({"params": saved.parameters}, *inputs)),
        jax.tree.leaves(loaded.projector.apply({"params": loaded.parameters}, *inputs)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.filterwarnings("ignore:.*has no checksums")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t, m: t.update({"projector/shared/bias": np.ones(3)}),
            r"shared/bias must be of shape \(8,\), got \(3,\)",
        ),
        (lambda t, m: t.update({"projector/more/bias": np.ones(3)}), r"more/bias must be of shape None, got \(3,\)"),
        (lambda t, m: t.pop("projector/shared/bias"), r"shared/bias must be of shape \(8,\), got None"),
        (lambda t, m: t.update({"standardization/text_std": np.ones(3)}), r"text_std is of shape \(3,\), the mean"),
        (lambda t, m: m["projector"].pop("width"), "KeyError 'width'"),
        (lambda t, m: m["projector"].update(parts=3), "must divide width"),
        (lambda t, m: m["projector"].update(hidden="many"), "invalid literal"),
    ],
)
def test_a_model_that_does_not_fit_together_is_refused(change, message, tmp_path):
    path = tmp_path / "model.safetensors"
    models.save_model(path, model()[1])
    with safetensors.safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["gpldan_jax"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del header["checksums"]  # as in a file of an older version
    change(tensors, header)
    safetensors.numpy.save_file(tensors, path, {"gpldan_jax": json.dumps(header)})
    with pytest.raises(ValueError, match=f"is no whole model of gpldan_jax: .*{message}"):
        models.load_model(path)


def test_no_damage_gives_another_model(tmp_path):
    path, rng = tmp_path / "model.safetensors", random.Random(20)
    saved = trained_models.model(bank=True)
    models.save_model(path, saved)
    content = path.read_bytes()
    for _ in range(60):
        done = damage(path, rng)
        with pytest.raises(ValueError, match=f"^{path} "):
            pytest.fail(f"{done} was not noticed: {models.load_model(path)}")
        path.write_bytes(content)
    models.save_model(path, saved)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, m: t["projector/shared/bias"].__setitem__(0, 7.0), "its tensor projector/shared/bias differs"),
        (lambda t, m: t.update({"bank/joint": np.ones((2, 8))}), "its tensor bank/joint differs"),
        (lambda t, m: m.update(epoch=7), "its metadata differs"),
        (lambda t, m: m.update(checksums=5), "its checksums are no table of tensors"),
    ],
)
def test_the_damage_of_a_model_is_named(change, message, tmp_path):
    path = tmp_path / "model.safetensors"
    models.save_model(path, trained_models.model())
    with safetensors.safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["gpldan_jax"])
        tensors = {name: file.get_tensor(name).copy() for name in file.keys()}  # noqa: SIM118
    change(tensors, header)
    safetensors.numpy.save_file(tensors, path, {"gpldan_jax": json.dumps(header)})
    with pytest.raises(ValueError, match=f"^{path} is damaged: .*{message}$"):
        models.load_model(path)
    if "metadata" in message:
        assert models.load_model(path, verify=False).metadata["epoch"] == 7


def test_a_model_of_an_older_version_opens_with_a_warning(tmp_path):
    path = tmp_path / "model.safetensors"
    models.save_model(path, trained_models.model())
    with safetensors.safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["gpldan_jax"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del header["checksums"]
    safetensors.numpy.save_file(tensors, path, {"gpldan_jax": json.dumps(header)})
    with pytest.warns(UserWarning, match=rf"^{path} has no checksums, as files of older versions: .* is not known$"):
        assert models.load_model(path).projector == trained_models.model().projector


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(ValueError, match=r"model.safetensors cannot be read"):
        models.load_model(path)
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(ValueError, match=r"model.safetensors cannot be read as a safetensors file"):
        models.load_model(path)
    safetensors.numpy.save_file({"weight": np.ones(3)}, path)
    with pytest.raises(ValueError, match=r"is no model of gpldan_jax: it lacks standardization/image_mean"):
        models.load_model(path)


def test_a_folder_with_a_model_is_read_as_that_model(tmp_path):
    with pytest.raises(ValueError, match=r"the folder .* has no model\.safetensors; a run writes it when"):
        models.load_model(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    trained_models.model().save(run / "model.safetensors")
    assert models.load_model(run).projector == trained_models.model().projector
    with pytest.raises(ValueError, match=r"has no model\.safetensors; did you mean .*run\?$"):
        models.load_model(tmp_path)
