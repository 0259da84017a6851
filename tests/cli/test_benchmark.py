"""`gpldan benchmark`: its flags, the files it writes, and its exit status."""

import importlib.util
import json
import subprocess
import sys

import jax
import pytest

from tests.benchmarking.records import assert_one_line, benchmark
from tests.commands import ROOT

TINY = ("--width=16", "--representations=2", "--image_inputs=6", "--text_inputs=5", "--ceiling_size=16", "--rounds=2")


def run_loss(out, *flags):
    return benchmark("loss", *TINY, "--sizes=4", "--mode=forward", "--implementations=dense", f"--out={out}", *flags)


@pytest.mark.parametrize(
    "flags, message",
    [
        ([], "command"),
        (["losss"], "invalid choice: 'losss'"),
        (["loss", "--size=4"], "unexpected argument '--size=4'"),
        (["loss", "--sizes=0"], "must be at least 1, got 0"),
        (["loss", "--sizes=x"], "'x'"),
        (["loss", "--implementations=fast"], "invalid choice: 'fast'"),
        (["loss", "--representations=3"], "--representations must divide --width, got 3 and 1024"),
        (["loss", "--out=found.txt"], "found.txt must end in .json"),
        (["loss", "--out=/dev/null/found.json"], "cannot write /dev/null/found.json"),
        (["loss", "--implementations=sharded"], "sharded needs more than one device: --devices 2"),
        (["train", "--config=nothere.py", "more"], "unexpected argument 'more'"),
        (["train", "--config=nothere.py"], "no config file nothere.py"),
        (["train"], "give --config=FILE or --dataset=NAME"),
        (["quality", "--dataset=emoji", "--target=1", "--config.train.selection=last"], "must be map, recall"),
        (["search", "--width=10", "--representations=4"], "--representations must divide --width, got 4 and 10"),
        (["search", "--implementations", "numpy"], "invalid choice: 'numpy'"),
        (["search", "--folder=nowhere"], "--folder must be a folder that exists, got nowhere"),
        (["compile", "--platform=gpu"], "invalid choice: 'gpu'"),
        (["compile", "--platform=cpu", "--topology=v5e:2x2"], "--topology is of accelerators, --platform=cpu has none"),
        (
            ["compile", "--topology=v9:2x2"],
            "--topology must be like v5e:2x2, a generation and a shape, of v4, v5e, v5p",
        ),
        (["compile", "--platform=cpu", "--width=10"], "--representations must divide --width, got 4 and 10"),
        (["compile", "--what=step", "--precisions=default", "--platform=cpu"], "--precisions of --what=step must be"),
        (["compile", "--platform=cpu", "--by_host"], "--by_host is of --what=loss and all devices"),
        (["compare", "nothere.json", "nothere.json"], "nothere.json cannot be read"),
    ],
)
def test_bad_flags_get_one_line_and_write_nothing(tmp_path, monkeypatch, capsys, flags, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert benchmark(*flags) == 2
    assert_one_line(capsys, message)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "missing, flags, message",
    [
        ("torch", ["loss", "--implementations=torch-matmul"], "pip install 'gpldan_jax[peers]'"),
        ("matplotlib", ["plot", "found.json", "--out=found.png"], "pip install 'gpldan_jax[plots]'"),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_extra(tmp_path, monkeypatch, capsys, missing, flags, message):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    monkeypatch.chdir(tmp_path)
    assert benchmark(*flags) == 2
    assert_one_line(capsys, message)


@pytest.mark.slow
def test_a_run_draws_and_compares_itself(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    first, again, plot = (tmp_path / name for name in ("first.json", "again.json", "found.png"))
    assert run_loss(first, f"--plot={plot}") == 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert run_loss(again, f"--compare={first}", "--threshold=1e-9") == 0
    assert "old time / new time" in capsys.readouterr().out
    assert run_loss(again, f"--compare={first}", "--threshold=1e9") == 1
    assert run_loss(again, f"--compare={tmp_path / 'nothere.json'}") == 2


def test_a_mistyped_flag_does_not_wait_for_jax_or_torch():
    code = (
        "import runpy, sys; sys.argv = ['benchmark.py', 'loss', '--sises=4']\n"
        "try: runpy.run_path('experiments/benchmark.py', run_name='__main__')\n"
        "except SystemExit as end: print(end.code, 'jax' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["2", "False", "False"], done.stderr


@pytest.mark.slow
def test_the_file_says_how_it_was_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert benchmark("loss", *TINY, "--sizes=4", "--mode=forward", "--implementations=dense") == 0
    (file,) = (tmp_path / "runs").iterdir()
    found = json.loads(file.read_text())
    assert list(found)[:5] == ["benchmark", "problem", "block_size", "ceilings", "rows"]
    assert list(found)[5:] == ["machine", "date", "command", "commit", "peak_memory_bytes", "sha256"]
    assert file.name.startswith("benchmark-loss-") and file.name.endswith(f"-{found['date']}.json")
    flags = f"{' '.join(TINY)} --sizes=4 --mode=forward --implementations=dense"
    assert found["command"] == f"gpldan benchmark loss {flags}"
