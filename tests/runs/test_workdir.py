"""The folder of a run: who may use it, what it refuses, and what a crash leaves."""

import contextlib
import json
import random
import subprocess
import sys

import pytest

from gpldan_jax import _checksums
from gpldan_jax.runs import workdir
from tests.damage import damage

RUN = {"config": {"loss": {"alpha": 1.0}, "train": {"seed": 0}}, "data": "abc"}


def test_a_run_is_opened_again_with_the_same_config(tmp_path):
    for _ in range(2):
        with workdir.open_workdir(tmp_path / "a" / "b", RUN) as directory:
            assert workdir.read_json(directory / "config.json") == RUN


def test_a_changed_config_is_refused_naming_the_keys(tmp_path):
    with workdir.open_workdir(tmp_path, RUN):
        pass
    changed = {"config": {"loss": {"alpha": 0.5}, "train": {"seed": 0, "epochs": 3}}, "data": "abc"}
    with (
        pytest.raises(workdir.WorkdirError, match=r"loss.alpha: 1.0 there, 0.5 now; train.epochs: 20 there, 3 now"),
        workdir.open_workdir(tmp_path, changed),
    ):
        pass
    assert workdir.read_json(tmp_path / "config.json") == RUN


def test_other_devices_do_not_make_another_run(tmp_path):
    for devices in (1, 4):
        with workdir.open_workdir(tmp_path, RUN | {"config": RUN["config"] | {"mesh": {"data": devices}}}):
            pass


def test_changed_data_are_refused(tmp_path):
    with workdir.open_workdir(tmp_path, RUN):
        pass
    with (
        pytest.raises(workdir.WorkdirError, match="the data are not those"),
        workdir.open_workdir(tmp_path, RUN | {"data": "x"}),
    ):
        pass


def test_another_process_is_refused_naming_the_first(tmp_path):
    code = (
        "import sys; from gpldan_jax.runs import workdir\n"
        f"with workdir.open_workdir({str(tmp_path)!r}, {RUN!r}): print('in', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "in\n"
        with (
            pytest.raises(workdir.WorkdirError, match=f"in use by process {holder.pid} on "),
            workdir.open_workdir(tmp_path, RUN, fresh=True),
        ):
            pass
        holder.kill()
    with workdir.open_workdir(tmp_path, RUN):  # killed, not released: the kernel has let go of the lock
        pass


def test_fresh_deletes_the_run_and_nothing_else(tmp_path):
    with workdir.open_workdir(tmp_path, RUN):
        (tmp_path / "checkpoints" / "5").mkdir(parents=True)
        (tmp_path / "results.json").write_text("{}")
        (tmp_path / "notes.txt").write_text("mine")
    changed = {"config": {}, "data": "new"}
    with workdir.open_workdir(tmp_path, changed, fresh=True):
        assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", ".lock-holder", "config.json", "notes.txt"]
        assert workdir.read_json(tmp_path / "config.json") == changed


@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_with_something_else_is_refused_and_left_alone(tmp_path, fresh):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(workdir.WorkdirError, match=r"thesis.tex"), workdir.open_workdir(tmp_path, RUN, fresh=fresh):
        pass
    assert (tmp_path / "thesis.tex").read_text() == "x"
    assert not (tmp_path / "config.json").exists()


def test_a_run_killed_while_it_wrote_its_config_can_start_again(tmp_path):
    (tmp_path / ".lock").write_text("process 1")
    (tmp_path / "config.json.tmp").write_text('{"conf')
    with workdir.open_workdir(tmp_path, RUN):
        assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", ".lock-holder", "config.json"]


def test_a_place_one_cannot_write_to_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(workdir.WorkdirError, match=r"cannot write to the workdir .*file/run"),
        workdir.open_workdir(tmp_path / "file" / "run", RUN),
    ):
        pass


def test_a_damaged_config_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"config":')
    with (
        pytest.raises(workdir.WorkdirError, match=r"config.json is damaged: .*; use fresh to start over"),
        workdir.open_workdir(tmp_path, RUN),
    ):
        pass


