"""A user's own data on the command line: files to evaluate on, their labels, fingerprints, and hints."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.command_line import answered, cli, clusters, done, refused, settings_in, small_cifar10

import twolayer
from twolayer import datasets, storage
from twolayer._records import read_json
from twolayer.cli.data import fingerprint

QUICK = ("--epochs", 3, "--hidden", 8, "-q")
NAMES = np.array(["bee", "ant", "cat"])


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("twolayer.cli.figure_files.draw", lambda *_, **__: [])
    return tmp_path


def arrays(path: Path | str) -> dict[str, Any]:
    with np.load(path) as stored:
        return dict(stored)


def named(path: str, **more: Any) -> Path:
    """Write a file of three clusters whose labels are names; return its path."""
    found = arrays(clusters(Path(path), **more))
    np.savez(path, **{**found, "y": NAMES[found["y"]]})
    return Path(path)


@pytest.fixture
def run() -> Path:
    """The folder of a training on three named classes."""
    done("train", named("mine.npz"), *QUICK, "--out", "run")
    return Path("run")


def evaluated(*arguments: object) -> dict[str, Any]:
    """The answer of `evaluate` with --json."""
    code, data, _ = answered("evaluate", *arguments)
    assert code == 0
    return dict(data)


def accuracy(folder: Path, X: Any, y: Any) -> float:
    """The accuracy of a run's network on samples whose labels are names."""
    path = folder / "network.safetensors"
    classes = np.array(storage.load_metadata(path).classes)
    return float(np.mean(classes[storage.load(path).predict(X)] == y))


def assert_evaluated(folder: Path, X: Any, y: Any, *, labels: Any = None, **more: Any) -> dict[str, Any]:
    """Assert that a run's network is evaluated on all samples of a file; return the answer.

    If `labels` are given, they are stored instead of the names `y`.
    """
    np.savez("some.npz", X=X, y=y if labels is None else labels, **more)
    found = evaluated(folder, "some.npz")
    assert (found["split"], found["n_samples"]) == ("all", len(y))
    assert found["accuracy"] == pytest.approx(accuracy(folder, X, y))
    return found


# The samples of a file on which a network is evaluated


def test_all_samples_of_another_file_are_evaluated(run: Path) -> None:
    assert_evaluated(run, **arrays(named("new.npz", n=100, seed=5)))
    output = done("evaluate", run, "some.npz")
    assert "some: all 100 samples" in output
    assert "some.npz is not known to be the training data: all of its samples are used" in output


def test_the_test_samples_of_the_training_file_are_evaluated(run: Path) -> None:
    assert "mine: 18 test samples" in done("evaluate", run, "mine.npz")
    Path("mine.npz").rename("moved.npz")
    assert evaluated(run, "moved.npz")["split"] == "test"


@pytest.mark.parametrize("change", ["train", "validation", "test", "order"])
def test_a_changed_training_file_counts_as_another_file(run: Path, change: str) -> None:
    rows = datasets.load_npz("mine.npz").rows
    assert rows is not None
    stored = arrays("mine.npz")
    if change == "order":
        stored = {key: array[::-1] for key, array in stored.items()}
    else:
        stored["X"][rows[change][0], 0] += 1e-9
    np.savez("mine.npz", **stored)
    assert (evaluated(run, "mine.npz")["split"], evaluated(run, "mine.npz")["n_samples"]) == ("all", 120)


def test_a_file_of_test_samples_alone_is_evaluated(run: Path) -> None:
    new = arrays(named("new.npz", n=40, seed=5))
    np.savez("only.npz", X_test=new["X"], y_test=new["y"])
    found = evaluated(run, "only.npz")
    assert (found["split"], found["n_samples"]) == ("all", 40)
    assert evaluated(run, "only.npz", "--split", "test")["accuracy"] == found["accuracy"]
    line = refused("evaluate", run, "only.npz", "--split", "validation")
    assert "only.npz must hold `X` and `y`; it holds X_test, y_test" in line


