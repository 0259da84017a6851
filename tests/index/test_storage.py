"""The folder of an index: what comes back, what is refused, and that an interruption loses nothing."""

import json
import os
import pickle
import random
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gpldan_jax.index import DamagedIndexError, Index, storage
from tests.index import galleries

TEXTS = galleries.features(3, galleries.TEXT_DIM, seed=1)
N = 20


def build(n=N, seed=0, **options):
    names = [f"item {i}" for i in range(n)]
    fields = {"group": [f"group {i % 3}" for i in range(n)]}
    return Index.build(galleries.model(), galleries.features(n, seed=seed), names, "image", fields=fields, **options)


@pytest.fixture
def folder(tmp_path):
    build().save(tmp_path / "index")
    return tmp_path / "index"


def assert_same(one, other):
    for a, b in zip(one.search(TEXTS, N), other.search(TEXTS, N), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [one.entry(id).fields for id in one.ids.tolist()] == [other.entry(id).fields for id in other.ids.tolist()]


@pytest.mark.slow
def test_an_index_comes_back_as_it_was(folder):
    loaded = Index.load(folder)
    assert_same(loaded, build())
    assert loaded.modality == "image" and loaded.model.metadata == {"dataset": "generated"}
    values = loaded.gallery.segments[0].encoded.values
    assert isinstance(values.base, np.memmap) and not values.flags.writeable


def test_an_index_built_on_disk_is_the_one_built_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("gpldan_jax.index.gallery._BLOCK", 8)
    np.save(tmp_path / "features.npy", galleries.features(N))
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    fields = {"group": [f"group {i % 3}" for i in range(N)]}
    names = [f"item {i}" for i in range(N)]
    index = Index.build(galleries.model(), mapped, names, "image", fields=fields, folder=tmp_path / "index")
    assert_same(index, build())
    build().save(tmp_path / "other")
    written = [sorted(path.name for path in (tmp_path / name).iterdir()) for name in ("index", "other")]
    assert written[0] == written[1]  # the same content, so the same names


def test_segments_and_added_items_come_back(folder, monkeypatch):
    monkeypatch.setattr("gpldan_jax.index.index._SMALL", 0)
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("values-*")}
    index = Index.load(folder).add(galleries.features(5, seed=2), list("abcde"), fields={"group": ["x"] * 5})
    index.save(folder)
    loaded = Index.load(folder)
    assert len(loaded) == N + 5 and len(loaded.gallery.segments) == 2
    assert_same(loaded, index)
    assert loaded.entry("c").fields == {"group": "x"}
    after = {path.name: path.stat().st_mtime_ns for path in folder.glob("values-*")}
    assert before.items() < after.items()  # what was there was not written again


def test_an_index_can_be_saved_elsewhere(folder, tmp_path):
    Index.load(folder).save(tmp_path / "copy")
    for path in folder.iterdir():
        path.unlink()
    assert_same(Index.load(tmp_path / "copy"), build())


def test_saving_sweeps_up_what_is_no_longer_named(folder):
    names = {path.name for path in folder.iterdir()} - {".lock"}
    (folder / ".tmp-values").write_bytes(b"half a file")
    (folder / ".lock-holder").write_text("process 1 on a machine that is gone")
    build(seed=5).save(folder)
    left = {path.name for path in folder.iterdir()} - {".lock"}
    assert {path.split("-")[0] for path in names & left} == {"ids", "field", "index.json", "model"}
    assert len(left) == len(names)
    assert_same(Index.load(folder), build(seed=5))


def test_files_can_be_read_by_those_who_may(folder):
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~_umask(), path.name


@pytest.mark.slow
def test_a_vector_index_comes_back(folder):
    pytest.importorskip("faiss", reason="a search in two stages needs faiss")
    index = Index.load(folder).with_candidates().with_recall(TEXTS, 3, [5])
    index.save(folder)
    loaded = Index.load(folder)
    assert loaded.candidates.recalls == index.candidates.recalls
    np.testing.assert_array_equal(loaded.search(TEXTS, 3, candidates=5).ids, index.search(TEXTS, 3, candidates=5).ids)


