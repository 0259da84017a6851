"""The command line: what it prints, what it writes, and what it refuses with exit status 2."""

import importlib.util
import json
import subprocess
import sys
import time

import numpy as np
import pytest

from gpldan_jax import models
from tests.commands import ROOT, SMALL

# What --help and a typing error may take; jax alone needs longer to import.
ANSWER_SECONDS = 1.5


@pytest.mark.slow
def test_a_run_from_features_to_results(run, features, tmp_path):
    flags = (*SMALL, f"--config.dataset.path={features}", "--config.train.epochs=3", f"--workdir={tmp_path / 'run'}")
    first = run(*flags)
    assert first.returncode == 0, first.stderr
    assert "epoch 3/3" in first.stdout and "map@50" in first.stdout
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    for split in ("test", "validation"):
        expected = {"agreement@50", "map@50", "map@50_trec", "map@all", "recall@1", "recall@5", "recall@10"}
        assert set(results[split]) == expected
        for figures in results[split].values():
            assert figures["average"] == pytest.approx((figures["image_to_text"] + figures["text_to_image"]) / 2)
    assert results["test"]["recall@10"]["average"] > 2 * results["chance"]["recall@10"]
    model = models.load_model(tmp_path / "run" / "model.safetensors")
    assert model.metadata["dataset"] == "mine" and model.projector.width == 16
    assert {p.name for p in (tmp_path / "run").iterdir()} >= {"config.json", "metrics.jsonl", "checkpoints"}
    if importlib.util.find_spec("tensorboardX"):
        assert list((tmp_path / "run" / "tensorboard").glob("events*"))

    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*") if p.name != ".lock"}
    again = run(*flags)
    assert again.returncode == 0 and "is finished" in again.stdout and "map@50" in again.stdout
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*") if p.name != ".lock"}

    changed = run(*flags, "--config.loss.alpha=0.5")
    assert changed.returncode == 2
    assert "loss.alpha: 1.0 there, 0.5 now" in changed.stderr and len(changed.stderr.splitlines()) == 1

    fresh = run(*flags, "--config.loss.alpha=0.5", "--fresh")
    assert fresh.returncode == 0, fresh.stderr
    assert "epoch 1/3" in fresh.stdout


@pytest.mark.slow
def test_without_labels_it_trains_and_reports_recall(run, features, tmp_path):
    groups = np.arange(1000) // 5
    with np.load(features) as arrays:
        np.savez(tmp_path / "bare.npz", image=arrays["image"][5 * groups], text=arrays["text"], group=groups)
    bare = run(*SMALL, f"--config.dataset.path={tmp_path / 'bare.npz'}", "--config.train.epochs=1", "--workdir=bare")
    assert bare.returncode == 0, bare.stderr
    results = json.loads((tmp_path / "somewhere" / "bare" / "results.json").read_text())
    assert set(results["test"]) == {"agreement@50", "recall@1", "recall@5", "recall@10"}
    assert results["test_items"] == {"images": 20, "texts": 100}
    assert "test ranks 20 images and 100 texts" in bare.stdout


@pytest.mark.slow
def test_a_synthetic_run_says_so_everywhere(run, tmp_path):
    done = run(*SMALL, "--config.dataset.synthetic", "--config.train.epochs=1")
    assert done.returncode == 0, done.stderr
    workdir = tmp_path / "somewhere" / "runs" / "npz-synthetic"
    assert all("synthetic" in line for line in done.stdout.splitlines() if "epoch" in line)
    assert json.loads((workdir / "results.json").read_text())["synthetic"] is True
    assert all(json.loads(line)["synthetic"] for line in (workdir / "metrics.jsonl").read_text().splitlines())
    assert "synthetic" in models.load_model(workdir / "model.safetensors").metadata["dataset"]


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--config.loss.alpa=1"], "unknown config key loss.alpa, did you mean loss.alpha?"),
        (["--config.loss.alpha=-1"], "config.loss.alpha must be a number of at least 0, got -1.0"),
        (["--config.loss.alpha=x"], "config.loss.alpha"),
        (
            ["--config.loss.discrepancy=abs"],
            "config.loss.discrepancy must be one of absolute, squared, signed, got 'abs'",
        ),
        (["--config.model.parts=3"], "config.model.parts must divide config.model.width, got 3 and 1024"),
        (["--config.train.epochs=-1"], "config.train.epochs must be a whole number of at least 0, got -1"),
        (["--fresch"], "did you mean --fresh?"),
        (["extra"], "unexpected argument 'extra'"),
    ],
)
def test_a_mistyped_flag_gets_one_line_at_once(run, tmp_path, flags, message):
    started = time.perf_counter()
    refused = run(*flags)
    seconds = time.perf_counter() - started
    assert refused.returncode == 2
    assert message in refused.stderr and len(refused.stderr.splitlines()) == 1
    assert not list((tmp_path / "somewhere").iterdir())
    assert "jax" not in refused.stderr
    print(f"answered in {seconds:.2f} s, aim {ANSWER_SECONDS}")


