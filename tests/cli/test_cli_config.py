"""Settings in a file: --config, and the settings.toml of a run."""

from __future__ import annotations

import re
import signal
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st
from support.command_line import QUICK, cli, clusters, done, refused, settings_in

from twolayer import presets
from twolayer.cli import commands
from twolayer.cli.config import write_settings
from twolayer.cli.read_run import read_toml

pytestmark = pytest.mark.usefixtures("elsewhere", "no_pictures")


def config(**settings: Any) -> Path:
    """Write settings to config.toml, and return its path."""
    path = Path("config.toml")
    path.write_text(tomli_w.dumps(settings), encoding="utf-8")
    return path


def assert_same_files(*names: str) -> None:
    """Assert that files of the runs `again` and `run` are equal byte by byte."""
    for name in names:
        assert Path("again", name).read_bytes() == Path("run", name).read_bytes(), name


PRECEDENCE = {"reg": 0.25, "n_hidden": 5, "batch_size": 200, "mixup": 0.0, "dataset": "cifar10"}
TRAIN_RESULTS = ("network.safetensors", "history.json", "results.csv", "settings.toml")
SWEEP_RESULTS = ("network.safetensors", "history.json", "results.csv", "runs.csv", "settings.toml")


# The settings of a run repeat it


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--optimizer", "adamw", "--weight-decay", 0.02, "--seed", 7, "--no-center", "--scale", 0.1),
        ("--whiten", "pca", "--components", 20, "--shift", 1, "--networks", 2, "--dtype", "float64"),
        ("--steps", 30, "--ema-decay", 0.9, "--weight-scale", "he", "--class-weight", "balanced"),
        ("--decay-every", 7, "--learning-rate", 1 / 3, "--replacement", "--judge", "last", "--patience", 3),
    ],
)
def test_a_training_is_repeated_to_the_bit(options: tuple[object, ...]) -> None:
    quick = QUICK if "--steps" not in options else QUICK[2:]
    done("train", *quick, *options, "--out", "run")
    done("train", "--config", "run/settings.toml", "--out", "again")
    assert_same_files(*TRAIN_RESULTS)


@pytest.mark.parametrize(
    "options",
    [
        ("--learning-rate", "0.1,0.3", "--reg", "0,1e-3", "--seeds", 2),
        ("--learning-rate", 0.3, "--reg", 0, "--seeds", "5,3", "--weight-scale", "he,0.1"),
        ("--learning-rate", "0.1,0.3", "--reg", 0, "--seed", 4, "--max-networks", 1, "--hidden", "4,6"),
        ("--learning-rate", "1e-3..1", "--reg", "0,1e-3", "--dropout", "0..0.5", "--candidates", 5),
    ],
)
def test_a_sweep_is_repeated_to_the_bit(options: tuple[object, ...]) -> None:
    done("sweep", *QUICK, *options, "--out", "run")
    done("sweep", "--config", "run/settings.toml", "--out", "again")
    assert_same_files(*SWEEP_RESULTS)


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_the_assignment_is_repeated_to_the_bit(cifar: Path, command: str) -> None:
    done(command, "--preset", "assignment", "--data", cifar, "--validation", 20, "--out", "run", "-q")
    settings = settings_in("run")
    assert (settings["preset"], settings["decay_first"], settings["n_validation"]) == ("assignment", 1, 20)
    done(command, "--config", "run/settings.toml", "--out", "again", "-q")
    assert_same_files(*(TRAIN_RESULTS if command == "train" else SWEEP_RESULTS))


def test_a_training_resumed_to_a_new_total_is_repeated_to_the_bit(run: Path) -> None:
    text = (run / "settings.toml").read_text(encoding="utf-8")
    assert text.startswith("# To repeat the run: twolayer train --config settings.toml\n")
    done("train", "--resume", "run", "--steps", 70)
    done("train", "--config", "run/settings.toml", "--out", "again")
    assert settings_in("again")["steps"] == 70
    assert_same_files(*TRAIN_RESULTS)


