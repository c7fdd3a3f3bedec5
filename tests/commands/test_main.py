"""The command line, with a command made up here."""

import argparse
import subprocess
import sys
from types import SimpleNamespace

import pytest

import ssast_recipes
from ssast_recipes.commands import main as cli
from ssast_recipes.system.errors import RunError


@pytest.fixture
def fake_command(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A command `fake` that takes a fold and keeps it; a test may give it another `run`."""

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--fold", type=int, default=1)

    def run(arguments: argparse.Namespace) -> None:
        command.folds.append(arguments.fold)

    command = SimpleNamespace(add_arguments=add_arguments, run=run, folds=[])
    monkeypatch.setitem(sys.modules, "ssast_recipes.commands.fake", command)
    monkeypatch.setitem(cli.COMMANDS, "fake", "train every fold")
    return command


def fail_with(error: BaseException):
    """A `run` that raises."""

    def run(arguments: argparse.Namespace) -> None:
        raise error

    return run


def test_version(capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"ssast {ssast_recipes.__version__}\n"


def test_help_lists_the_commands(fake_command, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--help"])
    assert exit_.value.code == 0
    assert "  fake        train every fold\n" in capsys.readouterr().out


def test_unknown_command_is_refused_by_name(fake_command, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["fakes"])
    assert exit_.value.code == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("ssast: error: ")
    assert "there is no command 'fakes'; did you mean fake? (choose from" in message
    assert message.endswith("fake)")


def test_a_command_is_required(fake_command, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main([])
    assert exit_.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_without_arguments_the_help_is_shown(fake_command, capsys):
    with pytest.raises(SystemExit):
        cli.main([])
    error = capsys.readouterr().err
    assert error.startswith("usage: ssast") and "  fake        train every fold\n" in error


def test_options_may_be_spelt_with_underscores(fake_command):
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--num-clips", type=int)
        parser.add_argument("--as_is", type=str)

    fake_command.add_arguments = add_arguments
    fake_command.run = lambda arguments: fake_command.folds.append(vars(arguments))
    assert cli.main(["fake", "--num_clips", "3", "--as_is=--num_clips"]) == 0
    assert cli.main(["fake", "--num_clips=3"]) == 0
    assert fake_command.folds[0] == {"num_clips": 3, "as_is": "--num_clips"}
    assert fake_command.folds[1] == {"num_clips": 3, "as_is": None}


def test_the_command_gets_its_own_arguments(fake_command):
    assert cli.main(["fake", "--fold", "3"]) == 0
    assert cli.main(["fake"]) == 0
    assert fake_command.folds == [3, 1]


def test_the_command_has_its_own_help(fake_command, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["fake", "--help"])
    assert exit_.value.code == 0
    assert "usage: ssast fake [-h] [--fold FOLD]" in capsys.readouterr().out


def test_the_command_gives_the_exit_status(fake_command):
    fake_command.run = lambda arguments: 3
    assert cli.main(["fake"]) == 3


@pytest.mark.parametrize("kind", [ValueError, FileNotFoundError, RunError])
def test_an_error_is_one_line(fake_command, capsys, kind):
    fake_command.run = fail_with(kind("no fold 7:\n  choose 1 to 5"))
    assert cli.main(["fake"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "ssast: error: no fold 7: choose 1 to 5\n"


def test_an_error_without_words_is_named(fake_command, capsys):
    fake_command.run = fail_with(ValueError())
    assert cli.main(["fake"]) == 1
    assert capsys.readouterr().err == "ssast: error: ValueError\n"


def test_debug_lets_the_error_through(fake_command):
    fake_command.run = fail_with(ValueError("no fold 7"))
    with pytest.raises(ValueError, match="no fold 7"):
        cli.main(["--debug", "fake"])


@pytest.mark.parametrize("kind", [TypeError, RuntimeError])
def test_a_mistake_of_ours_keeps_its_traceback(fake_command, kind):
    fake_command.run = fail_with(kind("not for the user"))
    with pytest.raises(kind, match="not for the user"):
        cli.main(["fake"])


def test_starting_imports_no_torch_and_no_command():
    program = (
        "import sys; import ssast_recipes.commands.main;"
        "heavy = {'torch', 'pandas', 'speechbrain', 'matplotlib'} & {*sys.modules};"
        "print(heavy, [name for name in sys.modules if name.startswith('ssast_recipes.commands.')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "set() ['ssast_recipes.commands.main']\n", done.stderr
