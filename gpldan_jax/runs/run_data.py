"""The data of a run: how they are loaded, and how they are found again after files or folders have moved.

A run belongs to its data, not to the place where they lie: its fingerprint says whether a file holds the same arrays.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gpldan_jax import data, training
from gpldan_jax.models.column_statistics import Share
from gpldan_jax.runs import workdir as workdirs

TO_DO = "; give path, where they are now"
"""The end of messages where no path was given: what a caller can do."""

_SETTINGS = ("name", "variant", "path", "synthetic", "image_scaling", "text_scaling")


class DataNotFoundError(data.DataError):
    """The data of a run are at none of the places where they were; the message names these places."""


class OtherDataError(data.DataError):
    """The data that were found are not those of the run; the message holds both fingerprints."""


@dataclasses.dataclass(frozen=True)
class RunData:
    """The data of a run, found again.

    Attributes:
        unscaled: the dataset as it is in its files.
        scaled: the dataset as the run saw it.
        path: where it was found; `None` for data that need no files.
    """

    unscaled: data.PairedDataset
    scaled: data.PairedDataset
    path: str | None


def load(
    config: Mapping[str, Any], *, on_disk: bool = False, share: Share | None = None
) -> tuple[data.PairedDataset, data.Standardization]:
    """Loads the dataset that the group `dataset` of a config names, scaled as the group says, to train on.

    Raises:
        DataError: as `data.load_dataset`; or all columns of the images or of the texts are constant.
    """
    dataset, scaling = _scale(config, load_unscaled(config, on_disk=on_disk, share=share))
    dataset.empty.check(dataset.name)
    return dataset, scaling


def load_unscaled(
    config: Mapping[str, Any], *, on_disk: bool = False, share: Share | None = None
) -> data.PairedDataset:
    """Loads the dataset that the group `dataset` of a config names, not scaled; the rest as `data.load_dataset`."""
    variant, path = config["variant"] or None, config["path"] or None
    # A config of version 0.1.0 says nothing of groups.
    options = {"synthetic": config["synthetic"], "cut_groups": config.get("cut_groups", False), "on_disk": on_disk}
    return data.load_dataset(config["name"], variant=variant, path=path, share=share, **options)


def absolute_path(config: Mapping[str, Any]) -> str | None:
    """Returns where the files of a dataset lie, independent of the current folder; `None` where it needs no files.

    Args:
        config: the group `dataset` of a config.

    Example:
        >>> absolute_path({"name": "emoji", "path": "", "synthetic": False}) is None
        True
    """
    place = config["path"] or data.data_directory()
    if config["synthetic"] or config["name"] in data.SHIPPED or not place:
        return None
    return str(Path(place).absolute())


def find(directory: Path, path: str | Path | None = None) -> RunData:
    """Loads the data of the run in a folder, wherever the folder and the data are now.

    Without a path they are looked for where they were found last. A path of the config that is relative is also looked
    for in the current folder and in the folders above the workdir. Of what is found there only the right data count.

    Args:
        directory: a workdir with `config.json`; the workdirs of comparisons and sweeps have one too.
        path: the file or folder where the data lie now; `None` looks where they were.

    Returns:
        The data. Features that the run read from a folder on disk stay there.

    Raises:
        DataNotFoundError: nothing is there.
        OtherDataError: what is there are other data.
        DataError: a file cannot be read, or `config.json` lacks a setting.
    """
    described = workdirs.read_json(directory / workdirs.CONFIG)
    config, fingerprint = described["config"]["dataset"], described["data"]
    if lacks := [name for name in _SETTINGS if name not in config]:
        raise data.DataError(f"{directory / workdirs.CONFIG} has no dataset setting {lacks[0]!r}")
    if path and config["synthetic"]:
        raise data.DataError(f"the data of {directory} are generated: expected no path, got {path}")
    # What the run read from disk may not fit in memory.
    on_disk = not described["config"].get("mesh", {}).get("resident", True)
    other: OtherDataError | None = None
    tried: list[str] = []
    to_do = "" if path else TO_DO
    for place in [str(path)] if path else _places(directory, described):
        try:
            found = load_unscaled({**config, "path": place or ""}, on_disk=on_disk)
        except data.MissingFilesError as error:
            tried.append(str(error).splitlines()[0])
            continue
        scaled, _ = _scale(config, found)
        if scaled.fingerprint() == fingerprint:
            return RunData(found, scaled, place)
        where = place or "what is generated now"
        other = other or OtherDataError(
            f"other data: {where} has {workdirs.short(scaled.fingerprint())}, the run in {directory} was made with "
            f"{workdirs.short(fingerprint)}{to_do}"
        )
    if other:
        raise other
    raise DataNotFoundError(f"the data of {directory} are not there ({tried[0]}){to_do}")


def find_ranked(directory: Path, path: str | Path | None = None) -> RunData:
    """Loads the data of the run in a folder as `find` does; of test only the pairs that the figures of the run are of.

    Args:
        directory: as in `find`.
        path: as in `find`.

    Returns:
        The data; the test split of `scaled` is smaller where the run did not rank all of very many pairs.

    Raises:
        DataError: as `find`.
    """
    found = find(directory, path)
    train = workdirs.read_json(directory / workdirs.CONFIG)["config"].get("train", {})
    scaled = training.with_ranked_test(found.scaled, train.get("evaluate_pairs", 0))  # older runs ranked all
    return dataclasses.replace(found, scaled=scaled)


def _places(directory: Path, described: Mapping[str, Any]) -> Iterator[str | None]:
    """Yields where the data may be, the most likely place first."""
    config = described["config"]["dataset"]
    given, last = config["path"], described.get(workdirs.DATA_PATH)
    now = absolute_path(config)
    places = [last, now]
    if given and not Path(given).is_absolute() and now:
        # A project whose folder was moved as a whole, and old workdirs, which do not say where their data were.
        above = (str(parent / given) for parent in directory.absolute().parents)
        places += [place for place in above if Path(place).exists()]
    yield from dict.fromkeys(place for place in places if place) or [None]


def _scale(config, dataset):
    image, text = (config[name] == "standardize" for name in ("image_scaling", "text_scaling"))
    return data.standardize(dataset, image=image, text=text)