def test_the_settings_of_an_interrupted_training_repeat_it_whole(send: Any) -> None:
    send(10, signal.SIGINT)
    assert cli("train", *QUICK, "--out", "run").exit_code == 130
    done("train", "--config", "run/settings.toml", "--out", "again")
    done("train", "--resume", "run")
    assert_same_files(*TRAIN_RESULTS)


def test_a_run_with_an_overridden_setting_is_repeated() -> None:
    """`--optimizer adam` overrides the momentum in a file; the settings of the run still repeat it."""
    path = config(optimizer="momentum", momentum=0.5, epochs=2, n_hidden=8)
    done("train", "--config", path, "--optimizer", "adam", "--out", "run", "-q")
    done("train", "--config", "run/settings.toml", "--out", "again", "-q")
    assert_same_files(*TRAIN_RESULTS)


def test_changed_data_of_a_run_are_refused(elsewhere: Path) -> None:
    mine = clusters(elsewhere / "mine.npz")
    done("train", mine, *QUICK, "--out", "run")
    clusters(elsewhere / "other.npz", seed=1)
    done("train", "other.npz", "--config", "run/settings.toml", "--out", "other", "-q")
    assert settings_in("other")["data_sha256"] != settings_in("run")["data_sha256"]
    clusters(mine, seed=1)
    line = refused("train", "--config", "run/settings.toml")
    assert "`--config` with `data_sha256`, need the data of that run; got other data" in line


# Precedence of settings