def test_all_samples_include_every_set_of_a_file(run: Path) -> None:
    new = arrays(named("new.npz", n=40, seed=5))
    other = arrays(named("other.npz", n=30, seed=6))
    np.savez("new.npz", **new, X_test=other["X"], y_test=other["y"])
    both = {key: np.concatenate([new[key], other[key]]) for key in "Xy"}
    found = evaluated(run, "new.npz")
    assert found["n_samples"] == 70
    assert found["accuracy"] == pytest.approx(accuracy(run, both["X"], both["y"]))
    assert evaluated(run, "new.npz", "--split", "test")["n_samples"] == 30


def test_a_split_of_the_training_file_is_that_of_the_training(run: Path) -> None:
    stored, rows = arrays("mine.npz"), datasets.load_npz("mine.npz").rows
    assert rows is not None
    for split in ("train", "validation", "test"):
        chosen = rows[split]
        expected = accuracy(run, stored["X"][chosen], stored["y"][chosen])
        found = evaluated(run, "mine.npz", "--split", split)
        assert (found["accuracy"], found["n_samples"]) == (pytest.approx(expected), len(chosen))
    assert evaluated(run, "mine.npz", "--split", "all")["n_samples"] == 120


def test_split_all_evaluates_all_samples_of_the_digits() -> None:
    done("train", *QUICK, "--out", "run")
    assert "digits: all 1,797 samples" in done("evaluate", "run", "--split", "all")
    assert evaluated("run")["split"] == "test"


# Labels are matched by name


def test_labels_may_be_some_of_the_classes_in_any_order(run: Path) -> None:
    new = arrays(named("new.npz", n=60, seed=5))
    for chosen in (["cat", "ant"], ["cat"]):
        rows = np.isin(new["y"], chosen)
        found = assert_evaluated(run, new["X"][rows], new["y"][rows])
        assert {row["class"] for row in found["by_class"] if row["support"]} == set(chosen)
    classes = np.array(["cat", "bee", "ant"])  # another order; labels are indices into it
    indices = np.array([classes.tolist().index(name) for name in new["y"]])
    assert_evaluated(run, **new, labels=indices, classes=classes)


def test_integer_labels_are_indices_if_no_class_is_an_integer(run: Path) -> None:
    new = arrays(named("new.npz", n=60, seed=5))
    assert_evaluated(run, **new, labels=np.searchsorted(["ant", "bee", "cat"], new["y"]).astype(np.uint8))


def write_labelled(labels: Any, path: str = "numbers.npz") -> dict[str, Any]:
    """Write a file of three clusters with these labels; return its arrays."""
    found = arrays(clusters(Path(path), n=60))
    np.savez(path, X=found["X"], y=np.array(labels)[found["y"]])
    return arrays(path)


def test_integer_labels_are_names_if_the_classes_are_integers() -> None:
    write_labelled([20, 10, 30])
    done("train", "numbers.npz", *QUICK, "--out", "run")
    new = write_labelled([20, 10, 30], "new.npz")
    rows = new["y"] != 10
    for dtype in ("int8", "uint64", str):
        y = new["y"][rows]
        assert_evaluated(Path("run"), new["X"][rows], y.astype(str), labels=y.astype(dtype))


@pytest.mark.parametrize(
    ("trained", "y", "message"),
    [
        ([20, 10, 30], [10, 20, 1], "of the classes 10, 20, 30; got a label of 1"),
        ([1, 2, 3], [0, 1, 2], "of the classes 1, 2, 3; got a label of 0"),
        (NAMES, ["ant", "emu", "cat"], "of the classes ant, bee, cat; got a label of emu"),
        (NAMES, [0, 1, 3], "of the classes ant, bee, cat, or their indices in [0, 3); got a label of 3"),
        (NAMES, [0, 1, -1], "of the classes ant, bee, cat, or their indices in [0, 3); got a label of -1"),
        (NAMES, [True, False, False], "of the classes ant, bee, cat; got a label of True"),
    ],
)
def test_a_label_of_no_class_is_refused(trained: Any, y: Any, message: str) -> None:
    write_labelled(trained)
    done("train", "numbers.npz", *QUICK, "--out", "run")
    np.savez("other.npz", X=np.ones((3, 6)), y=np.array(y))
    assert f"`y` in other.npz must hold labels {message}" in refused("evaluate", "run", "other.npz")


