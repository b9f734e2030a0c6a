"""Help, the version, and ways to start the command line."""

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


def test_help_shows_whole_descriptions() -> None:
    output = CliRunner().invoke(app, ["--help"], terminal_width=80).output
    described = output.partition("Commands:")[2].partition("Exit codes:")[0]
    assert re.findall(r"^  (\w+) +[A-Z].*\.$", described, re.M) == list(app.commands)
    assert "..." not in described
    assert "…" not in described


def test_help_shows_the_defaults() -> None:
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
    assert options.defaults_text("train", "components") == "cifar10 256"
    assert options.defaults_text("train", "dates") == "seconds"
    assert options.defaults_text("train", "replacement") == "no-replacement"
    assert options.defaults_text("sweep", "seeds") == "digits, npz, table, images, idx 0,1,2; cifar10 0"


def test_the_help_lists_commands_and_exit_codes() -> None:
    assert "Commands:" in cli().output
    shown = done("--help").partition("Exit codes:")[2]
    for code, meaning in errors.EXIT_CODES.items():
        assert f"{code:<3}  {meaning}" in shown
    assert set(errors.EXIT_CODES) == {0, 1, 2, 3, 130, 143}
    assert (errors.INTERRUPTED, errors.TERMINATED) == (130, 143)


def test_version_prints_the_version() -> None:
    assert done("--version") == f"twolayer, version {twolayer.__version__}\n"


def test_quiet_prints_only_results() -> None:
    output = done("train", "--epochs", 2, "--out", "run", "-q")
    assert "In run:" not in output
    assert "pixels" not in output
    assert re.search(r"test +400", output)


def test_debug_raises_the_original_error() -> None:
    with pytest.raises(ValueError, match="`DATASET` must be"):
        cli("train", "mnist", "--debug")


def test_the_package_runs_as_a_module() -> None:
    found = started("train", "--epochs", 1, "--out", "run")
    assert (found.returncode, found.stderr) == (0, "")
    assert files_in("run") == TRAIN_FILES <= set(run_folder._OWN)
    assert set(run_folder._OWN) >= SWEEP_FILES - {"parts"}  # parts is a folder
    assert "\x1b" not in found.stdout


def test_an_error_of_the_module_is_one_line_on_standard_error() -> None:
    found = started("train", "mnist")
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("Error: `DATASET` must be")
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_its_packages_the_command_line_names_the_extra(missing: str) -> None:
    script = f"import sys; sys.modules[{missing!r}] = None; from twolayer.cli import main; main()"
    found = started(script=script)
    assert found.returncode == 1
    assert found.stderr.count("\n") == 1
    assert 'install them with `python -m pip install "twolayer[cli]"`' in found.stderr


def test_characters_outside_the_encoding_become_question_marks() -> None:
    found = started("train", "--epochs", 1, environment={"PYTHONIOENCODING": "ascii"})
    assert found.returncode == 0, found.stderr
    assert "8?8 pixels" in found.stdout


def test_warnings_of_python_are_shown_as_those_of_the_command() -> None:
    script = (
        "import sys, warnings, twolayer.cli.commands as commands;"
        "commands.show_information = lambda console: warnings.warn('an odd\\nfile');"
        "sys.argv = ['twolayer', 'info'];"
        "import twolayer.cli; twolayer.cli.main()"
    )
    assert started(script=script).stderr == "Warning: an odd\\nfile\n"
