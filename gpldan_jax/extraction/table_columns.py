"""Which column of a table is the image, the text and so on: by its name, in the spellings that circulate."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Mapping, Sequence

from gpldan_jax.data.files.checks import first_few

ROLES = ("image", "text", "id", "label", "split", "group")
NEEDED = ROLES[:2]
NAMES: Mapping[str, tuple[str, ...]] = {
    "image": ("image", "image_path", "image_name", "file_name", "filename", "filepath", "file", "path"),
    "text": ("text", "caption", "title", "sentence", "description", "comment"),
    "id": ("id",),
    "label": ("label", "class", "category"),
    "split": ("split",),
    "group": ("group",),
}
"""The names of each role, in any case; the first one is chosen before the others."""
_NEAR = 0.75  # of `difflib`: "lable" and "labels" are near "label"


class MissingColumnError(ValueError):
    """A table has no column for the image or the text."""


def find_columns(
    names: Sequence[str],
    where: str,
    given: Mapping[str, str] | None = None,
    *,
    kind: str = "column",
    usual: Sequence[str] | None = None,
) -> dict[str, str]:
    """Returns the column of each role that a table has.

    Args:
        names: of the columns, as they are written.
        where: the file, and the line of the header, for messages.
        given: the names that the user gives, by role; the others are found by `NAMES`.
        kind: what a column is called in messages, "column" or "key".
        usual: the names that must not be near misses; by default all.

    Returns:
        The name of the column of each role that there is; image and text are among them.

    Raises:
        ValueError: no column for the image or the text, several columns that may be one of them, a column twice, or a
            name that is nearly a known one.

    Example:
        >>> find_columns(["Title", "file_name", "price"], "shop.csv")
        {'image': 'file_name', 'text': 'Title'}
    """
    for place, name in enumerate(names):
        if name and name in names[:place]:
            raise ValueError(f"{where}: two {kind}s {name!r}; a row has one (of texts, a .jsonl file takes a list)")
    found: dict[str, str] = {}
    lower = {name: name.strip().lower().replace(" ", "_") for name in names}
    for role, name in (given or {}).items():
        if name not in names:
            raise ValueError(f"{where}: columns: no {kind} {name!r} for the {role}; there are {_listed(names)}")
        found[role] = name
    left = [name for name in names if name not in found.values()]
    for role in ROLES:
        fitting = [name for name in left if lower[name] in NAMES[role]]
        exact = [name for name in fitting if lower[name] == role]
        if role in found or not fitting:
            continue
        if len(fitting) > 1 and len(exact) != 1:
            raise ValueError(
                f"{where}: {_listed(fitting)} may each be the {role}; say which with columns={{{role!r}: NAME}}"
            )
        found[role] = (exact or fitting)[0]
    _check_near_misses(names if usual is None else usual, found, where, kind)
    for role in NEEDED:
        if role not in found:
            raise MissingColumnError(
                f"{where}: no {kind} for the {role}; expected {' or '.join(NAMES[role])}, found {_listed(names)}; or "
                f"say which with columns={{{role!r}: NAME}}"
            )
    return found


def warn_of_unused(path: object, names: Iterable[str], found: Mapping[str, str], *, kind: str = "column") -> None:
    """Names the columns of a table that nothing uses, in one warning."""
    unused = [name or "(no name)" for name in dict.fromkeys(names) if name not in found.values()]
    if unused:
        warnings.warn(f"{path}: {kind}s that are not used: {first_few(unused, limit=10)}", stacklevel=2)


def _check_near_misses(names, found, where, kind):
    known = {name: role for role, of_role in NAMES.items() for name in of_role}
    for name in names:
        if name in found.values():
            continue
        near = difflib.get_close_matches(name.strip().lower(), known, n=1, cutoff=_NEAR)
        if near and known[near[0]] not in found:
            raise ValueError(f"{where}: unknown {kind} {name!r} (did you mean {near[0]!r}?); rename or delete it")


def _listed(names: Sequence[str]) -> str:
    return first_few([ascii(name if len(name) <= 40 else f"{name[:40]}...") for name in names], limit=12) or "none"