@pytest.fixture
def start_settings(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """A function that returns the settings with which a command would start; the command does no work."""
    found: list[dict[str, Any]] = []
    for name in ("run_train", "run_sweep"):
        monkeypatch.setattr(commands, name, lambda settings, *_, **__: found.append(settings))

    def settings(*arguments: object) -> dict[str, Any]:
        done(*arguments)
        return found.pop()

    return settings


@pytest.mark.parametrize(
    ("command", "stored", "given", "expected"),
    [
        # The command line overrides the file, the file the preset, the preset the defaults of the data set.
        ("train", {"preset": "assignment", "reg": 0.5, "n_hidden": 5}, ("--reg", 0.25), PRECEDENCE),
        ("train", {"steps": 30}, ("--epochs", 1), {"steps": None, "epochs": 1}),
        ("train", {"library": "torch"}, ("--library", "numpy"), {"library": "numpy"}),
        # An option replaces a stored choice that would ignore it.
        ("train", {"whiten": "pca", "components": 20}, ("--scale", "feature"), {"whiten": "none"}),
        ("train", {"schedule": "cosine"}, ("--decay-every", 5), {"schedule": "exponential"}),
        ("sweep", {"seeds": 2}, (), {"seeds": (0, 1)}),
        ("sweep", {"seeds": [5, 3]}, (), {"seeds": (5, 3)}),
        ("sweep", {"seeds": "5,3"}, (), {"seeds": (5, 3)}),
        ("sweep", {"seed": 4, "seeds": 2}, (), {"seeds": (4, 5)}),
        ("sweep", {"seeds": [5, 3]}, ("--seeds", 1), {"seeds": (0,)}),
        ("sweep", {"seeds": [5, 3]}, ("--seed", 7), {"seeds": (7, 8)}),
        ("sweep", {"seed": 4}, ("--seeds", "9,8"), {"seeds": (9, 8)}),
        ("sweep", {"seed": 4}, ("--seeds", 3), {"seeds": (4, 5, 6)}),
        ("sweep", {"seed": 4}, ("--seeds", 2, "--seed", 1), {"seeds": (1, 2)}),
        ("sweep", {}, ("--seeds", 2), {"seeds": (0, 1)}),
        ("sweep", {}, ("--seeds", "5,3"), {"seeds": (5, 3)}),
        ("sweep", {}, ("--seeds", "7,"), {"seeds": (7,)}),
        ("sweep", {}, ("--seed", 4, "--seeds", 2), {"seeds": (4, 5)}),
        ("sweep", {}, ("--seed", 4), {"seeds": (4, 5, 6)}),
        ("sweep", {}, (), {"seeds": (0, 1, 2)}),
        ("sweep", {"learning_rate": [0.1, 0.3, 0.1]}, (), {"learning_rate": (0.1, 0.3)}),
        ("sweep", {}, ("--reg", "0,1", "--reg", "1e-3,0"), {"reg": (0.0, 1.0, 1e-3)}),
        ("sweep", {"reg": 0, "weight_scale": ["he"]}, (), {"reg": (0.0,), "weight_scale": ("he",)}),
    ],
)
def test_options_override_the_file_and_the_file_overrides_presets(
    start_settings: Any,
    command: str,
    stored: dict[str, Any],
    given: tuple[object, ...],
    expected: dict[str, Any],
) -> None:
    settings = start_settings(command, "--config", config(**stored), *given)
    assert {name: settings[name] for name in expected} == expected


def test_paths_in_a_file_are_relative_to_it(start_settings: Any, elsewhere: Path) -> None:
    Path("project").mkdir()
    for stored, name in (({"dataset": "mine.npz"}, "dataset"), ({"dataset": "cifar10", "data": "x"}, "data")):
        path = config(**stored).rename("project/config.toml")
        assert start_settings("train", "--config", path)[name] == str(elsewhere / "project" / stored[name])


def test_the_home_of_an_unknown_user_is_an_ordinary_path() -> None:
    nobody = "~nobody-of-this-name/mine.npz"
    assert nobody in refused("train", nobody)
    assert nobody in refused("train", "--config", config(dataset=nobody))


# Refusals, which name the file and the key


@pytest.mark.parametrize(
    ("command", "stored", "message"),
    [
        ("train", {"n_hiden": 3}, "be a setting's name; did you mean n_hidden?"),
        ("train", {"hidden": 3}, "be a setting's name; did you mean n_hidden?"),
        ("train", {"no_flip": True}, "be a setting's name; did you mean flip?"),
        ("train", {"learning-rate": 3}, "be a setting's name; did you mean learning_rate?"),
        ("train", {"zzz": 3}, "be a setting's name; `app train --help` lists them"),
        ("train", {"out": "x"}, "be given on the command line: --out"),
        ("train", {"seeds": 3}, "be a setting's name; did you mean seed?"),
        ("train", {"learning_rate": -1}, "be a number above 0; got '-1'"),
        ("train", {"learning_rate": "fast"}, "be a number above 0; got 'fast'"),
        ("train", {"learning_rate": [0.1]}, "be a number or text; got [0.1]"),
        ("train", {"learning_rate": float("nan")}, "be a number above 0; got 'nan'"),
        ("train", {"epochs": 2.5}, "be an integer of at least 1; got '2.5'"),
        ("train", {"epochs": 10**400}, "be an integer of at least 1, and at most 2**53; got '1000"),
        ("train", {"flip": "yes"}, "be true or false; got 'yes'"),
        ("train", {"flip": 1}, "be true or false; got 1"),
        ("train", {"optimizer": "lbfgs"}, "be one of nesterov, momentum, sgd, adam, adamw; got 'lbfgs'"),
        (
            "train",
            {"dataset": "mnist"},
            "be digits, cifar10, the path of a .csv, .tsv, .parquet or .npz file",
        ),
        ("train", {"dataset": 3}, "be text; got 3"),
        ("train", {"preset": "homework"}, "be one of cpu, no-augmentation, record, assignment; got"),
        ("train", {"device": 0}, "be text; got 0"),
        ("train", {"command": "sweep"}, "be train, or be left out; got 'sweep' (to train its best candidate"),
        ("sweep", {"command": "train"}, "be sweep, or be left out; got 'train'"),
        ("train", {"n_train": 3}, "be left out except for cifar10; got it with digits"),
        ("sweep", {"reg": []}, "hold at least one value; got none"),
        ("sweep", {"reg": [0, -1]}, "be a number of at least 0; got '-1'"),
        ("sweep", {"reg": "0,1"}, "be a number of at least 0; got '0,1'"),
        ("sweep", {"reg": [[0]]}, "be a number or text; got [0]"),
        ("sweep", {"seeds": [1.5]}, "be an integer of at least 0; got '1.5'"),
        (
            "sweep",
            {"reg": "0..1"},
            "be a range, low..high: in '0..1', `low` must be finite and above 0; got 0",
        ),
        (
            "sweep",
            {"reg": ["1..0.1"]},
            "be a range, low..high: in '1..0.1', `high` must be finite and above 1; got",
        ),
        ("sweep", {"dropout": "0..1"}, "be a number of at least 0 and below 1; got '1'"),
        (
            "sweep",
            {"n_hidden": "9..5"},
            "be a range, low..high: in '9..5', `high` must be at least 10; got 5",
        ),
        ("sweep", {"n_hidden": "9..x"}, "be an integer of at least 1; got 'x'"),
        ("sweep", {"n_hidden": "9.."}, "be an integer of at least 1; got ''"),
        ("sweep", {"weight_scale": "he..1"}, "be a number above 0; got 'he'"),
        ("sweep", {"momentum": "0..0.5"}, "be a number of at least 0 and below 1; got '0..0.5'"),
        ("sweep", {"candidates": 0}, "be an integer of at least 1; got '0'"),
        ("train", {"candidates": 3}, "be a setting's name"),
        ("train", {"reg": "1e-3..1"}, "be a number of at least 0; got '1e-3..1'"),
        ("sweep", {"networks": 2}, "be a setting's name"),
        ("sweep", {"momentum": [0.5]}, "be a number or text; got [0.5]"),
    ],
)
def test_a_wrong_key_or_value_is_refused(command: str, stored: dict[str, Any], message: str) -> None:
    (key,) = stored
    line = refused(command, "--config", config(**stored), code=2)
    assert f"`{key}` in config.toml must {message}" in line
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("command", "stored", "message"),
    [
        ("train", {"epochs": 1, "steps": 1}, "--epochs or --steps must be given, not both; got both"),
        ("train", {"optimizer": "adam", "momentum": 0.5}, "`--momentum` must be left out unless --optimiz"),
        ("sweep", {"seed": 1, "seeds": [1]}, "--seed must be left out if --seeds lists the seeds"),
    ],
)
def test_values_that_do_not_go_together_are_refused(
    command: str, stored: dict[str, Any], message: str
) -> None:
    assert f"in config.toml, {message}" in refused(command, "--config", config(**stored), code=2)


