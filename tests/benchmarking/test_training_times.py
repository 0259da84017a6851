"""The times of training: what is counted, and what ends a run. No test depends on a time."""

import importlib.util
import json

import jax
import numpy as np
import pytest

from gpldan_jax import training
from gpldan_jax.benchmarking import results, timing
from gpldan_jax.benchmarking import training_times as times
from gpldan_jax.runs import session
from gpldan_jax.training import mesh
from tests.benchmarking.records import benchmark, record, row, tiny_config, write
from tests.commands import ROOT
from tests.training import tiny

HAS_TORCH = importlib.util.find_spec("torch") is not None
SMALL = ("--config.model.hidden=32", "--config.model.width=16", "--config.denoise.image=0", "--config.denoise.text=0")
# The order of float32 sums differs; two epochs later losses are apart by a tenth of it.
SAME_LOSS = 1e-5


@pytest.fixture
def dataset(monkeypatch):
    """What every config names: 40 training pairs."""
    made = tiny.dataset()
    monkeypatch.setattr(session, "load", lambda config: (made, None))
    return made


def measure_steps(implementations, sizes=(9,), rounds=None, **changes):
    schedule = timing.Schedule(sizes, rounds, ceiling_size=16)
    members = changes.pop("members", 9)
    return times.measure_steps(tiny_config(**changes), schedule, implementations=implementations, members=members)


@pytest.mark.slow
def test_rows_of_a_run(dataset):
    names = ["grid"] + (["torch-matmul"] if HAS_TORCH else [])
    found = measure_steps(names, rounds=2, members=2)
    assert found["dataset"] == "tiny" and found["problem"] == tiny_config()
    assert [one.implementation for one in found["rows"]] == names
    for one in found["rows"]:
        assert (one.n, one.steps, one.members) == (9, 4, 2 if one.implementation == "grid" else 1)
        assert one.rounds == 2 and one.pairs_per_s == pytest.approx(9 * one.steps_per_s) and one.memory_bytes > 0
        assert (one.library == "torch") == (one.compile_s is None)
    assert found["ceilings"].keys() == {one.library for one in found["rows"]}


@pytest.mark.slow
def test_pairs_are_repeated_where_a_batch_needs_more(dataset, monkeypatch, capsys):
    splits = []
    fake = FakeTrainer()
    monkeypatch.setattr(times, "make_trainer", lambda name, start, split, batches: splits.append(split) or fake)
    found = measure_steps(["step"], sizes=(50, 40), rounds=1)
    assert [one.steps for one in found["rows"]] == [1, 1]
    assert "n = 50: the 40 training pairs are repeated" in capsys.readouterr().err
    repeated, own = sorted(splits, key=len, reverse=True)
    assert own is dataset.train
    for found, given in ((repeated.images, own.images), (repeated.texts, own.texts)):
        np.testing.assert_array_equal(found, np.concatenate([given, given[:10]]))


def test_a_peer_that_computes_something_else_ends_the_run(dataset, monkeypatch):
    fakes = {"step": FakeTrainer(losses=(2.0, 1.0)), "epoch": FakeTrainer(losses=(2.1, 1.0))}
    monkeypatch.setattr(times, "make_trainer", lambda name, *rest: fakes[name])
    with pytest.raises(results.Disagreement, match="the loss at n = 9: step "):
        measure_steps(["step", "epoch"], rounds=1)
    found = measure_steps(["step", "epoch"], rounds=1, denoise={"image": 0.5})  # drawn anew by each
    assert [one.loss for one in found["rows"]] == [2.0, 2.1]


def test_what_does_not_fit_is_not_trained(dataset, monkeypatch):
    fake = FakeTrainer()
    monkeypatch.setattr(times, "make_trainer", lambda *arguments: fake)
    monkeypatch.setattr(mesh, "available_memory", lambda device=None: 10)
    names = ["epoch", "torch-broadcast"] if HAS_TORCH else ["epoch"]
    found = measure_steps(names)
    for one in found["rows"]:
        assert one.not_run == "does not fit (predicted 0.0 GB)" and one.memory_bytes > 10 and one.median_s is None
    assert not fake.epochs


class FakeTrainer:
    """Counts its epochs, which give these losses."""

    def __init__(self, losses=(1.0,)):
        self.facts = {"lower_s": 1.0, "compile_s": 2.0, "memory_bytes": 11}
        self.losses, self.epochs = losses, 0

    def epoch(self):
        self.epochs += 1
        return np.array(self.losses)

    def projector_parameters(self):
        return self