@pytest.mark.parametrize("kind", ["values", "attention", "products", "ids", "field-group-ends", "field-group", "model"])
@pytest.mark.parametrize("damage", ["changed", "shorter", "missing"])
def test_damage_is_found_and_the_file_named(folder, kind, damage):
    file = next(path for path in folder.iterdir() if path.name.rsplit("-", 1)[0] == kind)
    content = bytearray(file.read_bytes())
    if damage == "changed":
        content[-1] ^= 1
        file.write_bytes(content)
        message = "is damaged: its SHA-256 is not that of the manifest"
    elif damage == "shorter":
        file.write_bytes(content[:-1])
        message = f"is damaged: expected {len(content)} bytes, found {len(content) - 1}"
    else:
        file.unlink()
        message = "cannot be read: No such file"
    with pytest.raises(DamagedIndexError, match=f"{file.name} {message}"):
        Index.load(folder)
    if damage != "changed":
        with pytest.raises(DamagedIndexError, match=file.name):
            Index.load(folder, verify=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "{", "index.json is damaged"),
        (lambda text: "[" * 100_000, "index.json is damaged"),
        (lambda text: "[]", "is not the manifest of an index of gpldan_jax"),
        (lambda text: text.replace("gpldan_jax index", "something"), "is not the manifest of an index of gpldan_jax"),
        (
            lambda text: text.replace('"version": 1', '"version": 2'),
            "is of version 2, expected 1; build the index again",
        ),
        (lambda text: text.replace('"file": "values-', '"file": "../values-'), "is no name of a file of an index"),
        (lambda text: text.replace('"file": "values-', '"file": "/etc/passwd-'), "is no name of a file of an index"),
        (lambda text: text.replace('"values"', '"other"'), "index.json is damaged: KeyError 'values'"),
        (lambda text: text.replace('"model"', '"other"'), "index.json is damaged: KeyError 'model'"),
        (
            lambda text: text.replace('"modality": "image"', '"modality": "sound"'),
            "index.json is damaged: .* expected modality .* got 'sound' and 1",
        ),
        (lambda text: text.replace(f'"items": {N}', f'"items": {N + 1}'), r"expected \[21, 8\] of kind 'f'"),
        (lambda text: text.replace(f'"items": {N}', '"items": "many"'), "items must be a number of at least 1"),
        (lambda text: json.dumps(json.loads(text) | {"segments": []}), "at least one segment, got 'image' and 0"),
    ],
)
def test_foreign_and_damaged_manifests_are_refused(folder, change, message):
    path = folder / "index.json"
    text = json.dumps(_manifest_without_digest(folder), indent=1)
    assert change(text) != text
    path.write_text(change(text))
    with pytest.raises(DamagedIndexError, match=message):
        Index.load(folder)


def test_a_changed_manifest_is_refused(folder):
    path = folder / "index.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 3'))
    for verify in (True, False):
        with pytest.raises(DamagedIndexError, match=rf"{path} is damaged: its content is not what its SHA-256 says"):
            Index.load(folder, verify=verify)


def test_no_pickle_is_read(folder):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {folder}/owned",)

    path = next(folder.glob("ids-*"))
    np.save(path, np.array([Evil()] * N, dtype=object), allow_pickle=True)
    _put_in_manifest(folder, path)
    with pytest.raises(DamagedIndexError, match=r"expected \[20\] of kind 'Uiu', found \[20\] object"):
        Index.load(folder)
    path.write_bytes(pickle.dumps(Evil()))
    _put_in_manifest(folder, path)
    with pytest.raises(DamagedIndexError, match=f"{path.name} is damaged"):
        Index.load(folder)
    assert not (folder / "owned").exists()


