"""What commands share."""

import importlib.util
import sys
import threading
import warnings

import pytest

from gpldan_jax import _checksums
from gpldan_jax import config as settings
from gpldan_jax.cli.arguments import (
    Parser,
    add_switch,
    call,
    command_line,
    config_parser,
    needs_package,
    parse_config,
    parse_numbers,
    parse_seeds,
    positive,
)
from gpldan_jax.data import DataError, load_dataset

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of ml_collections


def test_a_wrong_argument_is_an_exception_and_nothing_is_abbreviated(capsys):
    parser = Parser()
    parser.add_argument("--number", type=positive)
    assert parser.parse_args(["--number=3"]).number == 3
    for wrong in (["--number=0"], ["--number=x"], ["--num=3"]):
        with pytest.raises(ValueError):
            parser.parse_args(wrong)
    assert capsys.readouterr().err == ""


@pytest.fixture(autouse=True)
def own_warnings(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # which `call` changes


def test_an_interrupted_command_does_not_wait_for_timers(capsys):
    def interrupt(argv, program):
        raise KeyboardInterrupt

    timer = threading.Timer(600, lambda: None)
    timer.start()
    assert call(interrupt, [], "gpldan run", stopped="stopped; as it was") == 130
    timer.join(timeout=10)
    assert not timer.is_alive()
    assert capsys.readouterr().err == "stopped; as it was\n"


def test_missing_files_get_the_flags(capsys):
    def load(argv, program):
        load_dataset("npz")

    def refuse(argv, program):
        raise DataError("a.npz: damaged")

    assert call(load, [], "gpldan run", stopped="") == 2
    *_, library, command = capsys.readouterr().err.splitlines()
    assert library == "Say where they are with the argument path=FILE_OR_FOLDER."
    assert command.startswith("With a command: --config.dataset.path=FILE_OR_FOLDER, or --data for short.")
    assert "--dataset=emoji" in command

    def reword(argv, program):
        try:
            load_dataset("npz")
        except ValueError as error:
            raise ValueError("in other words") from error

    assert call(reword, [], "gpldan compare", stopped="") == 2
    assert capsys.readouterr().err == f"error: in other words\n{command}\n"
    assert call(refuse, [], "gpldan run", stopped="") == 2
    assert capsys.readouterr().err == "error: a.npz: damaged\n"


@pytest.mark.parametrize(
    "error, message",
    [
        (ValueError("all\nlines"), "error: all\nlines\n"),
        (OSError("one\nline"), "error: one\n"),
        (ImportError("x"), "error: x\n"),
    ],
)
def test_bad_input_is_a_message_and_status_2(error, message, capsys):
    def fail(argv, program):
        raise error

    assert call(fail, [], "gpldan run", stopped="") == 2
    assert capsys.readouterr().err == message


@pytest.mark.parametrize(
    "flags, expected", [([], False), (["--x"], True), (["--nox"], False), (["--x=true"], True), (["--x=0"], False)]
)
def test_a_switch_is_on_or_off(flags, expected):
    parser = Parser()
    add_switch(parser.add_argument, "x", "help")
    assert parser.parse_args(flags).x is expected
    with pytest.raises(ValueError, match="must be true or false, got 'maybe'"):
        parser.parse_args(["--x=maybe"])


def parse(*argv):
    return parse_config(*config_parser("gpldan run", None).parse_with_overrides(argv))


def test_a_dataset_is_a_config_with_a_name():
    config, name = parse("--dataset=wikipedia:raw", "--recipe=ours", "--config.loss.alpha=0.5")
    expected = settings.dataset_config("wikipedia", "raw", "ours")
    assert config == settings.with_values(expected, {"loss.alpha": 0.5}) and name == "wikipedia-raw-ours"
    assert parse("--dataset=emoji", "--config.dataset.synthetic")[1] == "emoji-synthetic"


def test_a_recipe_changes_a_config_file_and_the_flags_change_the_recipe():
    found, name = parse("--config=configs/cub.py", "--recipe=ours", "--config.loss.neighbours=7")
    expected = settings.dataset_config("cub", recipe="ours")
    assert found == settings.with_values(expected, {"loss.neighbours": 7}) and name == "cub-ours"


def test_data_is_short_for_the_path_of_the_dataset():
    assert parse("--dataset=npz", "--data=my folder/a.npz")[0]["dataset"]["path"] == "my folder/a.npz"
    with pytest.raises(ValueError, match=r"^--data and --config\.dataset\.path are the same, give one of them$"):
        parse("--dataset=npz", "--data=a.npz", "--config.dataset.path=a.npz")


def test_a_file_is_a_config_with_a_name(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from ml_collections import config_dict\n\nfrom gpldan_jax import config\n\n\ndef get_config(name='emoji'):\n"
        "    return config_dict.ConfigDict(config.dataset_config(name))\n"
    )
    assert parse(f"--config={tmp_path / 'mine.py'}:cub") == (settings.dataset_config("cub"), "mine-cub")
    assert parse(f"--config={tmp_path / 'mine.py'}", "--config.train.epochs=7")[0]["train"]["epochs"] == 7


def test_a_file_from_before_the_package_had_the_settings_is_read(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *of: None if name == "configs" else find(name, *of))
    for name in ("configs", "configs.default"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    text = "from configs import default\n\n\ndef get_config():\n    config = default.get_config()\n"
    (tmp_path / "best.py").write_text(f"{text}    config.loss.alpha = 0.25\n    return config\n")
    with pytest.warns(UserWarning, match=r"config files now take `config\.default_config\(\)` from gpldan_jax"):
        config, name = parse(f"--config={tmp_path / 'best.py'}")
    assert config == settings.with_values(settings.default_config(), {"loss.alpha": 0.25}) and name == "best"
    assert "configs" not in sys.modules


@pytest.mark.parametrize(
    "flags, message",
    [
        ((), "give --config=FILE or --dataset=NAME; try --dataset=emoji"),
        (("--config=a.py", "--dataset=emoji"), "give --config=FILE or --dataset=NAME"),
        (("--config=nowhere.py",), "no config file nowhere.py"),
        (("--dataset=emojis",), "unknown dataset 'emojis' (did you mean 'emoji'?)"),
        (("--dataset=emoji", "--recipe=mine"), "--recipe=mine: expected one of paper, ours"),
        (("--dataset=emoji", "--config.loss.alhpa=1"), "unknown config key"),
        (("--dataset=emoji", "--config.loss.alpha=x"), "config.loss.alpha"),
        (("--dataset=emoji", "--config.loss.alpha=-1"), "config.loss.alpha must be a number of at least 0, got -1.0"),
        (("--dataset=emoji", "--alhpa=1"), "unknown flag --alhpa"),
        (("--dataset=emoji", "--epochs=1"), "unknown flag --epochs; did you mean --config.train.epochs?"),
        (("--dataset=emoji", "--wrokdir=x"), "unknown flag --wrokdir; did you mean --workdir?"),
        (("--dataset=emoji", "more"), "unexpected argument 'more'"),
    ],
)
def test_flags_that_give_no_config_are_named(flags, message):
    with pytest.raises(ValueError) as error:
        parse(*flags)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_lists_of_values_and_seeds():
    config = settings.with_values(settings.default_config(), {"train.seed": 7})
    assert parse_numbers(config, "beta", "0,1e-1", "loss.beta", float) == (0.0, 0.1)
    assert parse_seeds(config, "2") == (7, 8) and parse_seeds(config, "3,0") == (3, 0)


def test_a_missing_package_is_named_with_its_extra():
    needs_package("json", "a report", "report")
    with pytest.raises(ValueError, match=r"^a report needs no_such: pip install 'gpldan_jax\[report\]'$"):
        needs_package("no_such", "a report", "report")
    cpu = r"\(without a GPU, first: pip install torch --index-url https://download.pytorch.org/whl/cpu\)"
    with pytest.raises(ValueError, match=rf"pip install 'gpldan_jax\[bert\]' {cpu}$"):
        needs_package("no_such", "a text encoder", "bert")


def test_a_flag_may_have_dashes_or_underscores():
    parser = Parser(prog="gpldan")
    parser.add_argument("--image_model")
    parser.add_argument("--no-serve", action="store_true")
    parser.add_subparsers(dest="command").add_parser("build").add_argument("--text_path")
    options = parser.parse_args(["--image-model=a_b", "--no_serve", "build", "--text-path", "--x_y"[2:]])
    assert (options.image_model, options.no_serve, options.text_path) == ("a_b", True, "x_y")
    with pytest.raises(ValueError, match=r"unknown flag --image-modl; did you mean --image_model\?"):
        parser.parse_args(["--image-modl=a"])


def test_a_recorded_command_has_no_path_of_the_machine():
    argv = ["--dataset=npz", "--data=/home/me/a b.npz", "--workdir", "/tmp/w/runs/mine", "--seeds=5", "runs/x"]
    assert command_line("gpldan compare", argv) == (
        "gpldan compare --dataset=npz '--data=a b.npz' --workdir mine --seeds=5 runs/x"
    )


def test_a_changed_best_config_of_a_sweep_is_a_warning(tmp_path):
    path = tmp_path / "best.py"
    source = "from gpldan_jax.config import default_config\nfrom ml_collections import config_dict\n\n\n"
    source += "def get_config():\n    config = config_dict.ConfigDict(default_config())\n    config.loss.alpha = 0.25\n"
    _checksums.write_source(path, source + "    return config\n")
    assert parse(f"--config={path}")[0]["loss"]["alpha"] == 0.25
    path.write_text(path.read_text().replace("0.25", "0.75"))
    with pytest.warns(UserWarning, match=rf"^{path} is not what was written: damaged, or changed by hand; then remove"):
        assert parse(f"--config={path}")[0]["loss"]["alpha"] == 0.75
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert parse(f"--config={path}")[0]["loss"]["alpha"] == 0.75


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("x = 1\n", "has no function get_config() that returns a config"),
        ("def get_config():\n    pass\n", "has no function get_config() that returns a config"),
        ("nothing\n", "failed: NameError: name 'nothing' is not defined"),
        ("x = '\0'\n", "failed: SyntaxError: source code string cannot contain null bytes"),
    ],
)
def test_a_config_file_that_fails_is_named(tmp_path, content, reason):
    path = tmp_path / "broken.py"
    path.write_text(content)
    options, rest = config_parser("gpldan run", None).parse_with_overrides(
        [f"--config={path}", "--config.train.epochs=1"]
    )
    with pytest.raises(ValueError) as caught:
        parse_config(options, rest)
    assert reason in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)
