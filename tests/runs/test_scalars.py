"""The scalars for TensorBoard: what the file holds, and that a full disk is an error and no wait for ever."""

import builtins
import errno
import os
import struct

import pytest

from gpldan_jax.runs.scalars import ScalarWriter, scalars_of

RECORD = {"epoch": 2, "step": 6, "selected": True, "loss": 0.5, "validation": {"map@50": {"average": 0.25}}}


def events(folder):
    """The events of the only file in a folder: each is a length, its CRC, a protobuf and its CRC."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2", reason="tensorboardX is not installed")
    (path,) = folder.glob("events*")
    content, found = path.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        found.append(event_pb2.Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    return found


def test_scalars_are_written_with_their_steps(tmp_path):
    writer = ScalarWriter(tmp_path / "tensorboard", 3)
    for name, value in scalars_of(RECORD):
        writer.add(name, value, RECORD["step"])
    writer.close()
    version, _, start, *scalars = events(tmp_path / "tensorboard")
    assert version.file_version == "brain.Event:2"
    assert start.step == 3 and start.session_log.status == start.session_log.START
    values = [(event.step, value.tag, value.simple_value) for event in scalars for value in event.summary.value]
    assert values == [(6, "train/loss", 0.5), (6, "validation/map_50", 0.25)]  # tensorboardX writes _ for @


def test_a_full_disk_is_an_error_of_the_run(tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    from tensorboardX.event_file_writer import EventsWriter

    writer = ScalarWriter(tmp_path / "tensorboard", 0)

    def refuse(self, event):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(EventsWriter, "write_event", refuse)
    with pytest.raises(OSError, match="No space left") as caught:
        writer.add("train/loss", 0.5, 1)
    assert caught.value.filename == str(tmp_path / "tensorboard")
    monkeypatch.undo()
    writer.close()


def test_without_tensorboardX_nothing_is_written(tmp_path, monkeypatch):
    importer = builtins.__import__

    def absent(name, *args, **kwargs):
        if name.startswith("tensorboardX"):
            raise ImportError(name)
        return importer(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    writer = ScalarWriter(tmp_path / "tensorboard", 3)
    writer.add("train/loss", 0.5, 1)
    writer.close()
    assert not (tmp_path / "tensorboard").exists()