@pytest.mark.parametrize(
    "text",
    [
        "reg = " + "[" * 100_000,
        "reg = " + "[" * 500 + "]" * 500,
        "reg = " + "{a=" * 500 + "1" + "}" * 500,
        "a." * 400 + "a = 1",
        "[" + "a." * 400 + "a]",
        "seed = " + "9" * 1_000_000,
        "seed = 0x" + "f" * 1_000_000,
        "reg = " + "9" * 400 + ".0",
        "reg = inf",
        "reg = -nan",
        "reg = 2020-01-01",
        "seed = 07:32:00",
        "reg = \x00",
        "device = '\x00'",
        'device = "\\u0000"',
        'library = "os"',
        'preset = "../presets"',
        'optimizer = "__class__"',
        "__class__ = 1",
        'overwrite = true\nout = "."',
        "overwrite = true",
        'out = "."',
        "config = 'other.toml'",
        "resume = '.'",
        "debug = true",
    ],
    ids=lambda text: ascii(text[:20]),
)
@pytest.mark.parametrize("command", ["train", "sweep"])
def test_harmful_settings_are_refused_in_one_line(command: str, text: str, elsewhere: Path) -> None:
    Path("config.toml").write_text(text, encoding="utf-8")
    line = refused(command, "--config", "config.toml", code=2)
    assert "config.toml" in line
    assert len(line) < 500
    assert [path.name for path in elsewhere.iterdir()] == ["config.toml"]


