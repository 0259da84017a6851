"""SIGINT and SIGTERM end a command with one line and the right status, from its first moment on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import gpldan_jax
from gpldan_jax.cli import main, signals
from gpldan_jax.cli.arguments import call

NUMBERS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.mark.parametrize("number, status", NUMBERS)
def test_a_signal_ends_a_command_with_its_line_and_its_status(number, status, capsys):
    before = signal.getsignal(number)
    with signals.raised():
        assert call(lambda *_: os.kill(os.getpid(), number), [], "gpldan run", stopped="stopped; as it was") == status
    assert capsys.readouterr().err == "stopped; as it was\n"
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number, status", NUMBERS)
def test_a_signal_while_a_command_is_found_is_one_line(number, status, capsys, monkeypatch):
    monkeypatch.setattr(main.importlib, "import_module", lambda name: os.kill(os.getpid(), number))
    assert main.main(["run", "--dataset=emoji"]) == status
    assert capsys.readouterr().err == "stopped\n"


@pytest.mark.parametrize("number, status", NUMBERS)
def test_a_signal_in_an_import_ends_the_process_at_once(number, status, tmp_path):
    """Whatever catches the exception: C extensions turn it into an ImportError or lose it."""
    (tmp_path / "slow.py").write_text(
        f"import os\ntry: os.kill(os.getpid(), {int(number)})\nfinally: print('went on')\n"
    )
    code = "from gpldan_jax.cli import signals\nwith signals.raised('stopped; as it was'): import slow"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "stopped; as it was\n")


LAST = """
class Last:  # is deleted when Python has given up its handlers
    def __del__(self, kill=os.kill, process=os.getpid()):
        kill(process, NUMBER)
last = Last()
"""


@pytest.mark.parametrize("number, _", NUMBERS)
@pytest.mark.parametrize("send", ["atexit.register(os.kill, os.getpid(), NUMBER)", LAST], ids=["atexit", "last"])
def test_a_signal_after_the_work_does_not_change_the_status(number, _, send):
    code = f"import atexit, os\n{send.replace('NUMBER', str(int(number)))}\n"
    code += "import sys; from gpldan_jax.cli.main import main; sys.argv[1:] = ['--version']; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("gpldan_jax ") and not done.stderr


@pytest.mark.parametrize("number, status", NUMBERS)
@pytest.mark.parametrize("program", [["-m", "gpldan_jax"], ["experiments/run.py", "--help"]], ids=["-m", "experiments"])
def test_a_signal_while_the_commands_are_imported_is_one_line(number, status, program, tmp_path):
    """The first module that `cli/main.py` imports sends it: with Python's own handlers that is a stack trace."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "class Finder:\n"
        "    def find_spec(name, path=None, target=None):\n"
        f"        if name == 'gpldan_jax._files': os.kill(os.getpid(), {int(number)})\n"
        "sys.meta_path.insert(0, Finder)\n"
    )
    root = Path(gpldan_jax.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(root)])}
    command = [sys.executable, *program]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "stopped\n")


@pytest.mark.slow
@pytest.mark.parametrize("number, status", NUMBERS)
@pytest.mark.parametrize("delay", [0.1, 0.4, 1.0, 2.0])
def test_a_command_is_interrupted_at_any_moment(number, status, delay, tmp_path, quick_environment):
    code = f"""
import os, sys, threading
from gpldan_jax.cli import main
threading.Timer({delay}, os.kill, (os.getpid(), {int(number)})).start()
sys.exit(main.main(sys.argv[1:]))
"""
    flags = ["run", "--dataset=emoji", "--config.train.epochs=1000", f"--workdir={tmp_path / 'run'}"]
    command = [sys.executable, "-c", code, *flags]
    done = subprocess.run(command, env=os.environ | quick_environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == status and len(done.stderr.splitlines()) <= 1, done.stderr
