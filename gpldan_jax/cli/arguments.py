"""What the commands share: a parser, the flags of a config, and how a command begins and ends."""

import argparse
import contextlib
import difflib
import importlib.util
import io
import json
import shlex
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpldan_jax import _checksums, _deprecated, _locks, config
from gpldan_jax._extras import install_command
from gpldan_jax._files import one_line
from gpldan_jax.cli import failures, signals

_DATASET_CONFIG = Path(__file__).with_name("dataset_config.py")
_WHERE_DATA_ARE = (
    "With a command: --config.dataset.path=FILE_OR_FOLDER, or --data for short. To try it without data: --dataset=emoji"
)
_MOVED, _MOVED_IN_FLAGS = "; give path, where they are now", "; say where they are now with --data=PATH"
_MOST_SEEDS = 1000  # more is a seed that was taken for a count


class Parser(argparse.ArgumentParser):
    """Raises `ValueError` where argparse would print the usage and exit; takes no abbreviations."""

    def __init__(self, **options):
        self._given: list[str] = []
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)

    def error(self, message: str):
        """Raises `ValueError` with the message; a mistyped flag is why a required one is missing."""
        if message.startswith("the following arguments are required"):
            for argument in self._given:
                if argument.startswith("--") and argument.partition("=")[0] not in self._option_string_actions:
                    raise ValueError(self.unknown(argument))
        raise ValueError(message)

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[override]  # of argparse, with overloads
        """Returns the flags, and the arguments that no flag takes."""
        self._given = [self._spell(argument) for argument in (sys.argv[1:] if args is None else args)]
        return super().parse_known_args(self._given, namespace)

    def _spell(self, argument: str) -> str:
        """The flag as it is listed: `--image-model` and `--image_model` are the same."""
        flag, separator, value = argument.partition("=")
        known = {option.replace("_", "-"): option for option in self._option_string_actions}
        if not flag.startswith("--") or flag in self._option_string_actions:
            return argument
        return known.get(flag.replace("_", "-"), flag) + separator + value

    def parse_args(self, args=None, namespace=None):  # type: ignore[override]  # of argparse, with overloads
        """Returns the flags; `ValueError` for an unknown one, with the flag that was perhaps meant."""
        options, rest = self.parse_known_args(args, namespace)
        if rest:
            raise ValueError(self.unknown(rest[0]))
        return options

    def unknown(self, argument: str) -> str:
        """Returns a message about an argument that no flag takes."""
        flag = argument.partition("=")[0]
        if not flag.startswith("-"):
            return f"unexpected argument {argument!r}"
        flags = [*self._option_string_actions]
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                flags += [of for command in action.choices.values() for of in command._option_string_actions]
        meant = [f"--config.{key}" for key in config.SETTINGS if key.rpartition(".")[2] == flag.lstrip("-")]
        if "--config" not in flags or not meant:
            meant = difflib.get_close_matches(flag, flags, n=1)
        return f"unknown flag {flag}" + (f"; did you mean {' or '.join(meant)}?" if meant else "")

    def parse_with_overrides(self, argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
        """Returns the flags, and the arguments like `--config.KEY=VALUE`; `ValueError` for other unknown flags."""
        options, rest = self.parse_known_args(argv)
        for argument in rest:
            flag = argument.partition("=")[0]
            if flag.startswith("-") and not flag.startswith("--config.") and not _is_number(flag):
                raise ValueError(self.unknown(argument))
        return options, rest


def call(work: Callable[[Sequence[str], str], int], argv: Sequence[str], program: str, *, stopped: str) -> int:
    """Runs a command: bad input is one line and exit status 2, an interruption the line `stopped` and 130.

    What the machine refuses is one line and `failures.STATUS`.
    """
    formatwarning = warnings.formatwarning
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"  # for users, without our line numbers
    try:
        with any_text_prints():
            return _call(work, argv, program, stopped)
    finally:
        warnings.formatwarning = formatwarning  # the session of a notebook goes on


@contextlib.contextmanager
def any_text_prints() -> Iterator[None]:
    r"""Within the block an output that is not UTF-8 shows `\u2192` for an arrow that it lacks, and loses no line."""
    changed = []
    for stream in (sys.stdout, sys.stderr):
        # The second one is what Python takes where the locale is C; it fails for an arrow as well.
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            changed.append((stream, stream.errors))
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream, errors in changed:
            stream.reconfigure(errors=errors)


def json_line(value: Any) -> str:
    """Returns a value as one line of JSON, in ASCII where the output has not all of its letters."""
    line = json.dumps(value, ensure_ascii=False)
    try:
        line.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value)
    return line


