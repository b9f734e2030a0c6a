"""Help, the version, and how the command line is started."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner
from support.command_line import SWEEP_FILES, TRAIN_FILES, cli, done, files_in, started

import twolayer
from twolayer.cli import errors, options, run_folder
from twolayer.cli.commands import app

pytestmark = pytest.mark.usefixtures("elsewhere", "no_pictures")


@pytest.mark.parametrize(
    "command", ["train", "sweep", "evaluate", "predict", "export", "plot", "report", "info"]
)
def test_help_has_groups_and_examples(command: str) -> None:
    for flag in ("--help", "-h"):
        output = done(command, flag)
        assert output.startswith(f"Usage: app {command}")
        assert "Output:" in output
        assert f"twolayer {command}" in output or command == "info"


def test_help_cuts_no_description() -> None:
    output = CliRunner().invoke(app, ["--help"], terminal_width=80).output
    described = output.partition("Commands:")[2].partition("Exit codes:")[0]
    assert re.findall(r"^  (\w+) +[A-Z].*\.$", described, re.M) == list(app.commands)
    assert "..." not in described
    assert "…" not in described


def test_help_tells_what_is_taken_where_nothing_is_given() -> None:
    output = " ".join(done("train", "--help").split())
    assert "[default: digits 0.5; cifar10 0.1; npz 0.03; table 0.01; images, idx 1e-3]" in output
    assert "Data: " in output
    output = " ".join(done("sweep", "--help").split())
    assert "0.1,0.3,1,3" in output
    assert "layer network on CIFAR-10, trained as in a course" in output  # "two-" may end a line
    for line in ("[default: numpy]", "[default: float32]", "[default: center]"):
        assert line in output
    assert "[default: digits, cifar10, npz, images, idx best; table last]" in output


def test_defaults_in_the_help_are_those_of_the_presets() -> None:
    assert options.defaults_text("train", "steps") is None
    assert options.defaults_text("train", "replacement") == "no-replacement"
    assert options.defaults_text("sweep", "seeds") == "digits, npz, table, images, idx 0,1,2; cifar10 0"


def test_no_command_at_all_gets_the_help_and_its_exit_codes() -> None:
    assert "Commands:" in cli().output
    shown = done("--help").partition("Exit codes:")[2]
    for code, meaning in errors.EXIT_CODES.items():
        assert f"{code:<3}  {meaning}" in shown
    assert set(errors.EXIT_CODES) == {0, 1, 2, 3, 130, 143}
    assert (errors.INTERRUPTED, errors.TERMINATED) == (130, 143)


def test_the_version() -> None:
    assert done("--version") == f"twolayer, version {twolayer.__version__}\n"


def test_quiet_leaves_results_only() -> None:
    output = done("train", "--epochs", 2, "--out", "run", "-q")
    assert "In run:" not in output
    assert "pixels" not in output
    assert re.search(r"test +400", output)


def test_debug_shows_where_an_error_came_from() -> None:
    with pytest.raises(ValueError, match="`DATASET` must be"):
        cli("train", "mnist", "--debug")


def test_as_a_module() -> None:
    found = started("train", "--epochs", 1, "--out", "run")
    assert (found.returncode, found.stderr) == (0, "")
    assert files_in("run") == TRAIN_FILES <= set(run_folder._OWN)
    assert set(run_folder._OWN) >= SWEEP_FILES - {"parts"}  # which is a folder
    assert "\x1b" not in found.stdout


def test_as_a_module_its_errors_are_lines_on_standard_error() -> None:
    found = started("train", "mnist")
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("Error: `DATASET` must be")
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_its_packages_it_names_the_extra(missing: str) -> None:
    script = f"import sys; sys.modules[{missing!r}] = None; from twolayer.cli import main; main()"
    found = started(script=script)
    assert found.returncode == 1
    assert found.stderr.count("\n") == 1
    assert 'the extra `cli` brings them: `python -m pip install "twolayer[cli]"`' in found.stderr


def test_what_the_terminal_cannot_show_is_a_question_mark() -> None:
    found = started("train", "--epochs", 1, environment={"PYTHONIOENCODING": "ascii"})
    assert found.returncode == 0, found.stderr
    assert "8?8 pixels" in found.stdout