def test_labels_beyond_the_classes_and_needless_data_are_refused(run: Path) -> None:
    np.savez("other.npz", X=np.ones((3, 6)), y=np.array([0, 1, 2]), classes=np.array(["ant", "bee"]))
    message = "`y` in other.npz must hold labels of the classes; got a label of 2"
    assert message in refused("evaluate", run, "other.npz")
    message = "`--data` must be left out except for cifar10; got it with mine.npz"
    assert message in refused("evaluate", run, "mine.npz", "--data", "x", code=2)


# Fingerprints of data


def digest(path: Path, **changes: Any) -> str:
    """Change arrays of a file, and return the fingerprint of its data."""
    np.savez(path, **{**arrays(path), **changes})
    return fingerprint(datasets.load_npz(path))


def test_the_fingerprint_depends_on_every_part(elsewhere: Path) -> None:
    path = named("mine.npz")
    stored, rows = arrays(path), datasets.load_npz(path).rows
    assert rows is not None
    found = {digest(path)}
    for part in rows.values():
        X, y = stored["X"].copy(), stored["y"].copy()
        X[part[-1], 0] += 1e-9
        found.add(digest(path, X=X, y=y))
        first, last = part[0], next(row for row in part if y[row] != y[part[0]])
        y[[first, last]] = y[[last, first]]
        found.add(digest(path, X=stored["X"], y=y))
    found.add(digest(path, X=stored["X"], y=np.char.upper(stored["y"])))
    assert len(found) == 8
    assert digest(path, X=stored["X"], y=stored["y"]) in found


def test_the_fingerprint_depends_on_which_part_is_missing() -> None:
    digits = datasets.load_digits()
    fields: Mapping[str, Any] = {"name": "", "classes": digits.classes, "image_shape": None}
    one = datasets.Dataset(train=digits.train, validation=digits.test, test=None, **fields)
    other = datasets.Dataset(train=digits.train, validation=None, test=digits.test, **fields)
    assert fingerprint(one) != fingerprint(other)


@pytest.mark.parametrize("held", [True, False])
def test_changed_test_samples_are_refused(held: bool) -> None:
    """Test samples are stored as X_test, or drawn from X."""
    path = named("mine.npz")
    if held:
        other = arrays(named("other.npz", n=30, seed=6))
        digest(path, X_test=other["X"], y_test=other["y"])
    done("train", path, *QUICK, "--out", "run")
    key, rows = ("X_test", None) if held else ("X", datasets.load_npz(path).rows)
    X = arrays(path)[key]
    X[0 if rows is None else rows["test"][0], 0] += 1e-9
    digest(path, **{key: X})
    for arguments in (("--config", "run/settings.toml"), ("--resume", "run", "--epochs", 5)):
        assert "need the data of that run; got other data" in refused("train", *arguments)


