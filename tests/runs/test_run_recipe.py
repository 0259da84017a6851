"""A run with our recipe, from the command to what reads its results."""

import json

import numpy as np
import pytest

from gpldan_jax import config, data, models, retrieval, training
from gpldan_jax.cli.main import main
from tests.commands import SMALL

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of ml_collections

OURS = ("run", "--dataset=emoji", "--recipe=ours", *SMALL, "--config.train.steps=80", "--config.retrieval.bank=100")


@pytest.mark.slow
def test_a_run_uses_no_label_takes_its_bank_along_and_is_finished_the_second_time(tmp_path, capsys):
    folder = tmp_path / "run"
    assert main([*OURS, f"--workdir={folder}"]) == 0
    out = capsys.readouterr().out
    # 1,400 pairs are 70 mini-batches of 20: the second epoch reaches 80.
    assert "retrieval goes through a bank of 100, the means of 800 of the 1400 training pairs: retrieval.bank" in out
    assert "epoch 2/2" in out and "chosen by agreement on validation" in out
    value = json.loads((folder / "metrics.jsonl").read_text().splitlines()[1])["validation"]["agreement@50"]["average"]
    assert f"validation agreement@50 {value:.3f}" in out  # the line of an epoch shows what it is chosen by
    assert main([*OURS, f"--workdir={folder}"]) == 0 and "is finished" in capsys.readouterr().out
    model, results = models.load_model(folder / "model.safetensors"), json.loads((folder / "results.json").read_text())
    assert len(model.bank.joint) == 100
    dataset, _ = data.standardize(data.load_dataset("emoji"), image=True, text=False)
    test = dataset.test
    distances = retrieval.retrieval_distances(
        model.projector, model.parameters, test.images, test.texts, bank=model.bank
    )
    assert retrieval.evaluate_pairs(distances, test)["map@50"] == results["test"]["map@50"]
    relevance = retrieval.neighbourhood_relevance(test, dataset.train)
    assert results["test"]["agreement@50"] == retrieval.agreement(distances, relevance)
    # The search that is built from the run moves its queries and items.
    assert main(["search", "build", f"--workdir={folder}", f"--out={tmp_path / 'search'}"]) == 0
    assert main(["report", str(folder), f"--out={tmp_path / 'a.html'}"]) == 0
    assert "agreement@50, which needs no labels" in (tmp_path / "a.html").read_text()


def test_the_length_of_a_training_is_in_epochs_or_in_mini_batches():
    train = {"epochs": 0, "steps": 200, "batch_size": 64, "remainder": "drop"}
    for pairs, epochs in ((64, 200), (1000, 14), (12_800, 1), (10**6, 1)):
        assert training.with_epochs({"train": train}, pairs)["train"]["epochs"] == epochs
    assert training.with_epochs({"train": train | {"epochs": 7}}, 64)["train"]["epochs"] == 7
    with pytest.raises(config.ConfigError, match="steps=80 has no effect beside"):
        config.validate(config.with_values(config.default_config(), {"train.steps": 80}))
    assert training.with_epochs({"train": train | {"remainder": "mask"}}, 65)["train"]["epochs"] == 100


@pytest.mark.slow
def test_a_sweep_can_be_selected_without_labels_and_through_a_bank(tmp_path, capsys):
    flags = (*OURS[1:], "--alpha=0.5,1", "--seeds=1", "--nofigure", f"--workdir={tmp_path / 'sweep'}")
    assert main(["sweep", *flags]) == 0
    assert "average validation agreement@50" in capsys.readouterr().out
    record = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert np.isfinite(record["selected"]["value"]["mean"])
