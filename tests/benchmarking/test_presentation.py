"""What a benchmark prints and draws."""

import pytest

from gpldan_jax.benchmarking import presentation
from gpldan_jax.benchmarking.training_times import Outcome
from tests.benchmarking.records import assert_one_line, benchmark, record, row, write


def test_the_tables_of_a_record(capsys):
    rows = [
        row(min_s=1.0, pairs_per_s=4.0, fraction_of_ceiling=0.25),
        row(n=4096, median_s=None, not_run="does not fit", mode="forward_and_grad", loss=None),
    ]
    presentation.show(record() | {"rows": rows})
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[0] == "value, Tiny, 1 cores"
    assert lines[1] == "n implementation precision median ms min ms pairs/s of ceiling memory MB loss"
    assert lines[3] == "8 dense highest 2,000 1,000 4 25.0% 0.001 1.00000"
    assert "value and gradient, Tiny, 1 cores" in lines
    assert lines[-3] == "ceiling: jax, highest: 1.0 Gflop/s (1 x 1 x 1)"
    assert lines[-2].startswith("some medians are far above the minimum")
    assert lines[-1] == "dense, value and gradient, highest, n = 4096: does not fit"


def test_the_table_of_times_to_quality(capsys):
    outcomes = [Outcome("step", "jax", 2.0, epoch_s=(1.5, 0.5), values=(0.1, 0.25), train_s=2.0, reached_epoch=2)]
    outcomes.append(Outcome("torch-matmul", "torch", 0.0, epoch_s=(3.0,), values=(0.15,), train_s=3.0))
    problem = {"train": {"selection": "map"}, "denoise": {"image": 0.5}}
    content = {"benchmark": "quality", "problem": problem, "dataset": "emoji", "target": 0.2, "rows": outcomes}
    presentation.show(record() | content, markdown=True)
    lines = [line.replace(" ", "") for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[0] == "timetoquality,emoji,Tiny,1cores:validationmap@50of0.2"
    assert lines[1] == "|implementation|reached|trainings|compilations|validationmap@50|best|"
    assert lines[3:5] == ["|step|epoch2|2|2|0.2500|0.2500|", "|torch-matmul|notbyepoch1|3|0|0.1500|0.1500|"]
    assert lines[-1].startswith("inputsaredenoised")


def test_a_plot_is_made(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    rows = [row(), row(n=64, median_s=None, not_run="does not fit"), row(precision="highest", implementation="vmap")]
    file = write(tmp_path / "found.json", record(*rows))
    assert benchmark("plot", file, file, f"--out={tmp_path / 'found.png'}") == 0
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 2
    nothing = write(tmp_path / "nothing.json", record(row(median_s=None)))
    assert benchmark("plot", nothing, f"--out={tmp_path / 'nothing.png'}") == 2
    assert_one_line(capsys, "nothing to plot")