def test_changed_test_samples_of_cifar10_are_refused(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small_cifar10(elsewhere / "cifar-10-batches-bin", monkeypatch)
    done("train", "cifar10", "--data", folder, "--epochs", 1, "-q", "--out", "run")
    test = bytearray((folder / "test_batch.bin").read_bytes())
    test[-1] ^= 1
    (folder / "test_batch.bin").write_bytes(test)
    line = refused("train", "--resume", "run", "--epochs", 2)
    assert "need the data of that run; got other data" in line


# Rows of the file in predictions


def test_predictions_contain_the_rows_of_the_file() -> None:
    stored = arrays(named("mine.npz"))
    done("train", "mine.npz", *QUICK, "--out", "run")
    found = arrays("run/predictions.npz")
    rows = found["rows_in_file"]
    assert len(rows) == 18
    net = storage.load("run/network.safetensors")
    np.testing.assert_allclose(net.predict_proba(stored["X"][rows]), found["probabilities"], rtol=1e-5)
    assert (np.unique(NAMES)[found["y"]] == stored["y"][rows]).all()


def test_predictions_of_separate_test_samples_contain_no_rows() -> None:
    found = arrays(named("mine.npz"))
    np.savez("mine.npz", **found, X_test=found["X"][:9], y_test=found["y"][:9])
    done("train", "mine.npz", *QUICK, "--out", "run")
    assert "rows_in_file" not in arrays("run/predictions.npz")
    done("train", *QUICK, "--out", "digits")
    assert "rows_in_file" not in arrays("digits/predictions.npz")


# Suspicious classes


def test_classes_of_few_samples_cause_a_warning() -> None:
    found = arrays(named("mine.npz"))
    assert "classes with fewer than" not in done("train", "mine.npz", *QUICK[:-1])
    found["y"] = found["y"].astype("U4")
    found["y"][0] = "rare"
    found["y"][5:7] = "two"
    found["y"][1] = str(float("nan"))
    np.savez("mine.npz", **found)
    output = " ".join(done("train", "mine.npz", *QUICK[:-1]).split())
    assert "classes with fewer than 3 samples: 'nan' (1), 'rare' (1), 'two' (2); they cannot have" in output
    assert "missing labels may have become a class: 'nan' (1); remove such samples" in output


def test_many_missing_labels_cause_a_warning() -> None:
    found = arrays(named("mine.npz"))
    found["y"][20:40] = ""
    np.savez("mine.npz", **found)
    output = done("sweep", "mine.npz", *QUICK[:-1], "--learning-rate", 0.1, "--reg", 0, "--seeds", 1)
    assert "may have become a class: '' (20)" in output
    assert "classes with fewer than" not in output


def test_a_warning_names_five_of_many_rare_classes() -> None:
    X = np.random.default_rng(0).normal(size=(60, 3))
    np.savez("mine.npz", X=X, y=np.concatenate([np.zeros(26), np.arange(34) // 2 + 1]).astype(int))
    output = done("train", "mine.npz", *QUICK[:-1])
    assert "'1' (2), '2' (2), '3' (2), '4' (2), '5' (2) and 12 more;" in output


# Files that are not .npz files


@pytest.mark.parametrize("name", ["wine.XLSX", "my tables/wine.feather"])
def test_another_kind_of_table_gets_a_hint_at_the_supported_kinds(name: str) -> None:
    line = refused("train", name, code=2)
    assert f"got '{name}'; save the table as a .csv or .parquet file" in line


# Hints at common mistakes

OBJECTS = (
    "numbers or strings; got dtype object, which is stored by pickle and not read, "
    "because unpickling a file can run any code that is in it; store `X.astype('float64')`"
)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda p: p.write_text("1,2,3"), "a whole array; it cannot be read (it is not an array)"),
        (lambda p: p.write_bytes(b""), "a whole array; it cannot be read (it is not an array)"),
        (lambda p: np.save(p, np.array([[1.0, None]])), OBJECTS),
    ],
)
def test_an_unreadable_array_is_refused(run: Path, write: Any, message: str) -> None:
    write(Path("a.npy"))
    line = refused("predict", run, "a.npy")
    assert line.startswith("Error: a.npy must ")
    assert message in line
    assert "allow_pickle" not in line


def test_train_and_predict_refuse_a_text_file_alike(run: Path) -> None:
    Path("a.npz").write_text("1,2,3")
    assert refused("predict", run, "a.npz") == refused("train", "a.npz").replace(f"{Path.cwd()}{os.sep}", "")


@pytest.mark.parametrize("name", ["new.npy", "new.npz", "seven.png"])
@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_exchanged_arguments_get_a_hint(run: Path, command: str, name: str) -> None:
    line = refused(command, name, run, code=1 if command == "predict" else 2)
    assert "`NETWORK`, which is first, must be a .safetensors file or the folder of a run; got" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--lr", 1), "option '--lr'. Did you mean '--learning-rate'? (see app train --help)"),
        (("sweep", "--l2", 1), "No such option '--l2'. Did you mean '--reg'? (see"),
        (("train", "--hidden-units", 1), "No such option '--hidden-units'. Did you mean '--hidden'? (see"),
        (("train", "--n_epochs", 1), "No such option '--n_epochs'. Did you mean '--epochs'? (see"),
        (("predict", "run", "x", "--gpu"), "No such option '--gpu'. Did you mean '--device'? (see"),
        (("sweep", "--learning-rate", 0.1, 0.2), "got '0.2'; to give a sweep several values, separate them"),
        (
            ("sweep", "--reg", 0.1, 0.2, "3e-1"),
            "Got unexpected extra argument (3e-1); to give a sweep several",
        ),
        (
            ("sweep", "digits", "--reg", 0.1, 0.2, 3),
            "extra arguments (0.2 3); to give a sweep several values",
        ),
        (("train", "--reg", "0.1,0.2"), "at least 0; got '0.1,0.2'; `twolayer sweep` takes several"),
        (("train", "--hidden", "5,6"), "at least 1; got '5,6'; `twolayer sweep` takes several"),
        # No hint if it would not help:
        (("train", "--epochs", "5,6"), "of at least 1; got '5,6' (see"),
        (("train", "--reg", "x"), "of at least 0; got 'x' (see"),
        (("train", "digits", "more"), "Got unexpected extra argument (more) (see"),
    ],
)
def test_options_with_other_names_or_several_values_get_a_hint(arguments: Any, message: str) -> None:
    assert message in refused(*arguments, code=2)