def _call(work, argv, program, stopped):
    try:
        return _breaking_locks(work, argv, program)
    except KeyboardInterrupt as interrupt:
        for thread in threading.enumerate():
            # jax's, which warns of a device that takes a minute to start: interrupted then, Python would wait for it.
            if isinstance(thread, threading.Timer):
                thread.cancel()
        print(stopped, file=sys.stderr)
        return signals.exit_status(interrupt)
    except BrokenPipeError:
        raise
    except Exception as error:
        if line := failures.describe(error):
            print(f"error: {line}", file=sys.stderr)
            return failures.STATUS
        if not isinstance(error, OSError | ImportError | ValueError):
            raise
        is_whole = isinstance(error, ImportError | ValueError | _locks.LockedError)
        print(f"error: {error if is_whole else one_line(error)}", file=sys.stderr)
        _say_how_to_break_a_lock(error, argv)
        # To import the module here would load jax, and a wrong flag should not wait for that.
        data = sys.modules.get("gpldan_jax.data")
        # A command that says the flags of a message raises another error from the first one.
        if data and any(isinstance(of, data.MissingFilesError) for of in (error, error.__cause__)):
            print(_WHERE_DATA_ARE, file=sys.stderr)
        return 2


def add_break_lock(add: Callable[..., Any]) -> None:
    """Adds the flag `--break_lock`, which `call` obeys."""
    add("--break_lock", action="store_true", help="break the lock of the folder if the process that holds it has given "
        f"no sign of life for {_locks.SILENT:g} seconds, for one whose machine is gone")  # fmt: skip


def _breaking_locks(work, argv, program):
    """Does the work; with --break_lock again, after breaking the lock that kept it from beginning."""
    broken: set[Path] = set()
    while True:
        try:
            return work(argv, program)
        except (OSError, ValueError) as error:
            lock = _lock_behind(error)
            if lock is None or lock.folder in broken or not _breaks_locks(argv):
                raise
            _locks.break_lock(lock.folder)
            broken.add(lock.folder)
            held = f" that {lock.holder.text} held" if lock.holder else ""
            print(f"warning: broke the lock of {lock.folder}{held}", file=sys.stderr)


def _say_how_to_break_a_lock(error, argv):
    lock = _lock_behind(error)
    if lock and lock.is_silent and not _breaks_locks(argv):
        print("If that process is gone: the same command with --break_lock", file=sys.stderr)


def _breaks_locks(argv):
    return any(argument in ("--break_lock", "--break-lock") for argument in argv)


def _lock_behind(error):
    while error is not None and not isinstance(error, _locks.LockedError):
        error = error.__cause__
    return error


def in_flags(message: str) -> str:
    """Returns a message of the library about data that have moved, with the flag that says where they are."""
    return message.replace(_MOVED, _MOVED_IN_FLAGS)