def test_no_index_and_other_folders_are_refused(tmp_path):
    with pytest.raises(DamagedIndexError, match=r"is no index of gpldan_jax: there is no index\.json"):
        Index.load(tmp_path)
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DamagedIndexError, match=r"holds other files \(thesis\.tex\); choose an empty or a new folder"):
        build().save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_one_writes_at_a_time(folder):
    with (
        storage.locked_folder(folder),
        pytest.raises(DamagedIndexError, match=r"is in use by process [0-9]+ on .*; wait until it has finished"),
    ):
        build().save(folder)
    build().save(folder)


@pytest.mark.slow
@pytest.mark.parametrize("failing", ["replace", "fsync", "write_array_header_1_0"])
def test_a_failure_leaves_the_index_there_was(folder, failing, monkeypatch):
    module, calls = (np.lib.format if failing.startswith("write") else os), []
    real = getattr(module, failing)
    for last in range(30):
        calls.clear()

        def fails(*args, last=last):
            calls.append(args)
            if len(calls) > last:
                raise OSError("no space left")
            return real(*args)

        with monkeypatch.context() as patch:
            patch.setattr(module, failing, fails)
            try:
                build(seed=7).save(folder)
            except OSError:
                pass
            else:
                break
        found = Index.load(folder)
        assert not list(folder.glob(".tmp-*"))
        if not np.array_equal(found.search(TEXTS, N).ids, build().search(TEXTS, N).ids):
            assert_same(found, build(seed=7))  # it failed after the rename that counts
    else:
        raise AssertionError("it never came through")
    assert last > 2
    assert_same(Index.load(folder), build(seed=7))


_BUILDER = """
import sys
import numpy as np
from gpldan_jax.index import Index
from tests.index import galleries
seed = 1
print("ready", flush=True)
while True:
    Index.build(galleries.model(), galleries.features(3000, seed=seed), range(3000), "image", folder=sys.argv[1])
    seed = 3 - seed
"""


@pytest.mark.slow
def test_killing_a_build_leaves_a_whole_index(tmp_path, quick_environment):
    folder = tmp_path / "index"
    features = {seed: galleries.features(3000, seed=seed) for seed in (0, 1, 2)}
    Index.build(galleries.model(), features[0], range(3000), "image", folder=folder)
    expected = {
        seed: Index.build(galleries.model(), of, range(3000), "image").search(TEXTS, 5).ids.tolist()
        for seed, of in features.items()
    }
    drawn, found = random.Random(0), set()
    for _ in range(4):
        environment = os.environ | quick_environment
        process = subprocess.Popen(
            [sys.executable, "-c", _BUILDER, str(folder)],
            cwd=Path(__file__).parents[2],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == "ready\n"
        time.sleep(drawn.uniform(0.2, 2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        left = Index.load(folder)  # every checksum
        (seed,) = (seed for seed, ids in expected.items() if ids == left.search(TEXTS, 5).ids.tolist())
        found.add(seed)
    assert found  # whichever was there last, it was whole
    build().save(folder)
    assert not list(folder.glob(".tmp-*"))


def _manifest_without_digest(folder):
    """As in an index of an older version: what a reader checks beyond the digest."""
    manifest = json.loads((folder / "index.json").read_text())
    manifest.pop("sha256", None)
    return manifest


def _put_in_manifest(folder, path):
    manifest = _manifest_without_digest(folder)
    for file in manifest["segments"][0]["files"].values():
        if file["file"] == path.name:
            file |= {"bytes": path.stat().st_size, "sha256": storage.sha256_of(path)}
    (folder / "index.json").write_text(json.dumps(manifest))


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_without_verify_small_files_are_compared(folder, monkeypatch):
    file = next(folder.glob("field-group-[0-9a-f]*.npy"))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedIndexError, match=f"{file.name} is damaged"):
        Index.load(folder, verify=False)
    monkeypatch.setattr(storage, "_SMALL", 0)  # larger ones are not
    assert len(Index.load(folder, verify=False)) == N