def test_an_option_that_the_command_lacks_is_not_suggested() -> None:
    line = refused("info", "--lr", 1, code=2)
    assert "--lr" in line
    assert "--learning-rate" not in line


def test_a_training_without_a_network_is_refused_with_a_hint(run: Path) -> None:
    for name in ("network.safetensors", "results.json"):
        (run / name).unlink()
    about = "the run is not finished: `twolayer train --resume run` continues it"
    assert refused("predict", run, "mine.npz").endswith(f"holds no network.safetensors; {about}")
    done("train", "--resume", run)
    done("predict", run, "mine.npz")
    (run / "network.safetensors").unlink()  # as after a divergence
    assert refused("predict", run, "mine.npz").endswith("it holds no network.safetensors")


def test_the_folder_of_a_run_may_have_any_name(run: Path) -> None:
    run.rename("run.npz")
    assert evaluated("run.npz", "mine.npz", "--split", "all")["n_samples"] == len(arrays("mine.npz")["y"])


def test_load_accepts_the_folder_of_a_run(run: Path) -> None:
    for name, array in twolayer.load(run)._asdict().items():
        np.testing.assert_array_equal(array, getattr(twolayer.load(run / "network.safetensors"), name))
    assert storage.load_metadata(run).classes == ("ant", "bee", "cat")
    for load in (twolayer.load, storage.load_metadata):
        with pytest.raises(FileNotFoundError, match="must be the folder of a run; it holds no network"):
            load(Path())


# The best of a sweep, trained again


def test_train_reads_the_best_candidate_from_the_folder_of_a_sweep() -> None:
    named("mine.npz")
    grid = ("--learning-rate", "0.001,0.1", "--reg", "0.01,0.1", "--hidden", "4,6", "--seeds", "3,5")
    done("sweep", "mine.npz", "--epochs", 4, "-q", *grid, "--out", "sweep")
    done("train", "--config", "sweep/settings.toml", "-q", "--out", "run")
    best, settings = read_json(Path("sweep/results.json"))["best"], settings_in("run")
    for name in ("learning_rate", "reg", "n_hidden", "seed"):
        assert settings[name] == best[name], name
    assert (settings["command"], settings["networks"]) == ("train", 1)
    assert settings["data_sha256"] == settings_in("sweep")["data_sha256"]
    for name, array in twolayer.load("run")._asdict().items():
        np.testing.assert_allclose(array, getattr(twolayer.load("sweep"), name), rtol=1e-4, atol=1e-6)
    done("train", "--config", "sweep/settings.toml", "-q", "--out", "longer", "--epochs", 5)
    assert (settings_in("longer")["epochs"], settings_in("longer")["reg"]) == (5, best["reg"])


def test_a_sweep_without_results_has_no_best_candidate() -> None:
    done("sweep", *QUICK, "--learning-rate", 0.1, "--reg", 0, "--seeds", 1, "--out", "sweep")
    Path("sweep/results.json").unlink()
    line = refused("train", "--config", "sweep/settings.toml", code=2)
    assert "got 'sweep' (to train its best candidate, the results.json of the sweep must" in line


