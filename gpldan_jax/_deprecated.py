"""Old names that still work for a while, with a warning that says the new one."""

import contextlib
import importlib
import importlib.util
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any


def moved(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """A module's `__getattr__` for public names that have moved.

    Args:
        module: the module's `__name__`.
        names: where each old name is now, as `"package.module:name"`.

    Returns:
        The function; it warns with `DeprecationWarning`, and raises `AttributeError` for other names.
    """

    def __getattr__(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, new = names[name].partition(":")
        message = f"{module}.{name} is now {home}.{new}; the old name will go in version 0.3"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return getattr(importlib.import_module(home), new)

    return __getattr__


@contextlib.contextmanager
def configs_package() -> Iterator[None]:
    """Lets config files written before version 0.2 (`best.py` of a sweep) import `configs.default`.

    Such files were read with the root of a checkout on the path. New ones import `gpldan_jax.config`.
    """

    def get_config():
        from ml_collections import config_dict

        from gpldan_jax import config

        warnings.warn(
            "config files now take `config.default_config()` from gpldan_jax, not `configs.default`", stacklevel=2
        )
        return config_dict.ConfigDict(config.default_config())

    if importlib.util.find_spec("configs") is not None:  # the user's own, or a checkout on the path
        yield
        return
    package, module = types.ModuleType("configs"), types.ModuleType("configs.default")
    vars(module)["get_config"] = get_config
    vars(package)["default"] = module
    sys.modules |= {"configs": package, "configs.default": module}
    try:
        yield
    finally:
        del sys.modules["configs"], sys.modules["configs.default"]