@pytest.fixture
def fakes(dataset, monkeypatch):
    """Trainers that reach 0.1 and 0.15 more map@50 in each epoch."""
    made = {"step": FakeTrainer(), "epoch": FakeTrainer()}
    rates = {id(made["step"]): 0.1, id(made["epoch"]): 0.15}

    def evaluate(state, split, relevance=None):
        assert split is dataset.validation and relevance is None
        trainer = state.projector_parameters
        recalls = {f"recall@{r}": {"average": r * 0.01 * trainer.epochs} for r in (1, 5, 9)}
        return recalls | {"map@50": {"average": trainer.epochs * rates[id(trainer)]}}

    monkeypatch.setattr(times, "make_trainer", lambda name, *rest: made[name])
    monkeypatch.setattr(training, "evaluate_split", evaluate)
    return made


def measure_quality(target, max_epochs=30, **changes):
    limits = {"target": target, "max_epochs": max_epochs}
    return times.measure_quality(tiny_config(**changes), **limits, implementations=["step", "epoch"])


def test_each_trains_until_it_reaches_the_target(fakes, capsys):
    found = measure_quality(0.25, max_epochs=9)
    step, epoch = found["rows"]
    assert (step.reached_epoch, epoch.reached_epoch) == (3, 2)
    assert (fakes["step"].epochs, fakes["epoch"].epochs) == (3, 2)
    assert step.values == pytest.approx([0.1, 0.2, 0.3]) and len(step.epoch_s) == 3 and step.compile_s == 3.0
    assert step.train_s == pytest.approx(sum(step.epoch_s)) and min(step.epoch_s) > 0
    assert (found["target"], found["dataset"]) == (0.25, "tiny")


def test_a_target_that_is_not_reached(fakes):
    step, epoch = measure_quality(0.29, max_epochs=2)["rows"]
    assert (step.reached_epoch, epoch.reached_epoch) == (None, 2)
    assert fakes["step"].epochs == 2


def test_quality_is_what_selects_the_model(fakes):
    step, _ = measure_quality(0.09, train={"selection": "recall"})["rows"]
    assert step.reached_epoch == 2 and step.values == pytest.approx([0.05, 0.1])
    with pytest.raises(ValueError, match=r"config.train.selection must be map, recall or agreement"):
        measure_quality(0.1, train={"selection": "last"})


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_run(fakes, capsys):
    fakes["epoch"].losses = (1.0, float("nan"))
    flags = (*SMALL, "--config.train.batch_size=12", "--target=0.9", "--implementations", "step", "epoch")
    flags += ("--config.mesh.data=1",)
    assert benchmark("quality", "--dataset=emoji", *flags) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "error: epoch: the loss is nan at step 2"


@pytest.mark.parametrize("measure", [measure_steps, lambda names, **changes: measure_peer(names, **changes)])
def test_what_cannot_train_is_named(monkeypatch, measure):
    message = "torch-matmul has no discrepancy 'signed'" if HAS_TORCH else "needs torch"
    with pytest.raises(ValueError, match=message):
        measure(["torch-matmul"], loss={"discrepancy": "signed"})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"torch-matmul needs torch: pip install 'gpldan_jax\[peers\]'"):
        measure(["torch-matmul"])


def measure_peer(names, **changes):
    return times.measure_quality(tiny_config(**changes), target=0.5, implementations=names)


def test_a_grid_is_spread_evenly(dataset):
    with pytest.raises(ValueError, match=r"^members must be a multiple of the 2 devices, got 9"):
        measure_steps(["grid"], mesh={"data": 2})


def test_training_rows_are_compared_and_drawn(tmp_path, capsys):
    rows = [row(implementation="grid", mode="train", precision="default", members=members) for members in (3, 9)]
    ceilings = {"jax": {"default": {"flops_per_s": 1e9, "median_s": 1.0, "shape": [1, 1, 1]}}}
    shared = {"benchmark": "train", "problem": tiny_config(), "dataset": "tiny", "ceilings": ceilings}
    old = write(tmp_path / "old.json", record(*rows, row(implementation="step", mode="train"), **shared))
    new = write(tmp_path / "new.json", record(rows[1], **shared))
    assert benchmark("compare", old, new) == 0
    assert capsys.readouterr().out.count("training step") == 1
    other = write(tmp_path / "other.json", record(rows[1], **shared | {"problem": tiny_config(loss={"beta": 0.5})}))
    assert benchmark("compare", old, other) == 2
    assert capsys.readouterr().err == "error: cannot compare runs of different problem: loss.beta 0.1 and 0.5\n"
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    assert benchmark("plot", old, f"--out={tmp_path / 'found.png'}") == 0
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_train_as_a_user_calls_it(command, tmp_path):
    flags = (*SMALL, "--config.dataset.synthetic", "--ceiling_size=16", "--rounds=2", "--sizes", "100")
    flags += ("--implementations", "epoch")
    done = command("train", f"--config={ROOT / 'configs' / 'npz.py'}", *flags)
    assert done.returncode == 0, done.stderr
    assert "training step, npz (synthetic), " in done.stdout
    (file,) = (tmp_path / "runs").iterdir()
    assert file.name.startswith("benchmark-train-") and f"written to runs/{file.name}" in done.stderr
    found = json.loads(file.read_text())
    assert found["problem"]["model"]["width"] == 16 and found["problem"]["dataset"]["synthetic"]
    (one,) = found["rows"]
    assert one["implementation"] == "epoch" and one["median_s"] > 0 and one["compile_s"] > 0


