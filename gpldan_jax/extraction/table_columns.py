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
# Of `difflib`: "lable" and "labels" are near "label", "class_id" and "subgroup" are other columns. An image and a text
# must be there, so that a wrong hint does little harm: "txet" is near "text".
_NEAR, _NEAR_NEEDED = 0.8, 0.75


class MissingColumnError(ValueError):
    """A table has no column for the image or the text."""


def find_columns(
    names: Sequence[str],
    where: str,
    given: Mapping[str, str] | None = None,
    *,
    kind: str = "column",
    usual: Sequence[str] | None = None,
    roles: Sequence[str] = ROLES,
    needed: Sequence[str] = NEEDED,
) -> dict[str, str]:
    """Returns the column of each role that a table has.

    Args:
        names: of the columns, as they are written.
        where: the file, and the line of the header, for messages.
        given: the names that the user gives, by role, in any case; the others are found by `NAMES`.
        kind: what a column is called in messages, "column" or "key".
        usual: the names that must not be near misses; by default all.
        roles: to look for.
        needed: the roles that must be there.

    Returns:
        The name of the column of each role that there is; the needed ones are among them.

    Raises:
        ValueError: no column for a needed role, several columns for one role, one column for two, or a name that is
            nearly a known one.

    Example:
        >>> find_columns(["Title", "file_name", "price"], "shop.csv")
        {'image': 'file_name', 'text': 'Title'}
    """
    found: dict[str, str] = {}
    lower = {name: name.strip().lower().replace(" ", "_") for name in names}
    for role, wanted in (given or {}).items():
        same = [name for name in names if name == wanted] or [
            name for name in names if name.strip().lower() == wanted.strip().lower()
        ]
        if not same:
            raise ValueError(f"{where}: columns: no {kind} {wanted!r} for the {role}; there are {_listed(names)}")
        _check_once(same, role, where, kind)
        if other := next((other for other, name in found.items() if name == same[0]), None):
            raise ValueError(f"{where}: columns: {wanted!r} is given for the {other} and for the {role}")
        found[role] = same[0]
    left = [name for name in names if name not in found.values()]
    for role in roles:
        fitting = [name for name in left if lower[name] in NAMES[role]]
        exact = [name for name in fitting if lower[name] == role]
        if role in found or not fitting:
            continue
        _check_once(exact or fitting, role, where, kind)
        found[role] = (exact or fitting)[0]
    _check_near_misses(names if usual is None else usual, found, where, kind, roles)
    for role in needed:
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


def _check_once(fitting, role, where, kind):
    if len(fitting) > 1 and len(set(fitting)) == 1:
        raise ValueError(f"{where}: two {kind}s {fitting[0]!r}; a row has one (of texts, a .jsonl file takes a list)")
    if len(fitting) > 1:
        raise ValueError(
            f"{where}: {_listed(fitting)} may each be the {role}; say which with columns={{{role!r}: NAME}}"
        )


def _check_near_misses(names, found, where, kind, roles):
    # "idx" and "uid" are names of their own, not near "id".
    known = {name: role for role in roles if role not in found and role != "id" for name in NAMES[role]}
    for name in names:
        if name in found.values():
            continue
        for near in difflib.get_close_matches(name.strip().lower(), known, n=1, cutoff=_NEAR_NEEDED):
            role = known[near]
            ratio = difflib.SequenceMatcher(None, near, name.strip().lower()).ratio()
            if role in NEEDED or ratio >= _NEAR:
                raise ValueError(
                    f"{where}: unknown {kind} {name!r} (did you mean {near!r}?); rename or delete it, or say which "
                    f"with columns={{{role!r}: NAME}}"
                )


def _listed(names: Sequence[str]) -> str:
    return first_few([ascii(name if len(name) <= 40 else f"{name[:40]}...") for name in names], limit=12) or "none"
