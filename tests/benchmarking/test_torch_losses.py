"""The PyTorch peers of the loss: the same loss and gradients, and their memory."""

import json
import shutil

import jax
import numpy as np
import pytest

import gpldan_jax
from gpldan_jax import losses
from gpldan_jax.benchmarking import problem, results
from tests.benchmarking.records import benchmark
from tests.benchmarking.test_loss_times import SMALL

torch = pytest.importorskip("torch", reason="the peers need torch")

from gpldan_jax.benchmarking import torch_losses  # noqa: E402

# Peers compute in float32 in another order; they agree to 1e-6 where they are right.
PEER_TOLERANCE = 1e-4


def test_peers_compute_the_same_loss_and_gradients():
    arrays = problem.arrays(problem.Problem(n=9, k=3, h=8, image_inputs=12, text_inputs=10))

    def loss(*features):
        return gpldan_jax.graph_pattern_loss(*features, *arrays[4:], alpha=1.0, beta=0.1, implementation="dense")[0]

    expected, gradients = jax.value_and_grad(loss, argnums=(0, 1, 2, 3))(*arrays[:4])
    for name, peer in torch_losses.LOSSES.items():
        found, peer_gradients = torch_losses.evaluate(peer, list(map(torch.from_numpy, arrays)), "forward_and_grad")
        assert float(found) == pytest.approx(float(expected), rel=PEER_TOLERANCE), name
        value_alone, _ = torch_losses.evaluate(peer, list(map(torch.from_numpy, arrays)), "forward")
        assert float(value_alone) == float(found)
        for i, (ours, theirs) in enumerate(zip(gradients, peer_gradients, strict=True)):
            ours, theirs = np.asarray(ours), np.asarray(theirs)
            if i >= 2:  # what happens as attention leaves the simplex is not defined
                theirs = theirs - (theirs * arrays[i]).sum(1, keepdims=True)
                ours = ours - (ours * arrays[i]).sum(1, keepdims=True)
            np.testing.assert_allclose(theirs, ours, atol=PEER_TOLERANCE * np.abs(ours).max(), err_msg=name)


def test_the_peer_of_the_soft_loss_computes_the_same():
    arrays = problem.arrays(problem.Problem(9, 3, 8, image_inputs=12, text_inputs=10, loss="soft_contrastive"))

    def loss(*features):
        return losses.soft_contrastive(
            *features, similarity_rows=arrays[4], scale=problem.SCALE, implementation="dense"
        )

    expected, gradients = jax.value_and_grad(loss, argnums=(0, 1))(*arrays[:4])
    (peer,) = torch_losses.SOFT_LOSSES.values()
    found, peer_gradients = torch_losses.evaluate(peer, list(map(torch.from_numpy, arrays)), "forward_and_grad")
    assert float(found) == pytest.approx(float(expected), rel=PEER_TOLERANCE)
    for ours, theirs in zip(gradients, peer_gradients[:2], strict=True):
        np.testing.assert_allclose(theirs, ours, atol=PEER_TOLERANCE * np.abs(ours).max())
    alone = [torch.from_numpy(array[:1]) for array in arrays]
    found, peer_gradients = torch_losses.evaluate(peer, alone, "forward_and_grad")
    assert all(torch.isfinite(x).all() for x in (found, *peer_gradients))


def test_peers_are_finite_on_zeros_and_duplicates():
    image, *rest = problem.arrays(problem.Problem(n=6, k=2, h=8, image_inputs=12, text_inputs=10))
    image[1] = 0
    for array in (image, *rest):
        array[4] = array[5]
    rest[3][2] = 0
    for arrays in ([image, *rest], [array[4:] for array in (image, *rest)], [array[:1] for array in (image, *rest)]):
        for peer in torch_losses.LOSSES.values():
            tensors = [torch.from_numpy(array) for array in arrays]
            loss, gradients = torch_losses.evaluate(peer, tensors, "forward_and_grad")
            assert all(torch.isfinite(x).all() for x in (loss, *gradients))


@pytest.mark.slow
def test_a_peer_in_a_run_has_its_own_ceiling_and_its_memory_measured(tmp_path):
    out = tmp_path / "found.json"
    flags = ("--sizes=4", "--mode=forward", "--precisions", "highest", "bfloat16", "--implementations=torch-matmul")
    assert benchmark("loss", *SMALL, *flags, f"--out={out}") == 0
    found = json.loads(out.read_text())
    (one,) = found["rows"]
    assert one["library"] == "torch" and one["memory_bytes"] > 0 and one["temp_bytes"] is None
    rate = one["flops"] / one["median_s"]
    ceilings = {library: of["highest"]["flops_per_s"] for library, of in found["ceilings"].items()}
    assert one["fraction_of_ceiling"] == pytest.approx(rate / ceilings["torch"])
    assert one["fraction_of_best_ceiling"] == pytest.approx(rate / max(ceilings.values()))


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile needs a C++ compiler")
def test_a_compiled_peer_computes_the_same_and_is_compiled_before_it_is_timed(tmp_path, capsys):
    out = tmp_path / "found.json"
    flags = ("--sizes=6", "--implementations", "torch-matmul", "torch-compiled")
    assert benchmark("loss", *SMALL, *flags, f"--out={out}") == 0
    eager, compiled = json.loads(out.read_text())["rows"]
    assert (compiled["implementation"], compiled["library"], compiled["not_run"]) == ("torch-compiled", "torch", None)
    for figure in ("loss", "gradient_norm"):
        assert compiled[figure] == pytest.approx(eager[figure], rel=PEER_TOLERANCE)
    assert compiled["median_s"] < 0.1 * compiled["compile_s"] and eager["compile_s"] is None
    assert "compile s of torch-compiled is its first call" in capsys.readouterr().out


def test_a_compiler_that_fails_is_one_line_of_the_results(monkeypatch):
    def fail(*_):
        raise RuntimeError("backend='inductor' raised:\nInvalidCxxCompiler: No working C++ compiler\nmore")

    monkeypatch.setattr(torch, "compile", lambda function, **_: fail)
    asked = problem.Problem(n=6, k=2, h=8, image_inputs=12, text_inputs=10)
    row = results.Row(6, "torch-compiled", "forward", "highest", "torch")
    found, call = torch_losses.prepare(row, asked, problem.arrays(asked))
    expected = "torch.compile: backend='inductor' raised: InvalidCxxCompiler: No working C++ compiler"
    assert found.not_run == expected and call is None


def test_the_compiled_peer_runs_only_where_it_is_named():
    assert problem.COMPILED in problem.IMPLEMENTATIONS and problem.COMPILED in problem.TRAINERS
    assert problem.COMPILED not in problem.choose(None, problem.IMPLEMENTATIONS, {})
    assert problem.choose([problem.COMPILED], problem.IMPLEMENTATIONS, {}) == [problem.COMPILED]
