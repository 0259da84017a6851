"""Models on the Hugging Face Hub, or in a folder: safetensors and a model card, and no pickles.

The mixin of `huggingface_hub` is for classes whose instances can be changed and whose `__init__` takes settings alone;
`TrainedModel` is frozen and holds arrays. So these are two functions.
"""

import dataclasses
import os
import tempfile
from pathlib import Path, PureWindowsPath

from gpldan_jax._extras import needed_for
from gpldan_jax.models import CARD_FILE, MODEL_FILE, TrainedModel, load_model, model_card


def from_pretrained(repo_or_folder: str | os.PathLike, revision: str | None = None) -> TrainedModel:
    """Loads a model from a folder or from the Hugging Face Hub.

    Args:
        repo_or_folder: a folder with a `model.safetensors`, such as the workdir of a run, or that file: nothing is
            downloaded then. Otherwise the name of a repository, `"owner/name"`; its file is downloaded once and kept in
            the cache of `huggingface_hub`.
        revision: a branch, tag or commit of the repository; `None` for its main branch.

    Returns:
        The model, as `load_model` returns it.

    Raises:
        ImportError: a repository, and `huggingface_hub` is missing.
        ValueError: no model, a folder with a `revision`, or a name that is neither a folder nor a repository.
        OSError: the repository or its file cannot be read; `huggingface_hub` says why.

    Example:
        >>> import jax, numpy as np
        >>> from gpldan_jax.models import Projector, Standardization
        >>> projector = Projector(hidden=8, width=8, parts=2)
        >>> parameters = projector.init(jax.random.key(0), np.ones((1, 3)), np.ones((1, 2)))["params"]
        >>> unscaled = Standardization(np.zeros(3), np.ones(3), np.zeros(2), np.ones(2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     TrainedModel(projector, parameters, unscaled, {"dataset": "mine"}).save(f"{folder}/model.safetensors")
        ...     from_pretrained(folder)
        <TrainedModel: trained on mine, 3 image and 2 text features, H = 8, k = 2>
    """
    if os.path.exists(repo_or_folder):
        if revision is not None:
            raise ValueError(f"{repo_or_folder} is on this machine, so there is no revision {revision!r}: leave it out")
        return load_model(repo_or_folder)
    repo = _checked_name(repo_or_folder)
    with needed_for(f"{repo} is no folder here, and to download from the Hugging Face Hub", "hub"):
        import huggingface_hub
    return load_model(huggingface_hub.hf_hub_download(repo, MODEL_FILE, revision=revision))


def push_to_hub(
    model_or_workdir: TrainedModel | str | os.PathLike,
    repo_id: str,
    *,
    private: bool | None = None,
    commit_message: str = "Upload a GPLDAN model",
) -> str:
    """Uploads a model and its card to the Hugging Face Hub, in one commit; makes the repository if there is none.

    Log in first with `hf auth login`, or set the variable `HF_TOKEN`. Of the path of the data, which the model file
    holds, only the last part is uploaded: the folders of your machine are nobody's business.

    Args:
        model_or_workdir: a model, or a folder with a `model.safetensors`, such as the workdir of a finished run, whose
            `README.md` is uploaded as it is. Without one, a card is written.
        repo_id: `"owner/name"`.
        private: whether a new repository is private; `None` for the default of the owner.
        commit_message: of the commit.

    Returns:
        The address of the commit.

    Raises:
        ImportError: `huggingface_hub` is missing.
        ValueError: no model, or another form of name.
        Exception: whatever `huggingface_hub` raises where the upload fails.

    Example:
        >>> push_to_hub("runs/emoji", "owner/gpldan-emoji")  # doctest: +SKIP
        'https://huggingface.co/owner/gpldan-emoji/commit/...'
    """
    repo = _checked_name(repo_id)
    card = None
    if isinstance(model_or_workdir, TrainedModel):
        model = model_or_workdir
    else:
        model = load_model(model_or_workdir)
        path = Path(model_or_workdir)
        found = (path if path.is_dir() else path.parent) / CARD_FILE
        card = found.read_text(encoding="utf-8") if path.is_dir() and found.exists() else None
    with needed_for("an upload to the Hugging Face Hub", "hub"):
        import huggingface_hub
    with tempfile.TemporaryDirectory() as folder:
        _without_folders(model).save(Path(folder) / MODEL_FILE)
        (Path(folder) / CARD_FILE).write_text(card or model_card(model), encoding="utf-8", newline="\n")
        api = huggingface_hub.HfApi()
        repo = str(api.create_repo(repo, private=private, exist_ok=True).repo_id)
        commit = api.upload_folder(repo_id=repo, folder_path=folder, commit_message=commit_message)
    return str(commit.commit_url)


def _checked_name(name):
    """The name of a repository; `ValueError` where it has another form, such as a folder that is not there."""
    text = os.fspath(name)
    if len(text.split("/")) != 2 or not all(text.split("/")) or text.startswith((".", "~")):
        raise ValueError(f"{text} is neither a folder with a {MODEL_FILE} nor the name of a repository, owner/name")
    return text


def _without_folders(model):
    """The model with the file name of its data in place of their path."""
    config = model.metadata.get("config", {})
    if not (path := config.get("dataset", {}).get("path")):
        return model
    dataset = config["dataset"] | {"path": PureWindowsPath(path).name}
    return dataclasses.replace(model, metadata={**model.metadata, "config": {**config, "dataset": dataset}})
