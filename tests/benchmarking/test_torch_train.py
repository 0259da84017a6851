"""The PyTorch peers against our training step: from the same start, on the same mini-batches, they train the same."""

import shutil

import jax
import numpy as np
import pytest

from gpldan_jax import models, training
from gpldan_jax.benchmarking import results
from gpldan_jax.training import mesh
from tests.training import tiny

torch = pytest.importorskip("torch", reason="the peers need torch")

from gpldan_jax.benchmarking import torch_losses, torch_train  # noqa: E402

STEPS, N = 5, 8
# Both compute in float32, in another order; they differ by a tenth of it. Wrong terms change losses by 1e-3 and more.
LOSS_TOLERANCE = 1e-5
# Of the way that an array of parameters has gone in these steps: Adam divides gradients by their size, so what rounding
# does to the smallest counts as much as to others. Found: 2e-5.
WAY_TOLERANCE = 1e-3


def state(**changes):
    # Rates and weights at which every part has its effect within a few steps.
    settings = {"alpha": 0.7, "beta": 0.3, "adversarial": 0.5, "learning_rate": 1e-3, "weight_decay": 1e-2}
    settings |= {"classifier_learning_rate": 1e-2, "image_denoising": 0.0, "text_denoising": 0.0}
    return tiny.state(**settings | changes)


def parameters(state):
    return [np.asarray(leaf) for leaf in jax.tree.leaves((state.projector_parameters, state.classifier_parameters))]


# Where all columns are drawn, both libraries draw the same.
@pytest.mark.parametrize("parts, text_denoising", [(2, 0.0), (1, 1.0)])
def test_peers_train_as_we_do(parts, text_denoising):
    split = tiny.dataset().train
    projector = models.Projector(hidden=16, width=8, parts=parts)
    ours = state(projector=projector, text_denoising=text_denoising)
    start = parameters(ours)
    peers = {name: torch_train.make_peer(name, ours, split) for name in torch_losses.LOSSES}
    for step in np.random.default_rng(0).permuted(np.tile(np.arange(len(split)), (STEPS, 1)), axis=1)[:, :N]:
        ours, expected = training.train_step(ours, training.Batch(split.images[step], split.texts[step]))
        for name, peer in peers.items():
            found = peer.step(torch.tensor(step))
            for figure in ("loss", "classifier"):
                assert float(found[figure]) == pytest.approx(float(expected[figure]), rel=LOSS_TOLERANCE), name
    for peer in peers.values():
        for theirs, end, first in zip(jax.tree.leaves(peer.parameters()), parameters(ours), start, strict=True):
            assert np.abs(theirs - end).max() <= WAY_TOLERANCE * np.abs(end - first).max()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of PyTorch's compiler speak of its own code
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile needs a C++ compiler")
def test_the_compiled_peer_trains_as_the_eager_one():
    split, start = tiny.dataset().train, state()
    eager, compiled = (torch_train.make_peer(name, start, split) for name in ("torch-matmul", "torch-compiled"))
    for first in range(STEPS):
        rows = torch.arange(first, first + N)
        expected, found = eager.step(rows), compiled.step(rows)
        for figure in ("loss", "classifier"):
            assert float(found[figure]) == pytest.approx(float(expected[figure]), rel=LOSS_TOLERANCE)
    begin = parameters(start)
    for theirs, end, first in zip(
        *map(jax.tree.leaves, (compiled.parameters(), eager.parameters())), begin, strict=True
    ):
        assert np.abs(theirs - end).max() <= WAY_TOLERANCE * np.abs(end - first).max()


def test_a_peer_starts_with_our_parameters_and_gives_copies():
    start = state()
    peer = torch_train.make_peer("torch-matmul", start, tiny.dataset().train)
    theirs = peer.parameters()
    ours = start.projector_parameters, start.classifier_parameters
    jax.tree.map(np.testing.assert_array_equal, theirs, ours)
    peer.step(torch.arange(N))
    jax.tree.map(np.testing.assert_array_equal, theirs, ours)


def test_whole_columns_are_denoised():
    inputs = torch.rand(5, 10) + 1
    before = inputs.clone()
    random = torch.Generator().manual_seed(0)
    found, again = (torch_train._zero_columns(inputs, 0.79, random) for _ in range(2))
    is_zero = (found == 0).all(0)
    assert is_zero.sum() == 7 and torch.equal(found[:, ~is_zero], inputs[:, ~is_zero])
    assert not torch.equal(found, again)
    assert torch.equal(inputs, before) and torch.equal(torch_train._zero_columns(inputs, 0.0, random), inputs)


def test_losses_that_the_peers_do_not_have_are_refused():
    with pytest.raises(ValueError, match="'absolute' only, got 'signed'"):
        torch_train._read_settings(state(discrepancy="signed"))
    for ours in ({"neighbours": 5}, {"contrastive": 0.3, "temperature": 0.5}):
        with pytest.raises(ValueError, match="the paper's losses only"):
            torch_train._read_settings(state(**ours))


@pytest.mark.slow
def test_memory_is_measured_or_predicted(monkeypatch):
    start, split = state(), tiny.dataset().train
    row = results.Row(N, "torch-matmul", "train", "default")
    assert torch_train.with_memory(row, start, split).memory_bytes > 0
    monkeypatch.setattr(mesh, "available_memory", lambda device=None: 1000)
    found = torch_train.with_memory(row, start, split)
    assert found.not_run == "does not fit (predicted 0.0 GB)" and found.memory_bytes > 4 * (40 + N) * (10 + 6)
