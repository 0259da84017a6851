"""Checkpoints that were damaged on the disk: noticed before they are used, and what is used in their place."""

import contextlib
import random
import shutil
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpldan_jax import training
from gpldan_jax._checksums import FOLDER_FILE
from tests.damage import damage, files_below

SHARDING = jax.sharding.SingleDeviceSharding(jax.devices()[0])


def state(step):
    return {"weights": jnp.arange(64.0) + step, "step": jnp.int32(step)}


def save(folder, *steps):
    with contextlib.closing(training.Checkpoints(folder)) as checkpoints:
        for step in steps:
            checkpoints.save(step, state(step), {"epoch": step}, keep={steps[0]})


def restore(folder):
    with contextlib.closing(training.Checkpoints(folder)) as checkpoints:
        step = checkpoints.latest()
        found, progress = checkpoints.restore(jax.eval_shape(lambda: state(0)), step, SHARDING)
    assert progress == {"epoch": step}
    np.testing.assert_array_equal(found["weights"], state(step)["weights"])
    return step


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a run after steps 1, 2, 3 and 4, of which 1 is the selected one."""
    save(folder := tmp_path_factory.mktemp("saved") / "checkpoints", 1, 2, 3, 4)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "checkpoints")
    return tmp_path / "checkpoints"


def test_the_latest_two_are_kept_and_what_they_need(folder):
    assert sorted(int(path.name) for path in folder.iterdir()) == [1, 3, 4]
    assert restore(folder) == 4


def test_any_damage_of_the_latest_is_named_and_the_one_before_is_taken(folder):
    rng = random.Random(0)
    for path in files_below(folder / "4"):
        before = path.read_bytes()
        damage(path, rng)
        with pytest.warns(UserWarning, match=rf"{path} .*; going on after step 3, the checkpoint before"):
            assert restore(folder) == 3
        path.write_bytes(before)


def test_the_damaged_one_is_written_again(folder):
    damage(files_below(folder / "4")[-1], random.Random(1))
    with contextlib.closing(training.Checkpoints(folder)) as checkpoints, pytest.warns(UserWarning, match="step 3"):
        checkpoints.latest()
        checkpoints.save(4, state(4), {"epoch": 4}, keep={1})
    assert restore(folder) == 4


def test_without_a_whole_one_the_error_names_the_file(folder):
    (file,) = [path for path in files_below(folder / "1") if path.name == "_METADATA"]
    file.write_bytes(file.read_bytes()[:-1])  # the selected one, which both others need
    with pytest.raises(ValueError, match=rf"{file} is damaged: expected \d+ bytes, .*no other checkpoint is whole"):
        restore(folder)
    shutil.rmtree(folder / "1")
    with pytest.raises(ValueError, match=r"/1 is missing, and no other checkpoint is whole; use fresh to start over"):
        restore(folder)


def test_a_damaged_one_that_orbax_cannot_read_keeps_nobody_out(folder):
    (folder / "3" / "_CHECKPOINT_METADATA").write_text("[[5]]\n")
    with pytest.warns(UserWarning, match=r"3/_CHECKPOINT_METADATA is damaged: .*; this checkpoint is deleted"):
        assert restore(folder) == 4
    assert sorted(int(path.name) for path in folder.iterdir()) == [1, 4]
    for step in (1, 4):
        (folder / str(step) / "_CHECKPOINT_METADATA").write_text("[[5]]\n")
    with pytest.raises(ValueError, match=r"_CHECKPOINT_METADATA is damaged: .*no other checkpoint is whole; use fresh"):
        restore(folder)


def test_one_that_was_killed_before_its_checksums_is_not_used(folder):
    (folder / "4" / FOLDER_FILE).unlink()
    with pytest.warns(UserWarning, match=rf"4/{FOLDER_FILE} is missing; going on after step 3"):
        assert restore(folder) == 3


def test_those_of_older_versions_open_and_say_that_nothing_is_known(folder):
    for path in folder.glob(f"*/{FOLDER_FILE}"):
        path.unlink()
    with pytest.warns(UserWarning, match=r"/4 has no checksums, as those of older versions: whether it is damaged"):
        assert restore(folder) == 4
    for path in files_below(folder / "4"):
        path.write_bytes(b"")
    with warnings.catch_warnings(), pytest.raises(ValueError, match=r"/4 has no checksums and cannot be read"):
        warnings.simplefilter("ignore")
        restore(folder)
