"""What made a result."""

import subprocess

from gpldan_jax.runs import provenance


def test_versions_name_packages_python_and_device():
    found = provenance.versions()
    assert {"gpldan_jax", "jax", "jaxlib", "flax", "optax", "numpy", "python", "device"} <= found.keys()
    assert all(isinstance(version, str) and version for version in found.values())
    assert list(provenance.package_versions(["numpy", "jax"])) == ["numpy", "jax", "python"]


def test_without_git_there_is_no_commit(monkeypatch):
    def missing(*args, **options):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", missing)
    assert provenance.commit() is None