def test_records_after_the_checkpoint_and_half_lines_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert workdir.keep_records(path, 0) == ""  # nothing there yet
    for epoch in (1, 2, 3):
        workdir.append_record(path, {"epoch": epoch})
    with open(path, "a") as file:
        file.write('{"epoch": 4, "lo')
    assert workdir.keep_records(path, 2) == ""
    assert workdir.read_records(path, {"epochs": 2}) == [{"epoch": 1}, {"epoch": 2}]


RECORDS = [{"epoch": epoch, "loss": 1 / epoch} for epoch in (1, 2, 3)]


def written(path, records, crc=True):
    path.write_text("".join((_checksums.checked_line if crc else json.dumps)(record) + "\n" for record in records))


def test_damaged_records_are_written_again_from_those_of_the_checkpoint(tmp_path):
    path, rng = tmp_path / "metrics.jsonl", random.Random(0)
    for _ in range(30):
        written(path, RECORDS)
        whole = path.read_bytes()
        damage(path, rng)
        assert "is written again from the checkpoint" in workdir.keep_records(path, 3, RECORDS)
        assert path.read_bytes() == whole
    path.write_text("5\n")
    assert workdir.keep_records(path, 3, RECORDS) and path.read_bytes() == whole
    path.unlink()
    assert workdir.keep_records(path, 3, RECORDS) and path.read_bytes() == whole
    assert workdir.keep_records(path, 3, RECORDS) == ""


def test_records_that_no_checkpoint_has_are_checked_and_kept(tmp_path):
    path = tmp_path / "metrics.jsonl"
    written(path, RECORDS[:2], crc=False)  # of an older version
    before = path.read_text()
    assert workdir.keep_records(path, 3, RECORDS[2:]) != ""  # the third line was missing
    assert path.read_text() == before + _checksums.checked_line(RECORDS[2]) + "\n"
    assert workdir.keep_records(path, 3, RECORDS[2:]) == "" and workdir.read_records(path, {"epochs": 3}) == RECORDS
    for text, message in [
        ("5\n", "line 1: expected a JSON object, found int"),
        ('{"epoch": 1}\n{"epoch": 1}\n', "line 2: expected epoch 2, found 1"),
        ('{"epoch": 1}\n', "it lacks the line of epoch 2"),
        ('{"epoch": 1, "crc33": "00000000"}\n', "line 1: a text where a number was expected"),
    ]:
        path.write_text(text)
        with pytest.raises(workdir.WorkdirError, match=rf"{path} is damaged: {message}; delete it to go on without"):
            workdir.keep_records(path, 3, RECORDS[2:])
    path.unlink()
    assert workdir.keep_records(path, 3) == f"{path} is gone, and with it the records of 3 epochs"


def test_records_that_are_damaged_or_missing_are_not_read(tmp_path):
    path, rng = tmp_path / "metrics.jsonl", random.Random(1)
    for _ in range(60):
        written(path, RECORDS)
        done = damage(path, rng)
        with contextlib.suppress(ValueError):
            # What may differ is the line break at the end.
            assert workdir.read_records(path, {"epochs": 3}) == RECORDS, done


@pytest.mark.parametrize("lost", [0, -1])
def test_a_first_or_last_line_that_is_missing_is_damage(tmp_path, lost):
    written(path := tmp_path / "metrics.jsonl", RECORDS)
    lines = path.read_text().splitlines(keepends=True)
    del lines[lost]
    path.write_text("".join(lines))
    with pytest.raises(ValueError, match=r"metrics.jsonl is damaged: expected the epochs 1 to 3, found "):
        workdir.read_records(path, {"epochs": 3})
    kept = {"epochs": 3 if lost == 0 else 2, "recorded_from": 2 if lost == 0 else 1}
    assert len(workdir.read_records(path, kept)) == len(workdir.read_records(path)) == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [("5", "expected a JSON object, found int"), ("{}", "expected 'slice' as int, there is none"),
     ('{"slice": "3"}', "expected 'slice' as int, found str")],
)  # fmt: skip
def test_a_file_without_what_is_needed_is_damaged(tmp_path, content, reason):
    path = tmp_path / "slices.json"
    path.write_text(content)
    with pytest.raises(workdir.WorkdirError, match=f"slices.json is damaged: {reason}; delete it"):
        workdir.read_json(path, {"slice": int})
