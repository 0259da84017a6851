"""GPLDAN as a method of the comparison, trained by the code that trains it everywhere."""

import tempfile

from experiments import session
from gpldan_jax import retrieval, training
from gpldan_jax.baselines import Method
from gpldan_jax.data import PairedDataset


def method(config: dict, dataset: PairedDataset) -> Method:
    """GPLDAN with the settings of a config; validation may change alpha, or the denoising.

    Args:
        config: as `run.py` takes it.
        dataset: its dataset, scaled; `training.train` selects on its validation pairs as in `run.py`.
    """

    def fit(train, validation, score, *, seed, **changes):
        settings = {group: dict(keys) for group, keys in config.items()}
        settings["train"]["seed"] = seed
        for key, value in changes.items():
            group, name = key.split(".")
            settings[group][name] = value
        options = settings["train"]
        with tempfile.TemporaryDirectory(prefix="gpldan-compare-") as folder:
            checkpoints = training.Checkpoints(folder)
            try:
                state, _ = training.train(
                    session.initial_state(settings, dataset),
                    dataset,
                    checkpoints,
                    epochs=options["epochs"],
                    batch_size=options["batch_size"],
                    remainder=options["remainder"],
                    criterion=options["selection"],
                    evaluate_every=options["evaluate_every"],
                    patience=options["patience"],
                )
            finally:
                checkpoints.close()
        return lambda images, texts: retrieval.retrieval_distances(
            state.projector, state.projector_parameters, images, texts
        )

    alpha, denoised = config["loss"]["alpha"], config["denoise"]["image"] > 0
    other = {"denoise.image": 0.0, "denoise.text": 0.0} if denoised else {"denoise.image": 0.5, "denoise.text": 0.7}
    return Method(
        name="gpldan",
        title="GPLDAN",
        supervision="unsupervised",
        source="Chen, Zhang and Zhan, arXiv 2106.13552",
        fit=fit,
        settings=({}, {"loss.alpha": alpha / 2}, {"loss.alpha": 2 * alpha}, other),
    )
