"""Settings in a file: --config, and the settings.toml that a run leaves."""

from __future__ import annotations

import re
import signal
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st
from support.command_line import cli, clusters, done, refused, settings_in, small_cifar10

from twolayer import presets
from twolayer.cli import commands, console
from twolayer.cli.config import write_settings
from twolayer.cli.read_run import read_toml

QUICK = ("--epochs", 2, "--hidden", 8, "--quiet")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("twolayer.cli.figure_files.draw", lambda *_, **__: [])
    return tmp_path


def config(**settings: Any) -> Path:
    path = Path("config.toml")
    path.write_text(tomli_w.dumps(settings), encoding="utf-8")
    return path


def same(*names: str, of: str = "again", than: str = "run") -> None:
    for name in names:
        assert Path(of, name).read_bytes() == Path(than, name).read_bytes(), name


OF_TRAIN = ("network.safetensors", "history.json", "results.csv", "settings.toml")
OF_SWEEP = ("network.safetensors", "history.json", "results.csv", "runs.csv", "settings.toml")


# What a run leaves repeats it


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
    same(*OF_TRAIN)


@pytest.mark.parametrize(
    "options",
    [
        ("--learning-rate", "0.1,0.3", "--reg", "0,1e-3", "--seeds", 2),
        ("--learning-rate", 0.3, "--reg", 0, "--seeds", "5,3", "--weight-scale", "he,0.1"),
        ("--learning-rate", "0.1,0.3", "--reg", 0, "--seed", 4, "--max-networks", 1, "--hidden", "4,6"),
    ],
)
def test_a_sweep_is_repeated_to_the_bit(options: tuple[object, ...]) -> None:
    done("sweep", *QUICK, *options, "--out", "run")
    done("sweep", "--config", "run/settings.toml", "--out", "again")
    same(*OF_SWEEP)


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_the_assignment_is_repeated_to_the_bit(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    data = small_cifar10(elsewhere / "cifar-10-batches-bin", monkeypatch)
    done(command, "--preset", "assignment", "--data", data, "--validation", 20, "--out", "run", "-q")
    settings = settings_in("run")
    assert (settings["preset"], settings["decay_first"], settings["n_validation"]) == ("assignment", 1, 20)
    done(command, "--config", "run/settings.toml", "--out", "again", "-q")
    same(*(OF_TRAIN if command == "train" else OF_SWEEP))


def test_a_training_that_went_on_to_a_new_total_is_repeated_to_the_bit() -> None:
    done("train", *QUICK, "--out", "run")
    done("train", "--resume", "run", "--steps", 70)
    done("train", "--config", "run/settings.toml", "--out", "again")
    assert settings_in("again")["steps"] == 70
    same(*OF_TRAIN)


def test_a_training_that_was_interrupted_is_repeated_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    original = console.Watch.__call__

    def stop(self: console.Watch, progress: Any) -> None:
        if progress.step == 10:
            self.interrupted = signal.SIGINT
        original(self, progress)

    with monkeypatch.context() as patch:
        patch.setattr(console.Watch, "__call__", stop)
        assert cli("train", *QUICK, "--out", "run").exit_code == 130
    done("train", "--config", "run/settings.toml", "--out", "again")
    done("train", "--resume", "run")
    same(*OF_TRAIN)


def test_what_had_no_effect_is_not_repeated() -> None:
    """The momentum of a file gives way to an optimizer without one; what is left repeats the run."""
    path = config(optimizer="momentum", momentum=0.5, epochs=2, n_hidden=8)
    done("train", "--config", path, "--optimizer", "adam", "--out", "run", "-q")
    done("train", "--config", "run/settings.toml", "--out", "again", "-q")
    same(*OF_TRAIN)


def test_the_file_says_how_to_use_it() -> None:
    done("train", *QUICK, "--out", "run")
    text = Path("run/settings.toml").read_text(encoding="utf-8")
    assert text.startswith("# To do it again: twolayer train --config settings.toml\n")


def test_other_data_are_not_taken_for_those_of_the_run(elsewhere: Path) -> None:
    mine = clusters(elsewhere / "mine.npz")
    done("train", mine, *QUICK, "--out", "run")
    clusters(elsewhere / "other.npz", seed=1)
    done("train", "other.npz", "--config", "run/settings.toml", "--out", "other", "-q")
    assert settings_in("other")["data_sha256"] != settings_in("run")["data_sha256"]
    clusters(mine, seed=1)
    line = refused("train", "--config", "run/settings.toml")
    assert "a `--config` with `data_sha256`, must be given the data of that run; got others" in line


# What goes before what


def test_the_command_line_goes_before_the_file_and_the_file_before_the_preset(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = small_cifar10(elsewhere / "cifar-10-batches-bin", monkeypatch)
    path = config(preset="assignment", data=str(data), n_hidden=5, reg=0.5, library="numpy", seed=3)
    done("train", "--config", path, "--reg", 0.25, "--out", "run", "-q")
    settings = settings_in("run")
    assert settings["reg"] == 0.25  # the command line's
    assert settings["n_hidden"] == 5  # the file's
    assert settings["batch_size"] == 20  # the preset's
    assert settings["mixup"] == 0.0  # the data set's
    assert (settings["dataset"], settings["seed"]) == ("cifar10", 3)


def test_epochs_on_the_command_line_take_the_place_of_steps_in_the_file() -> None:
    done("train", "--config", config(steps=30, n_hidden=8), "--epochs", 1, "--out", "run", "-q")
    settings = settings_in("run")
    assert ("steps" in settings, settings["epochs"]) == (False, 1)


def test_a_choice_of_the_file_gives_way_to_an_option_that_another_has_a_use_for() -> None:
    path = config(whiten="pca", components=20, epochs=1)
    done("train", "--config", path, "--scale", "feature", "--out", "run", "-q")
    assert settings_in("run")["whiten"] == "none"


def test_a_library_on_the_command_line_goes_before_the_files() -> None:
    path = config(library="torch", epochs=1, n_hidden=3)
    done("train", "--config", path, "--library", "numpy", "--out", "run", "-q")
    assert settings_in("run")["library"] == "numpy"


@pytest.mark.parametrize(
    ("stored", "given", "seeds"),
    [
        ({"seeds": 2}, (), [0, 1]),
        ({"seeds": [5, 3]}, (), [5, 3]),
        ({"seed": 4, "seeds": 2}, (), [4, 5]),
        ({"seeds": [5, 3]}, ("--seeds", 1), [0]),
        ({"seeds": [5, 3]}, ("--seed", 7), [7, 8]),
        ({"seed": 4}, ("--seeds", "9,8"), [9, 8]),
        ({"seed": 4}, ("--seeds", 3), [4, 5, 6]),
        ({"seed": 4}, ("--seeds", 2, "--seed", 1), [1, 2]),
    ],
)
def test_seeds(stored: dict[str, Any], given: tuple[object, ...], seeds: list[int]) -> None:
    path = config(**stored, learning_rate=0.1, reg=[0], epochs=1, n_hidden=[3])
    done("sweep", "--config", path, *given, "--out", "run", "-q")
    assert settings_in("run")["seeds"] == seeds


def test_swept_settings_are_lists_or_single_values() -> None:
    path = config(
        learning_rate=[0.1, 0.3, 0.1], reg=0, n_hidden=[3, 4], seeds=1, epochs=1, weight_scale=["he"]
    )
    done("sweep", "--config", path, "--out", "run", "-q")
    settings = settings_in("run")
    assert (settings["learning_rate"], settings["reg"]) == ([0.1, 0.3], [0.0])
    assert (settings["n_hidden"], settings["weight_scale"]) == ([3, 4], ["he"])


def test_paths_in_a_file_are_relative_to_it(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "project").mkdir()
    clusters(elsewhere / "project" / "mine.npz")
    config(dataset="mine.npz", epochs=1).rename("project/config.toml")
    done("train", "--config", "project/config.toml", "--out", "run", "-q")
    assert settings_in("run")["dataset"] == str(elsewhere / "project" / "mine.npz")
    data = small_cifar10(elsewhere / "project" / "cifar-10-batches-bin", monkeypatch)
    config(dataset="cifar10", data=data.name, epochs=1).rename("project/config.toml")
    done("train", "--config", "project/config.toml", "--out", "cifar", "-q")
    assert settings_in("cifar")["data"] == str(data)


def test_the_home_of_nobody_is_a_path_like_any_other() -> None:
    nobody = "~nobody-of-this-name/mine.npz"
    assert nobody in refused("train", nobody)
    assert nobody in refused("train", "--config", config(dataset=nobody))


# What is refused, with the file and the key


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"n_hiden": 3}, "`n_hiden` in config.toml must be a setting's name; did you mean `n_hidden`?"),
        ({"hidden": 3}, "`hidden` in config.toml must be a setting's name; did you mean `n_hidden`?"),
        (
            {"learning-rate": 3},
            "`learning-rate` in config.toml must be a setting's name; did you mean `learn",
        ),
        ({"zzz": 3}, "`zzz` in config.toml must be a setting's name; `"),
        ({"out": "x"}, "`out` in config.toml must be given on the command line: --out"),
        ({"seeds": 3}, "`seeds` in config.toml must be a setting's name; did you mean `seed`?"),
        ({"learning_rate": -1}, "`learning_rate` in config.toml must be a number above 0; got '-1'"),
        ({"learning_rate": [0.1]}, "`learning_rate` in config.toml must be a number or text; got [0.1]"),
        (
            {"learning_rate": float("nan")},
            "`learning_rate` in config.toml must be a number above 0; got 'nan'",
        ),
        ({"epochs": 2.5}, "`epochs` in config.toml must be an integer of at least 1; got '2.5'"),
        (
            {"epochs": 10**400},
            "`epochs` in config.toml must be an integer of at least 1, and at most 2**53; got '1000",
        ),
        ({"flip": "yes"}, "`flip` in config.toml must be true or false; got 'yes'"),
        ({"optimizer": "lbfgs"}, "`optimizer` in config.toml must be one of nesterov, momentum, sgd, adam"),
        (
            {"dataset": "mnist"},
            "`dataset` in config.toml must be digits, cifar10 or the path of an .npz file",
        ),
        (
            {"preset": "homework"},
            "`preset` in config.toml must be one of cpu, no-augmentation, record, assign",
        ),
        ({"device": 0}, "`device` in config.toml must be text; got int"),
        ({"command": "sweep"}, "`command` in config.toml must be train, or be left out; got 'sweep', w"),
        ({"n_train": 3}, "`n_train` in config.toml must be left out but for cifar10; got it with digits"),
        ({"epochs": 1, "steps": 1}, "in config.toml, --epochs or --steps must be given, not both; got both"),
        (
            {"optimizer": "adam", "momentum": 0.5},
            "in config.toml, `--momentum` must be left out but with --optimizer nesterov or momentum",
        ),
    ],
)
def test_a_wrong_file_is_refused(stored: dict[str, Any], message: str) -> None:
    assert message in refused("train", "--config", config(**stored), code=2)
    assert not Path("runs").exists()


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
def test_settings_that_mean_harm_are_refused_in_a_line(command: str, text: str, elsewhere: Path) -> None:
    Path("config.toml").write_text(text, encoding="utf-8")
    line = refused(command, "--config", "config.toml", code=2)
    assert "config.toml" in line
    assert len(line) < 500
    assert [path.name for path in elsewhere.iterdir()] == ["config.toml"]


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"reg": []}, "`reg` in config.toml must hold at least one value; got none"),
        ({"reg": [0, -1]}, "`reg` in config.toml must be a number of at least 0; got '-1'"),
        ({"reg": [[0]]}, "`reg` in config.toml must be a number or text; got [0]"),
        ({"seeds": [1.5]}, "`seeds` in config.toml must be an integer of at least 0; got '1.5'"),
        ({"seed": 1, "seeds": [1]}, "in config.toml, --seed or all --seeds must be given, not both"),
        ({"networks": 2}, "`networks` in config.toml must be a setting's name"),
        ({"momentum": [0.5]}, "`momentum` in config.toml must be a number or text; got [0.5]"),
    ],
)
def test_a_wrong_file_of_a_sweep_is_refused(stored: dict[str, Any], message: str) -> None:
    assert message in refused("sweep", "--config", config(**stored), code=2)