def test_a_diverged_sweep_has_no_best_candidate() -> None:
    cli("sweep", *QUICK, "--learning-rate", 1e6, "--reg", 0, "--seeds", 1, "--out", "sweep")
    line = refused("train", "--config", "sweep/settings.toml", code=2)
    assert "the results.json of the sweep must be beside the file and hold one)" in line


# Inverted images


def scans(folder: str, images: Any, *, white: float) -> list[str]:
    """Write images to a folder, with white pixels as 255."""
    pillow = pytest.importorskip("PIL.Image", reason="Pillow comes with matplotlib")
    Path(folder).mkdir()
    for i, pixels in enumerate(images):
        pillow.fromarray(np.uint8(np.round(pixels * (255 / white)))).save(f"{folder}/{i:03}.png")
    return [folder]


def test_images_that_look_inverted_cause_a_warning() -> None:
    done("train", *QUICK, "--out", "run")
    digits = datasets.load_digits()
    information = storage.load_metadata("run").information
    assert information["mean_pixel"] == pytest.approx(digits.train.X.mean())
    scans("right", digits.test.X, white=16)
    scans("wrong", 16 - digits.test.X, white=16)
    mixed = np.concatenate([digits.test.X[:2], 16 - digits.test.X[:1]])
    scans("mixed", mixed, white=16)
    assert "inverted" not in done("predict", "run", "right")
    assert "inverted" not in done("predict", "run", "wrong", "--invert")
    output = " ".join(done("predict", "run", "mixed").split())
    assert (
        "1 of 3 images look inverted compared with the training images; the first is mixed/002.png" in output
    )
    assert "try again with --invert" in output
    assert "398 of 400 images look inverted" in done("predict", "run", "wrong")
    assert "try again without --invert" in " ".join(done("predict", "run", "right", "--invert").split())


@pytest.mark.parametrize("mean", [None, "grey", True, -1, 10**400, float("nan")])
def test_no_image_looks_inverted_without_a_valid_mean_pixel(mean: Any) -> None:
    information = {"white": 255} | ({} if mean is None else {"mean_pixel": mean})
    net = twolayer.TwoLayerNet.initialize(64, 5, 10, rng=0)
    storage.save(net, "net.safetensors", image_shape=(8, 8), information=information)
    scans("scans", [np.full((8, 8), 16), np.zeros((8, 8))], white=16)
    assert "inverted" not in done("predict", "net.safetensors", "scans")


def test_no_image_looks_inverted_if_the_mean_pixel_is_medium() -> None:
    net = twolayer.TwoLayerNet.initialize(64, 5, 10, rng=0)
    scans("scans", [np.full((8, 8), 16), np.zeros((8, 8))], white=16)
    for mean, n in ((130, 0), (30, 1), (220, 1)):
        information = {"white": 255, "mean_pixel": mean}
        storage.save(net, "net.safetensors", image_shape=(8, 8), information=information)
        assert done("predict", "net.safetensors", "scans").count("1 of 2 images look inverted") == n


@pytest.mark.parametrize("command", ["train", "sweep"])
@pytest.mark.parametrize("value", [3.5e38, -1e300])
def test_a_value_beyond_the_dtype_is_named_with_its_row_in_the_file(command, value) -> None:
    found = arrays(clusters(Path("far.npz")))
    for row in (0, 57, 119):
        X = found["X"].copy()
        X[row, 2] = value
        np.savez("far.npz", X=X, y=found["y"])
        error = refused(command, "far.npz", *QUICK[:2])
        assert "far.npz must hold values within ±3.4028235e+38, the range of float32" in error
        assert error.endswith(f"got {value:.8g}, in row {row}, column 2 (counted from 0)")
    assert not Path("runs").exists()