def positive(text: str) -> int:
    """A whole number of at least 1, for `type=`."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def add_switch(add: Callable[..., Any], name: str, help: str, *, default: bool = False) -> None:
    """Adds a flag that is on or off: `--NAME`, `--noNAME`, `--NAME=true`."""
    add(f"--{name}", nargs="?", const=True, default=default, type=_boolean, metavar="BOOL", help=help)
    add(f"--no{name}", dest=name, action="store_false", help=argparse.SUPPRESS)


def config_parser(program: str, description: str | None) -> Parser:
    """A parser with the flags of a run: `--config`, `--dataset`, `--recipe`, `--workdir`, `--fresh`."""
    parser = Parser(prog=program, description=description)
    add = parser.add_argument_group("settings").add_argument
    add_config_flags(add)
    add = parser.add_argument_group("the folder").add_argument
    add("--workdir", type=Path, metavar="DIR", help="folder of the results; default runs/NAME")
    add_switch(add, "fresh", "delete what an earlier command left in the folder and start over")
    add_break_lock(add)
    parser.epilog = _list_settings()
    return parser


def add_config_flags(add: Callable[..., Any]) -> None:
    """Adds the flags that say which config: `--dataset` or `--config`, and what changes it."""
    names = ", ".join(config.dataset_names())
    add("--dataset", metavar="NAME[:VARIANT]", help=f"a dataset, with the package's own config: {names}")
    add("--config", metavar="FILE[:ARGUMENT]", help="instead of --dataset: a config file, such as configs/emoji.py")
    add("--recipe", default="paper", help=f"changes the config: {' or '.join(config.RECIPES)}; default %(default)s")
    add("--data", metavar="PATH", help="the same as --config.dataset.path: the file or folder of the data")
    add("--config.GROUP.NAME", dest="_", metavar="VALUE", help="changes a setting, such as --config.loss.alpha=0.5")


def _list_settings() -> str:
    """All settings for the help of a command: default, what each may be, and where it comes from."""
    lines = ["settings, with their defaults; a dataset and a recipe change some of them:"]
    for setting in config.SETTINGS.values():
        default = "''" if setting.default == "" else setting.default
        lines += [f"  --config.{setting.key}={default}", f"      {setting.origin} ({setting.rule.expected})"]
    return "\n".join(lines)


def parse_config(options: argparse.Namespace, rest: Sequence[str]) -> tuple[dict[str, dict[str, Any]], str]:
    """The config that the flags ask for, checked, and a name for it: that of the file or the dataset.

    `rest` holds the arguments that the parser did not know, `--config.KEY=VALUE` among them.
    """
    if bool(options.config) == bool(options.dataset):
        raise ValueError("give --config=FILE or --dataset=NAME; try --dataset=emoji")
    if options.recipe not in config.RECIPES:
        raise ValueError(f"--recipe={options.recipe}: expected one of {', '.join(config.RECIPES)}")
    for flag in (argument.partition("=")[0] for argument in rest):
        if flag.startswith("--config."):
            config.check_key(flag.removeprefix("--config."))
    recipe = "" if options.recipe == "paper" else options.recipe
    if options.dataset:
        name, _, variant = options.dataset.partition(":")
        file, argument = str(_DATASET_CONFIG), ",".join((name, variant, options.recipe))
        parts = [name, variant, recipe]
    else:
        file, _, argument = options.config.partition(":")
        parts = [Path(file).stem, argument, recipe]
        # Before the flags of the user, which come later and win.
        rest = [*(f"--config.{key}={value}" for key, value in config.RECIPES[options.recipe].items()), *rest]
    if not Path(file).is_file():
        raise ValueError(f"no config file {file}")
    try:
        _checksums.check_source(file)
    except _checksums.DamagedError as error:
        warnings.warn(str(error), stacklevel=2)  # a user may well change the best.py of a sweep
    if options.data is not None:
        if any(flag.partition("=")[0] == "--config.dataset.path" for flag in rest):
            raise ValueError("--data and --config.dataset.path are the same, give one of them")
        rest = [*rest, f"--config.dataset.path={options.data}"]
    found = _read_config_file(f"{file}:{argument}" if argument else file, rest)
    config.validate(found)
    parts.append("synthetic" if found["dataset"]["synthetic"] else "")
    return found, "-".join(part for part in parts if part)


def parse_seeds(settings: Mapping[str, Mapping[str, Any]], text: str) -> tuple[int, ...]:
    """The seeds of `--seeds`: a count from `train.seed` on, or two and more seeds separated by commas."""
    listed = parse_numbers(settings, "seeds", text, "train.seed", int)
    if len(listed) > 1:
        return listed
    count, first = listed[0], settings["train"]["seed"]
    if not 1 <= count <= _MOST_SEEDS:
        raise ValueError(
            f"--seeds={text}: a single number says how many, from 1 to {_MOST_SEEDS}; one seed alone is "
            f"--config.train.seed={count} --seeds=1"
        )
    return tuple(range(first, first + count))


def parse_numbers(settings, name: str, text: str, key: str, kind: type) -> tuple:
    """The values of the flag `--name`, which lists values of a setting, `int` or `float`, separated by commas.

    Example:
        >>> parse_numbers(config.default_config(), "beta", "0,0.1", "loss.beta", float)
        (0.0, 0.1)
    """
    flag = f"--{name}={text}"
    expected = "numbers" if kind is float else "whole numbers"
    values = []
    for item in text.split(","):
        try:
            value = kind(item)
        except ValueError:
            raise ValueError(f"{flag}: expected {expected} separated by commas, got {item!r}") from None
        try:
            config.validate(config.with_values(settings, {key: value}))
        except config.ConfigError as error:
            raise ValueError(f"{flag}: {error}") from error
        if value in values:
            raise ValueError(f"{flag}: {value!r} is there twice")
        values.append(value)
    return tuple(values)


def command_line(program: str, argv: Sequence[str]) -> str:
    """Returns a command as it can be printed in a table: of the absolute paths of this machine the last part.

    Example:
        >>> command_line("gpldan compare", ["--dataset=npz", "--data=/home/me/mine.npz", "--workdir", "runs/mine"])
        'gpldan compare --dataset=npz --data=mine.npz --workdir runs/mine'
    """
    shown = []
    for argument in argv:
        flag, separator, value = argument.rpartition("=")
        shown.append(flag + separator + (Path(value).name if Path(value).is_absolute() else value))
    return f"{program} {shlex.join(shown)}"


def needs_package(package: str, purpose: str, extra: str) -> None:
    """`ValueError` where an optional package is missing, before anything slow is done."""
    if importlib.util.find_spec(package) is None:
        raise ValueError(f"{purpose} needs {package}: {install_command(extra)}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _boolean(text: str) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"must be true or false, got {text!r}")
    return known[text.lower()]


def _read_config_file(file: str, overrides: Sequence[str]) -> dict[str, dict[str, Any]]:
    # ml_collections reads the file and the overrides; flags of its own, so that a second call starts anew.
    from absl import flags
    from ml_collections import config_flags

    values, path = flags.FlagValues(), file.partition(":")[0]
    sys.modules.pop("config_config", None)  # an earlier config file, whose names ml_collections would keep
    arguments = ["gpldan", f"--config={file}", *overrides]
    config_flags.DEFINE_config_file("config", None, flag_values=values, sys_argv=arguments)
    try:
        with _deprecated.configs_package():
            unexpected = values(arguments)[1:]
            if unexpected:
                raise ValueError(f"unexpected argument {unexpected[0]!r}")
            found: Any = values["config"].value
            return found.to_dict()
    except (AttributeError, KeyError) as error:  # ml_collections quotes its message twice
        message = str(error).strip("'\"").replace("\\n", ". ").replace("\\'", "'")
        if "get_config" in message or "NoneType" in message:
            raise ValueError(f"{path} has no function get_config() that returns a config") from error
        raise ValueError(f"unknown config key {message}") from error
    except (flags.Error, OSError) as error:
        # Where a config file itself fails, the message ends with its traceback, whose last line says why.
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(reason.removeprefix("ValueError: ").removeprefix("gpldan_jax.config.ConfigError: ")) from error
    except ValueError:
        raise
    except Exception as error:  # of the file itself, which is a program
        raise ValueError(f"{path} failed: {type(error).__name__}: {one_line(error)}") from error