@given(
    stored=st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers(-9, 9), max_size=4),
    marked=st.booleans(),
    windows=st.booleans(),
)
def test_a_file_as_programs_on_windows_write_it(
    tmp_path_factory: pytest.TempPathFactory, stored: dict[str, Any], marked: bool, windows: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "windows.toml"
    written = tomli_w.dumps(stored).replace("\n", "\r\n" if windows else "\n")
    path.write_bytes(written.encode("utf-8-sig" if marked else "utf-8"))
    assert read_toml(path) == stored


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_settings_with_a_byte_order_mark_are_read(end: str) -> None:
    Path("config.toml").write_bytes(b"\xef\xbb\xbf" + f"n_hidden = 7{end}epochs = 1{end}".encode())
    done("train", "--config", "config.toml", "--out", "run", "--quiet")
    assert settings_in("run")["n_hidden"] == 7


def test_a_file_that_is_none_is_refused() -> None:
    Path("config.toml").write_text("epochs = ", encoding="utf-8")
    message = "config.toml must be a TOML file in UTF-8; Invalid value"
    assert message in refused("train", "--config", "config.toml", code=2)
    Path("config.toml").write_bytes(b"\xff")
    assert "config.toml must be a TOML file in UTF-8; " in refused("train", "--config", "config.toml", code=2)
    line = refused("train", "--config", "confg.toml", code=2)
    assert "No such file or directory: confg.toml; did you mean config.toml?" in line


def test_a_run_goes_on_by_its_own_settings_only() -> None:
    done("train", *QUICK, "--out", "run")
    line = refused("train", "--resume", "run", "--config", config(epochs=3), code=2)
    assert "--resume goes on with the run's own settings: leave out --config" in line


def test_a_run_of_an_older_version_is_told_from_none() -> None:
    Path("run").mkdir()
    Path("run/settings.json").write_text("{}", encoding="utf-8")
    line = refused("train", "--resume", "run")
    assert "it holds no settings.toml but settings.json, of an older version" in line


def test_without_tomli_w_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tomli_w", None)
    line = refused("train", *QUICK)
    assert "writing settings needs tomli_w" in line
    assert "the extra `cli` brings it" in line
    assert not Path("runs/digits-train-001").exists()


@pytest.mark.parametrize("command", ["train", "sweep"])
@pytest.mark.parametrize("name", [None, *presets.PRESETS])
def test_every_default_can_be_written_and_read(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, command: str, name: str | None
) -> None:
    """What the settings of each preset become is what they were, without a training."""
    begun: list[dict[str, Any]] = []
    monkeypatch.setattr(commands, f"run_{command}", lambda settings, console, **more: begun.append(settings))
    chosen = () if name is None else ("--preset", name)
    done(command, *chosen)
    write_settings(Path("settings.toml"), begun[0])
    done(command, "--config", "settings.toml")
    assert begun[0] == begun[1]


@pytest.mark.parametrize("text", [str(2**53 + 1), str(2**63), "1" + "0" * 400, "1" + "0" * 5000], ids=len)
@pytest.mark.parametrize(
    "option", ["--warmup", "--seed", "--decay-every", "--patience", "--symmetrize-shift"]
)
def test_an_integer_beyond_all_measure_is_wrong_usage(option: str, text: str) -> None:
    line = refused("train", option, text, "--out", "run", code=2)
    assert "must be an integer of at least " in line
    # Python makes no integer of more than 4,300 digits.
    assert len(text) > 4300 or ", and at most 2**53; got '" in line
    assert len(line) < 300
    assert not Path("run").exists()


@pytest.mark.parametrize("option", ["--warmup", "--decay-every", "--seed", "--patience"])
def test_the_largest_integer_is_an_integer_as_others(option: str) -> None:
    done("train", option, 2**53, *QUICK, "--out", "run")
    done("report", "run")


def test_a_shift_beyond_the_image_is_refused_before_the_training() -> None:
    line = refused("train", "--symmetrize-shift", 2**53, *QUICK, "--out", "run")
    assert "`--symmetrize-shift` must be smaller than the image, (height, width) = (8, 8); got" in line
    assert not Path("run").exists()


NO_VALUES = {
    "deep": "seed." + "a." * 4000 + "a = 1",
    "deeper": "seed = " + "[" * 400 + "]" * 400,
    "long": "seed = 0x" + "f" * 5000,
    "another": "seed = 2020-01-01",
}


@pytest.mark.parametrize("kind", NO_VALUES)
@pytest.mark.parametrize("way", ["report", "config", "resume"])
def test_values_beyond_all_measure_are_refused_in_a_line(way: str, kind: str) -> None:
    done("train", *QUICK, "--out", "run")
    text = Path("run/settings.toml").read_text(encoding="utf-8")
    text = re.sub("^seed = .*$", NO_VALUES[kind], text, flags=re.MULTILINE)
    Path("run/settings.toml").write_text(text, encoding="utf-8")
    how = {"report": ("report", "run"), "config": ("train", "--config", "run/settings.toml")}
    line = refused(*how.get(way, ("train", "--resume", "run")), code=2 if way == "config" else 1)
    assert re.search("`seed` in .*settings.toml", line)
    assert len(line) < 300


def test_settings_of_many_dots_are_refused_before_they_take_memory() -> None:
    Path("many.toml").write_text("a." * 20_000 + "a = 1", encoding="utf-8")
    tracemalloc.start()
    try:
        line = refused("train", "--config", "many.toml", code=2)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "many.toml must be a TOML file in UTF-8; it has more than 5,000 dots" in line
    assert peak < 10e6
