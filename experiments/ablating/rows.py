"""The rows of the paper's Table 3: what of GPLDAN each one has, and what its authors report (arXiv 2106.13552).

Its features (VGG-19 and BERT) are not those that circulate, so the figures are for orientation.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

TERMS = {"unpaired": "loss.alpha", "mutual": "loss.beta", "classifier": "loss.adversarial", "attention": "model.parts"}
"""What GPLDAN adds to L_pd: L_ud, L_md, the modality classifier, diversified attention; and the config key of each."""

_WITHOUT = {"loss.alpha": 0.0, "loss.beta": 0.0, "loss.adversarial": 0.0, "model.parts": 1}


@dataclasses.dataclass(frozen=True)
class Variant:
    """A row of Table 3.

    Attributes:
        name: the folder of its runs.
        title: what the table calls it.
        adds: what it has and `extends` has not.
        extends: the name of the row that it is compared with.
        terms: what it has beside L_pd, of `TERMS`.
        published: average MAP@50 on the paper's Wikipedia.
    """

    name: str
    title: str
    adds: str | None
    extends: str | None
    terms: tuple[str, ...]
    published: float

    def settings(self) -> dict[str, float]:
        """The config keys that it changes.

        >>> VARIANTS["classifier"].settings()
        {'model.parts': 1}
        """
        return {key: _WITHOUT[key] for term, key in TERMS.items() if term not in self.terms}


_PATTERN = ("unpaired", "mutual")
_ROWS = (
    Variant("pairwise", "L_pd alone", None, None, (), 0.202),
    Variant("mutual", "+ L_md", "L_md", "pairwise", ("mutual",), 0.233),
    Variant("unpaired", "+ L_ud", "L_ud", "pairwise", ("unpaired",), 0.481),
    Variant("pattern", "+ L_md + L_ud", "L_md", "unpaired", _PATTERN, 0.487),
    Variant("classifier", "+ modality classifier", "the classifier", "pattern", (*_PATTERN, "classifier"), 0.496),
    Variant("attention", "+ diversified attention", "diversified attention", "classifier", tuple(TERMS), 0.513),
)
VARIANTS = {row.name: row for row in _ROWS}
"""Every row by its name, in the order of the table."""


def number(name: str) -> int:
    """Which row of the table it is, from 1.

    >>> number("pairwise"), number("attention")
    (1, 6)
    """
    return [*VARIANTS].index(name) + 1


def check(config: Mapping[str, Mapping[str, Any]]) -> None:
    """`ValueError` where a config lacks a term already, so that leaving it out changes nothing, or has one of ours."""
    for key in TERMS.values():
        group, name = key.split(".")
        if config[group][name] == _WITHOUT[key]:
            raise ValueError(f"config.{key} is {config[group][name]}, so two rows of Table 3 would be the same")
    if weight := config["loss"]["contrastive"]:
        raise ValueError(f"config.loss.contrastive is {weight}, a term that no row of Table 3 has; leave it 0")


def published(name: str, dataset: Mapping[str, Any]) -> float | None:
    """The average MAP@50 that the paper reports for a row, `None` but for its dataset.

    Args:
        name: of the row.
        dataset: the group of the config.

    >>> published("unpaired", {"name": "wikipedia", "synthetic": False})
    0.481
    """
    return VARIANTS[name].published if dataset["name"] == "wikipedia" and not dataset["synthetic"] else None