@pytest.mark.parametrize("name", ["X_validation", "X_test"])
def test_a_value_beyond_the_dtype_in_a_separate_split_is_named(name) -> None:
    found = arrays(clusters(Path("far.npz")))
    X = found["X"][:6].copy()
    X[4, 1] = 1e39
    suffix = name[1:]
    np.savez("far.npz", **found, **{name: X, f"y{suffix}": found["y"][:6]})
    error = refused("train", "far.npz", *QUICK[:2])
    assert f"`{name}` in " in error
    assert error.endswith("got 1e+39, first in row 4, column 1 (counted from 0)")


def test_evaluate_and_predict_refuse_values_beyond_the_dtype(run: Path) -> None:
    found = arrays("mine.npz")
    X = found["X"].copy()
    X[33, 5] = -1e39
    np.savez("far.npz", X=X, y=found["y"], X_test=found["X"], y_test=found["y"])
    assert "`X` in far.npz must hold values" in refused("evaluate", "run", "far.npz", "--split", "all")
    assert refused("evaluate", "run", "far.npz", "--split", "all").endswith(
        "got -1e+39, first in row 33, column 5 (counted from 0)"
    )
    assert cli("evaluate", "run", "far.npz", "--split", "test").exit_code == 0
    np.savez("drawn.npz", X=X, y=found["y"])
    rows = datasets.load_npz("drawn.npz").rows
    assert rows is not None
    for split, chosen in rows.items():
        if 33 in chosen:
            error = refused("evaluate", "run", "drawn.npz", "--split", split)
            assert error.endswith("got -1e+39, in row 33, column 5 (counted from 0)")
        else:
            assert cli("evaluate", "run", "drawn.npz", "--split", split).exit_code == 0
    np.save("new.npy", X)
    error = refused("predict", "run", "new.npy", "--output", "new.csv")
    assert error.endswith("got -1e+39, first in row 33, column 5 (counted from 0)")
    assert not Path("new.csv").exists()


def test_evaluate_and_predict_refuse_logits_that_are_nan(run: Path) -> None:
    net = storage.load(run / "network.safetensors")
    signs = np.array([1.0, -1.0] * 3, np.float32)
    net = net._replace(W1=100 * signs[:, None] * np.ones_like(net.W1))
    net = net._replace(W2=np.repeat(signs[[0, 1] * 4], 3).reshape(8, 3))
    storage.save(net, "net.safetensors", classes=("ant", "bee", "cat"))
    X = np.concatenate([np.zeros((9, 6)), 3e38 * signs[None, :]])
    np.save("new.npy", X)
    np.savez("mine.npz", X=X, y=NAMES[np.arange(10) % 3])
    with np.errstate(all="ignore"):
        error = refused("predict", "net.safetensors", "new.npy", "--output", "new.csv")
        assert error.endswith("the network's logits are finite; got nan, first for sample 9")
        error = refused("evaluate", "net.safetensors", "mine.npz", "--split", "all")
        assert error.endswith("got nan, first for sample 9 (counted from 0) of --split all")
    assert not Path("new.csv").exists()


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_a_training_that_learnt_nothing_causes_a_warning(command: str) -> None:
    X, y = np.ones((90, 4)) * [1.0, 1.0, 1.0, 1000.0], np.arange(90) % 3
    np.savez("same.npz", X=X, y=y)
    how = ("--epochs", 6, "--batch-size", 30, "--hidden", 4, "--learning-rate", 1e-9, "-q")  # 12 steps
    seeds = ("--seeds", 1, "--reg", 0) if command == "sweep" else ()
    line = r"^Warning: Nothing was learnt: 0\.3\d\d of .* commonest class\. The likely cause is "
    raw = answered(command, "same.npz", *how, *seeds, "--scale", 1, "--no-center")
    assert raw[0] == 0
    assert re.search(line + r"features of sizes from 1 to 1e\+03: --scale feature scales them$", raw[2], re.M)
    scaled = answered(command, "same.npz", *how, *seeds)
    assert len(re.findall(line + "a learning rate too low or too high, or features", scaled[2], re.M)) == 1
    if command == "sweep":
        folds = answered(command, "same.npz", *how, *seeds, "--folds", 3)
        assert len(re.findall(line + "a learning rate too low or too high, or features", folds[2], re.M)) == 1