@pytest.mark.slow
@pytest.mark.parametrize(
    "config, flags, message",
    [
        ("nothere.py", [], "no config file"),
        ("wikipedia.py:vgg", [], "unknown variant of wikipedia 'vgg'"),
        ("xmedia.py", ["--config.dataset.path=/nowhere"], "XMediaFeatures.mat"),
        ("npz.py", [], "path"),
        (
            "emoji.py",
            ["--config.train.batch_size=5000"],
            "batch_size must not exceed the training pairs of emoji, 1400",
        ),
        (
            "npz.py",
            ["--config.dataset.synthetic", "--workdir=/dev/null/run"],
            "cannot write to the workdir /dev/null/run",
        ),
    ],
)
def test_bad_input_is_refused_and_nothing_written(run, tmp_path, config, flags, message):
    refused = run(*flags, config=config)
    assert refused.returncode == 2, refused.stderr
    assert message in refused.stderr and "Traceback" not in refused.stderr
    assert not list((tmp_path / "somewhere").iterdir())


@pytest.mark.slow
def test_a_class_that_train_lacks_is_a_warning(run, features, tmp_path):
    with np.load(features) as arrays:
        arrays = dict(arrays)
    arrays["label"][-1] = 7
    np.savez(features, **arrays)
    warned = run(*SMALL, f"--config.dataset.path={features}", "--config.train.epochs=1", "--workdir=w")
    assert warned.returncode == 0
    assert warned.stderr.splitlines() == ["warning: mine test: train has no pair of class 7"]


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_run_with_its_step_and_term(run, features, tmp_path):
    stopped = run(*SMALL, f"--config.dataset.path={features}", "--config.optim.learning_rate=1e38", "--workdir=w")
    assert stopped.returncode == 1
    assert "loss is" in stopped.stderr and "at step" in stopped.stderr and "Traceback" not in stopped.stderr
    assert not (tmp_path / "somewhere" / "w" / "results.json").exists()


@pytest.mark.slow
def test_data_with_nan_name_the_rows(run, features, tmp_path):
    with np.load(features) as arrays:
        arrays = dict(arrays)
    arrays["text"][[3, 5], 0] = np.nan
    np.savez(features, **arrays)
    refused = run(*SMALL, f"--config.dataset.path={features}")
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1
    assert "mine.npz" in refused.stderr and "rows 3, 5" in refused.stderr


def test_help_and_config_errors_do_not_import_jax():
    # Counting modules instead of seconds: the import of jax is what would make the answer slow.
    code = (
        "import sys; sys.argv = ['run.py', '--config=configs/emoji.py', '--config.loss.alpa=1'];"
        "import runpy\n"
        "try: runpy.run_path('experiments/run.py', run_name='__main__')\n"
        "except SystemExit as end: print(end.code, 'jax' in sys.modules, 'orbax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["2", "False", "False"], done.stderr


def test_help_lists_the_flags():
    done = subprocess.run(
        [sys.executable, ROOT / "experiments" / "run.py", "--help"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0
    for flag in ("--config", "--workdir", "--fresh"):
        assert flag in done.stdout.replace("--[no]", "--")
    assert "configs/emoji.py" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("on_disk", [False, True])
def test_features_with_a_large_offset_train_as_those_without(run, features, tmp_path, on_disk):
    with np.load(features) as arrays:
        known = dict(arrays)
    known["image"][:, :3] = 0.5
    figures, models_ = {}, {}
    for name, offset in (("near", 0.0), ("far", 1.7e9)):
        arrays = known | {side: known[side] + offset for side in ("image", "text")}
        (tmp_path / name).mkdir()
        for key, values in arrays.items():
            np.save(tmp_path / name / f"{key}.npy", values)
        flags = (*SMALL, f"--data={tmp_path / name}", "--config.train.epochs=5", f"--workdir={tmp_path / name}-run")
        done = run(*flags, *(["--config.mesh.resident=false"] if on_disk else []))
        assert done.returncode == 0, done.stderr
        assert "no information in 3 of 30 image columns (constant in training)\n" in done.stdout
        results = json.loads((tmp_path / f"{name}-run" / "results.json").read_text())
        figures[name] = results["test"]["map@50"]["average"], results["test"]["recall@10"]["average"]
        models_[name] = models.load_model(tmp_path / f"{name}-run")
        assert figures[name][1] > 2 * results["chance"]["recall@10"]
    assert figures["far"] == pytest.approx(figures["near"], abs=0.02)
    assert models_["far"].standardization.image_mean.dtype == np.float64
    distances = [
        models_[name].distances(known["image"][:20] + offset, known["text"][:20] + offset)
        for name, offset in (("near", 0.0), ("far", 1.7e9))
    ]
    np.testing.assert_allclose(*distances, atol=0.02)


@pytest.mark.slow
def test_features_without_information_are_refused_by_name(run, features, tmp_path):
    with np.load(features) as arrays:
        np.savez(tmp_path / "flat.npz", **(dict(arrays) | {"text": np.full((1000, 20), 0.1)}))
    done = run(*SMALL, f"--data={tmp_path / 'flat.npz'}", f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and not (tmp_path / "run").exists()
    assert done.stderr.startswith("error: flat train texts: all 20 columns are constant, so there is nothing to learn")