@pytest.mark.slow
def test_quality_as_a_user_calls_it(command, tmp_path, features):
    peers = ["torch-matmul"] if HAS_TORCH else []
    flags = (*SMALL, f"--config.dataset.path={features}", "--config.train.selection=map", "--out=found.json")
    flags += ("--target=0.99", "--max_epochs=1", "--implementations", "epoch", *peers)
    done = command("quality", f"--config={ROOT / 'configs' / 'npz.py'}", *flags)
    assert done.returncode == 0, done.stderr
    assert "validation map@50 of 0.99" in done.stdout and done.stdout.count("not by epoch 1") == 1 + len(peers)
    found = json.loads((tmp_path / "found.json").read_text())
    values = [one["values"][0] for one in found["rows"]]
    assert all(value == pytest.approx(values[0], abs=0.01) and 0.2 < value < 1 for value in values)  # float rounding
    assert found["rows"][0]["compile_s"] > 0 and found["rows"][-1]["reached_epoch"] is None
    assert {"machine", "commit", "command", "target"} <= found.keys()


def initial_state(config, dataset):
    return training.state_from_config(config, dataset.image_dim, dataset.text_dim)


@pytest.mark.slow
def test_all_ways_to_train_do_the_same(dataset):
    start = initial_state(tiny_config(), dataset)
    batches = {"batch_size": 12, "remainder": "mask"}  # the last mini-batch has 4 pairs
    names = ["epoch", "step"] + (["torch-matmul", "torch-broadcast"] if HAS_TORCH else [])
    made = {name: times.make_trainer(name, start, dataset.train, batches) for name in names}
    losses = {name: np.concatenate([trainer.epoch(), trainer.epoch()]) for name, trainer in made.items()}
    parameters = {name: jax.tree.leaves(trainer.projector_parameters()) for name, trainer in made.items()}
    assert len(losses["epoch"]) == 8 and np.ptp(losses["epoch"]) > 0.1
    for name in names[1:]:
        np.testing.assert_allclose(losses[name], losses["epoch"], rtol=SAME_LOSS, err_msg=name)
        for found, expected in zip(parameters[name], parameters["epoch"], strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-4, err_msg=name)  # a percent of the learning rate


@pytest.mark.slow
def test_ours_is_trained_too(dataset):
    ours = tiny_config(loss={"target": "neighbours", "neighbours": 5, "contrastive": 0.3})
    batches = {"batch_size": 12, "remainder": "drop"}
    losses = []
    for settings in (ours, tiny_config()):
        start = initial_state(settings, dataset)
        losses.append(times.make_trainer("step", start, dataset.train, batches).epoch())
    assert np.abs(losses[0] - losses[1]).min() > 0.1
    states = times._grid_states(ours, dataset, 2)
    grid = times.make_grid_trainer(states, dataset.train, batches, at_once=1, mesh=None)
    np.testing.assert_allclose(grid.epoch(), losses[0], rtol=SAME_LOSS)


@pytest.mark.slow
def test_the_first_member_of_a_grid_is_the_configs_run(dataset):
    settings, batches = tiny_config(), {"batch_size": 12, "remainder": "drop"}
    states = times._grid_states(settings, dataset, 4)
    first, own = jax.tree.map(lambda leaf: leaf[0], states), initial_state(settings, dataset)
    assert first.key == own.key
    jax.tree.map(np.testing.assert_array_equal, *(state.replace(key=0) for state in (first, own)))
    assert len(set(np.asarray(states.hyperparameters.alpha))) == 4
    assert len(np.unique(states.projector_parameters["shared"]["bias"], axis=0)) == 4
    expected = times.make_trainer("epoch", first, dataset.train, batches).epoch()
    grid = times.make_grid_trainer(states, dataset.train, batches, at_once=1, mesh=training.data_mesh(2))
    np.testing.assert_allclose(grid.epoch(), expected, rtol=SAME_LOSS)


def test_peers_that_cannot_train_are_left_out():
    ours = tiny_config(loss={"target": "neighbours"})
    assert times.choose_trainers(None, ["epoch", "torch-matmul"], ours) == ["epoch"]
    signed = tiny_config(loss={"discrepancy": "signed"})
    assert times.choose_trainers(None, ["step", "torch-matmul"], signed) == ["step"]
