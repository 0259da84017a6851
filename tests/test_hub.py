"""A model goes to the Hugging Face Hub and comes back; a fake takes the place of the network."""

import dataclasses
import shutil
import sys
import types

import numpy as np
import pytest

import gpldan_jax
from gpldan_jax import config
from tests.models import trained_models


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A fake `huggingface_hub`, whose repositories are folders."""
    fake = types.ModuleType("huggingface_hub")
    fake.root, fake.calls = tmp_path / "hub", []

    class HfApi:
        def create_repo(self, repo_id, *, private, exist_ok):
            assert exist_ok
            fake.calls.append(("create", repo_id, private))
            return types.SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, *, repo_id, folder_path, commit_message):
            shutil.copytree(folder_path, fake.root / repo_id)
            fake.calls.append(("upload", repo_id, commit_message))
            return types.SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/1")

    def hf_hub_download(repo_id, filename, *, revision):
        fake.calls.append(("download", repo_id, revision))
        return str(fake.root / repo_id / filename)

    fake.HfApi, fake.hf_hub_download = HfApi, hf_hub_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    return fake


def model_of_a_run():
    settings = config.with_values(config.dataset_config("npz"), {"dataset.path": "/home/me/data/mine.npz"})
    return dataclasses.replace(trained_models.model(bank=True), metadata={"dataset": "mine", "config": settings})


def test_a_model_comes_back_from_the_hub(hub):
    model = model_of_a_run()
    assert gpldan_jax.push_to_hub(model, "owner/name", private=True) == "https://hub/owner/name/commit/1"
    assert sorted(path.name for path in (hub.root / "owner/name").iterdir()) == ["README.md", "model.safetensors"]
    assert "# GPLDAN on mine" in (hub.root / "owner/name/README.md").read_text()
    found = gpldan_jax.from_pretrained("owner/name", revision="v1")
    images = np.ones((2, 5))
    np.testing.assert_array_equal(found.encode_images(images).features, model.encode_images(images).features)
    assert hub.calls == [
        ("create", "owner/name", True),
        ("upload", "owner/name", "Upload a GPLDAN model"),
        ("download", "owner/name", "v1"),
    ]


def test_no_folder_of_a_machine_is_uploaded(hub):
    gpldan_jax.push_to_hub(model_of_a_run(), "owner/name")
    for path in (hub.root / "owner/name").iterdir():
        assert b"home" not in path.read_bytes() and b"mine.npz" in path.read_bytes()


def test_the_card_of_a_workdir_is_uploaded_as_it_is(hub, tmp_path):
    model_of_a_run().save(tmp_path / "run/model.safetensors")
    (tmp_path / "run/README.md").write_text("my own card")
    gpldan_jax.push_to_hub(tmp_path / "run", "owner/name", commit_message="mine")
    assert (hub.root / "owner/name/README.md").read_text() == "my own card"
    gpldan_jax.push_to_hub(tmp_path / "run/model.safetensors", "owner/other")
    assert "# GPLDAN on mine" in (hub.root / "owner/other/README.md").read_text()


def test_a_folder_needs_no_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    trained_models.model().save(tmp_path / "model.safetensors")
    assert gpldan_jax.from_pretrained(tmp_path).projector == trained_models.model().projector
    assert gpldan_jax.from_pretrained(str(tmp_path / "model.safetensors")).bank is None
    with pytest.raises(ValueError, match=r"is on this machine, so there is no revision 'v1': leave it out"):
        gpldan_jax.from_pretrained(tmp_path, revision="v1")
    expected = r"owner/name is no folder here, and to download .*: pip install 'gpldan_jax\[hub\]'"
    with pytest.raises(ImportError, match=expected):
        gpldan_jax.from_pretrained("owner/name")
    with pytest.raises(ImportError, match=r"an upload to the Hugging Face Hub: .*'gpldan_jax\[hub\]'"):
        gpldan_jax.push_to_hub(tmp_path, "owner/name")


@pytest.mark.parametrize("name", ["runs", "runs/emoji/model", "./runs", "~/runs", "/runs", "owner/"])
def test_a_name_that_is_neither_is_refused(name, hub):
    with pytest.raises(ValueError, match=r"is neither a folder with a model.safetensors nor the name of a repository"):
        gpldan_jax.from_pretrained(name)
    with pytest.raises(ValueError, match="nor the name of a repository, owner/name"):
        gpldan_jax.push_to_hub(trained_models.model(), name)


def test_a_folder_without_a_model_is_not_uploaded(hub, tmp_path):
    with pytest.raises(ValueError, match=r"has no model.safetensors; a run writes it when it is finished"):
        gpldan_jax.push_to_hub(tmp_path, "owner/name")
    assert not hub.calls


def test_a_pickle_in_the_repository_is_refused(hub):
    (hub.root / "owner/name").mkdir(parents=True)
    (hub.root / "owner/name/model.safetensors").write_bytes(b"\x80\x04\x95pickle.")
    with pytest.raises(ValueError, match="cannot be read as a safetensors file"):
        gpldan_jax.from_pretrained("owner/name")


def test_the_library_takes_these_arguments():
    hub = pytest.importorskip("huggingface_hub", reason="the hub needs huggingface_hub: pip install 'gpldan_jax[hub]'")
    import inspect

    taken = [inspect.signature(of).parameters for of in (hub.hf_hub_download, hub.HfApi.create_repo)]
    assert {"repo_id", "filename", "revision"} <= taken[0].keys() and {"private", "exist_ok"} <= taken[1].keys()
    upload = inspect.signature(hub.HfApi.upload_folder).parameters
    assert {"repo_id", "folder_path", "commit_message"} <= upload.keys()
