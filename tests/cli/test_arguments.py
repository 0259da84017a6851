"""What commands share."""

import threading

import pytest

from gpldan_jax.cli.arguments import Parser, positive, stopped


def test_a_wrong_argument_is_an_exception_and_nothing_is_abbreviated(capsys):
    parser = Parser()
    parser.add_argument("--number", type=positive)
    assert parser.parse_args(["--number=3"]).number == 3
    for wrong in (["--number=0"], ["--number=x"], ["--num=3"]):
        with pytest.raises(ValueError):
            parser.parse_args(wrong)
    assert capsys.readouterr().err == ""


def test_an_interrupted_command_does_not_wait_for_timers(capsys):
    timer = threading.Timer(600, lambda: None)
    timer.start()
    assert stopped("stopped; as it was") == 130
    timer.join(timeout=10)
    assert not timer.is_alive()
    assert capsys.readouterr().err == "stopped; as it was\n"
