"""The test distances of a finished run, made again from its model; or why they cannot be."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments import session
from experiments.reporting.folders import Run, main_metric
from gpldan_jax import models, retrieval
from gpldan_jax.data import PairedDataset
from gpldan_jax.training import workdir as workdirs

_AGREEMENT = 0.01  # of map@50 or recall@10; other devices round otherwise and swap near neighbours


def dataset_of(config: Mapping[str, Mapping[str, Any]], fingerprint: str) -> tuple[PairedDataset | None, str]:
    """The dataset that a workdir was made with and an empty string, or `None` and why it is not to be had."""
    try:
        dataset, _ = session.load(config["dataset"])
    except KeyError as error:
        return None, f"config.json has no dataset setting {error}"
    except (OSError, TypeError, ValueError) as error:
        return None, str(error).splitlines()[0]
    if dataset.fingerprint() != fingerprint:
        return None, "the dataset's files are not those of config.json (another fingerprint)"
    return dataset, ""


def distances_of(run: Run, dataset: PairedDataset) -> tuple[np.ndarray | None, str]:
    """The distances `[n, n]` of the test pairs and an empty string, or `None` and why they are not to be had."""
    path = run.folder / workdirs.MODEL
    if not path.exists():
        return None, f"there is no {path.name}"
    try:
        model = models.load_model(path)
    except (KeyError, TypeError, ValueError) as error:
        return None, str(error).splitlines()[0]
    if model.metadata.get("epoch") != run.epoch or model.metadata.get("dataset") != run.dataset:
        return None, f"{path.name} is not the model of results.json"
    distances = retrieval.retrieval_distances(
        model.projector, model.parameters, dataset.test.images, dataset.test.texts
    )
    metric = main_metric(run.test)
    found = retrieval.evaluate(distances, dataset.test.labels)[metric]["average"]
    if abs(found - run.test[metric]["average"]) > _AGREEMENT:
        return None, f"{path.name} gives {metric} {found:.3f}, results.json {run.test[metric]['average']:.3f}"
    return distances, ""
