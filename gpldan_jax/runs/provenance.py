"""What made a result: the versions of the packages, the device, and the git commit."""

import importlib.metadata
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

import jax

_PACKAGES = ("gpldan_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def versions() -> dict[str, str]:
    """Returns the versions of the packages that compute, and the kind of device.

    Example:
        >>> {"jax", "python", "device"} <= versions().keys()
        True
    """
    return package_versions(_PACKAGES) | {"device": jax.devices()[0].device_kind}


def package_versions(packages: Sequence[str]) -> dict[str, str]:
    """Returns the versions of some installed packages and of Python.

    Example:
        >>> list(package_versions(["jax"]))
        ['jax', 'python']
    """
    found = {package: importlib.metadata.version(package) for package in packages}
    return found | {"python": platform.python_version()}


def commit() -> str | None:
    """Returns the git commit of this checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:  # no git
        return None
    return done.stdout.strip() or None