@given(
    stored=st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers(-9, 9), max_size=4),
    marked=st.booleans(),
    windows=st.booleans(),
)
def test_a_file_written_by_a_program_on_windows_is_read(
    tmp_path_factory: pytest.TempPathFactory, stored: dict[str, Any], marked: bool, windows: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "windows.toml"
    written = tomli_w.dumps(stored).replace("\n", "\r\n" if windows else "\n")
    path.write_bytes(written.encode("utf-8-sig" if marked else "utf-8"))
    assert read_toml(path) == stored


def test_a_file_that_is_missing_or_not_toml_is_refused() -> None:
    Path("config.toml").write_text("epochs = ", encoding="utf-8")
    message = "config.toml must be a TOML file in UTF-8; Invalid value"
    assert message in refused("train", "--config", "config.toml", code=2)
    Path("config.toml").write_bytes(b"\xff")
    assert "config.toml must be a TOML file in UTF-8; " in refused("train", "--config", "config.toml", code=2)
    line = refused("train", "--config", "confg.toml", code=2)
    assert "No such file or directory: confg.toml; did you mean config.toml?" in line


def test_without_tomli_w_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tomli_w", None)
    line = refused("train", *QUICK)
    assert "writing settings needs tomli_w" in line
    assert "install it with `python -m pip install" in line
    assert not Path("runs/digits-train-001").exists()


@pytest.mark.parametrize("command", ["train", "sweep"])
@pytest.mark.parametrize("name", [None, *presets.PRESETS])
def test_every_default_can_be_written_and_read(start_settings: Any, command: str, name: str | None) -> None:
    """Writing and reading do not change the settings of any preset. Nothing is trained."""
    settings = start_settings(command, *(() if name is None else ("--preset", name)))
    write_settings(Path("settings.toml"), settings)
    assert start_settings(command, "--config", "settings.toml") == settings


@pytest.mark.parametrize("option", ["--warmup", "--decay-every", "--seed", "--patience"])
def test_the_largest_integer_is_accepted(option: str) -> None:
    done("train", option, 2**53, *QUICK, "--out", "run")
    done("report", "run")


BAD_VALUES = {
    "deep": "seed." + "a." * 4000 + "a = 1",
    "deeper": "seed = " + "[" * 400 + "]" * 400,
    "long": "seed = 0x" + "f" * 5000,
    "date": "seed = 2020-01-01",
}


@pytest.mark.parametrize("kind", BAD_VALUES)
@pytest.mark.parametrize("way", ["report", "config", "resume"])
def test_huge_or_wrong_values_of_a_run_are_refused_in_one_line(run: Path, way: str, kind: str) -> None:
    text = Path("run/settings.toml").read_text(encoding="utf-8")
    text = re.sub("^seed = .*$", BAD_VALUES[kind], text, flags=re.MULTILINE)
    Path("run/settings.toml").write_text(text, encoding="utf-8")
    how = {"report": ("report", "run"), "config": ("train", "--config", "run/settings.toml")}
    line = refused(*how.get(way, ("train", "--resume", "run")), code=2 if way == "config" else 1)
    assert re.search("`seed` in .*settings.toml", line)
    assert len(line) < 300


def test_a_file_with_many_dots_is_refused_before_it_uses_memory() -> None:
    Path("many.toml").write_text("a." * 20_000 + "a = 1", encoding="utf-8")
    tracemalloc.start()
    try:
        line = refused("train", "--config", "many.toml", code=2)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "many.toml must be a TOML file in UTF-8; it has more than 5,000 dots" in line
    assert peak < 10e6
