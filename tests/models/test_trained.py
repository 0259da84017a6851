"""The exported model against the one it came from."""

import jax
import numpy as np
import pytest
import safetensors.numpy

from gpldan_jax import models
from gpldan_jax.data import standardize
from tests.training import tiny


def model():
    dataset, standardization = standardize(tiny.dataset(), image=True, text=False)
    state = tiny.state()
    return dataset, models.TrainedModel(
        state.projector, jax.device_get(state.projector_parameters), standardization, {"dataset": "tiny"}
    )


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
