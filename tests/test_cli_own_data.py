"""A user's own data on the command line: files to judge by, their labels, and what tells them apart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import answered, clusters, done, refused, small_cifar10

from twolayer import datasets, storage
from twolayer.cli import jobs
from twolayer.cli.data import fingerprint

QUICK = ("--epochs", 3, "--hidden", 8, "-q")
NAMES = np.array(["bee", "ant", "cat"])


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jobs.folders, "draw", lambda folder, *, suffix="png": [])
    return tmp_path


def arrays(path: Path | str) -> dict[str, Any]:
    with np.load(path) as stored:
        return dict(stored)


def named(path: str, **more: Any) -> Path:
    """Three clusters whose labels are names."""
    found = arrays(clusters(Path(path), **more))
    np.savez(path, **{**found, "y": NAMES[found["y"]]})
    return Path(path)


@pytest.fixture
def run() -> Path:
    """A training on a file of three named classes."""
    done("train", named("mine.npz"), *QUICK, "--out", "run")
    return Path("run")


def judged(*arguments: object) -> dict[str, Any]:
    code, data, _ = answered("evaluate", *arguments)
    assert code == 0
    return dict(data)


def accuracy(folder: Path, X: Any, y: Any) -> float:
    """The accuracy of a run's network on samples whose labels are names."""
    path = folder / "network.safetensors"
    classes = np.array(storage.load_metadata(path).classes)
    return float(np.mean(classes[storage.load(path).predict(X)] == y))


# Which samples of a file judge a network


def test_of_another_file_all_samples_judge(run: Path) -> None:
    new = arrays(named("new.npz", n=100, seed=5))
    output = done("evaluate", run, "new.npz")
    assert "new: all 100 samples" in output
    assert "new.npz is not known as the data of the training: all of its samples are judged" in output
    found = judged(run, "new.npz")
    assert (found["split"], found["n_samples"]) == ("all", 100)
    assert found["accuracy"] == pytest.approx(accuracy(run, new["X"], new["y"]))


def test_of_the_file_that_it_was_trained_on_the_test_samples_judge(run: Path) -> None:
    assert "mine: 18 test samples" in done("evaluate", run, "mine.npz")
    Path("mine.npz").rename("moved.npz")
    assert judged(run, "moved.npz")["split"] == "test"


@pytest.mark.parametrize("change", ["train", "validation", "test", "order"])
def test_a_file_of_that_name_with_other_content_is_another(run: Path, change: str) -> None:
    rows = datasets.load_npz("mine.npz").rows
    assert rows is not None
    stored = arrays("mine.npz")
    if change == "order":
        stored = {key: array[::-1] for key, array in stored.items()}
    else:
        stored["X"][rows[change][0], 0] += 1e-9
    np.savez("mine.npz", **stored)
    assert (judged(run, "mine.npz")["split"], judged(run, "mine.npz")["n_samples"]) == ("all", 120)


def test_test_samples_alone_are_enough(run: Path) -> None:
    new = arrays(named("new.npz", n=40, seed=5))
    np.savez("only.npz", X_test=new["X"], y_test=new["y"])
    found = judged(run, "only.npz")
    assert (found["split"], found["n_samples"]) == ("all", 40)
    assert judged(run, "only.npz", "--split", "test")["accuracy"] == found["accuracy"]
    assert "only.npz must hold `X` and `y`; it holds X_test, y_test" in refused(
        "evaluate", run, "only.npz", "--split", "validation"
    )


def test_all_are_those_of_every_set_of_a_file(run: Path) -> None:
    new = arrays(named("new.npz", n=40, seed=5))
    other = arrays(named("other.npz", n=30, seed=6))
    np.savez("new.npz", **new, X_test=other["X"], y_test=other["y"])
    both = {key: np.concatenate([new[key], other[key]]) for key in "Xy"}
    found = judged(run, "new.npz")
    assert found["n_samples"] == 70
    assert found["accuracy"] == pytest.approx(accuracy(run, both["X"], both["y"]))
    assert judged(run, "new.npz", "--split", "test")["n_samples"] == 30


def test_a_part_of_a_file_is_the_one_that_train_would_take(run: Path) -> None:
    stored, rows = arrays("mine.npz"), datasets.load_npz("mine.npz").rows
    assert rows is not None
    for split in ("train", "validation", "test"):
        chosen = rows[split]
        expected = accuracy(run, stored["X"][chosen], stored["y"][chosen])
        found = judged(run, "mine.npz", "--split", split)
        assert (found["accuracy"], found["n_samples"]) == (pytest.approx(expected), len(chosen))
    assert judged(run, "mine.npz", "--split", "all")["n_samples"] == 120


def test_all_samples_of_the_digits() -> None:
    done("train", *QUICK, "--out", "run")
    assert "digits: all 1,797 samples" in done("evaluate", "run", "--split", "all")
    assert judged("run")["split"] == "test"


def test_a_file_takes_no_place_of_cifar10(run: Path) -> None:
    assert "`--data` must be left out but for cifar10; got it with mine.npz" in refused(
        "evaluate", run, "mine.npz", "--data", "x"
    )


# Labels are matched by name


def test_a_part_of_the_classes_in_any_order(run: Path) -> None:
    new = arrays(named("new.npz", n=60, seed=5))
    for chosen in (["cat", "ant"], ["cat"]):
        rows = np.isin(new["y"], chosen)
        np.savez("some.npz", X=new["X"][rows], y=new["y"][rows])
        expected = accuracy(run, new["X"][rows], new["y"][rows])
        found = judged(run, "some.npz")
        assert found["accuracy"] == pytest.approx(expected)
        assert {row["class"] for row in found["by_class"] if row["support"]} == set(chosen)
    classes = np.array(["cat", "bee", "ant"])  # in an order of its own; labels are places in it
    places = np.array([classes.tolist().index(name) for name in new["y"]])
    np.savez("some.npz", X=new["X"], y=places, classes=classes)
    assert judged(run, "some.npz")["accuracy"] == pytest.approx(accuracy(run, new["X"], new["y"]))


def test_integers_are_places_where_no_class_is_an_integer(run: Path) -> None:
    new = arrays(named("new.npz", n=60, seed=5))
    in_order = ["ant", "bee", "cat"]  # as the network has them
    places = np.array([in_order.index(name) for name in new["y"]])
    np.savez("some.npz", X=new["X"], y=places.astype(np.uint8))
    assert judged(run, "some.npz")["accuracy"] == pytest.approx(accuracy(run, new["X"], new["y"]))


def of_integers(labels: Any, path: str = "numbers.npz") -> dict[str, Any]:
    found = arrays(clusters(Path(path), n=60))
    np.savez(path, X=found["X"], y=np.array(labels)[found["y"]])
    return arrays(path)


def test_integers_are_names_where_the_classes_are_integers() -> None:
    of_integers([20, 10, 30])
    done("train", "numbers.npz", *QUICK, "--out", "run")
    new = of_integers([20, 10, 30], "new.npz")
    rows = new["y"] != 10
    for dtype in ("int8", "uint64", str):
        np.savez("some.npz", X=new["X"][rows], y=new["y"][rows].astype(dtype))
        expected = accuracy(Path("run"), new["X"][rows], new["y"][rows].astype(str))
        assert judged("run", "some.npz")["accuracy"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("trained", "y", "message"),
    [
        ([20, 10, 30], [10, 20, 1], "must be of the classes 10, 20, 30; got '1'"),
        ([1, 2, 3], [0, 1, 2], "must be of the classes 1, 2, 3; got '0'"),
        (NAMES, ["ant", "emu", "cat"], r"must be of the classes ant, bee, cat; got 'emu'"),
        (NAMES, [0, 1, 3], r"must be of the classes ant, bee, cat, or their places, in [0, 3); got '3'"),
        (NAMES, [0, 1, -1], r"or their places, in [0, 3); got '-1'"),
        (NAMES, [True, False, False], "must be of the classes ant, bee, cat; got 'True'"),
    ],
)
def test_a_label_of_no_class_is_refused(trained: Any, y: Any, message: str) -> None:
    of_integers(trained)
    done("train", "numbers.npz", *QUICK, "--out", "run")
    np.savez("other.npz", X=np.ones((3, 6)), y=np.array(y))
    line = refused("evaluate", "run", "other.npz")
    assert "labels in `y` in other.npz " in line
    assert message in line


def test_labels_beyond_a_file_s_own_classes_are_refused(run: Path) -> None:
    np.savez("other.npz", X=np.ones((3, 6)), y=np.array([0, 1, 2]), classes=np.array(["ant", "bee"]))
    assert "`y` in other.npz must hold labels of the classes; got a label of 2" in refused(
        "evaluate", run, "other.npz"
    )


# What tells data from others


def digest(path: Path, **changes: Any) -> str:
    np.savez(path, **{**arrays(path), **changes})
    return fingerprint(datasets.load_npz(path))


def test_the_fingerprint_is_of_every_part(elsewhere: Path) -> None:
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


def test_a_part_that_is_not_there_is_told_from_another() -> None:
    digits = datasets.load_digits()
    fields: Mapping[str, Any] = {"name": "", "classes": digits.classes, "image_shape": None}
    one = datasets.Dataset(train=digits.train, validation=digits.test, test=None, **fields)
    other = datasets.Dataset(train=digits.train, validation=None, test=digits.test, **fields)
    assert fingerprint(one) != fingerprint(other)


@pytest.mark.parametrize("held", [True, False])
def test_other_test_samples_are_other_data(held: bool) -> None:
    """Whether the file has X_test itself, or they are drawn from X."""
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
        assert "must be given the data of that run; got others" in refused("train", *arguments)


def test_of_cifar10_too(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = small_cifar10(elsewhere / "cifar-10-batches-bin", monkeypatch)
    done("train", "cifar10", "--data", folder, "--epochs", 1, "-q", "--out", "run")
    test = bytearray((folder / "test_batch.bin").read_bytes())
    test[-1] ^= 1
    (folder / "test_batch.bin").write_bytes(test)
    assert "must be given the data of that run; got others" in refused(
        "train", "--resume", "run", "--epochs", 2
    )


# Which rows are where


def test_predictions_tell_the_rows_of_the_file() -> None:
    stored = arrays(named("mine.npz"))
    done("train", "mine.npz", *QUICK, "--out", "run")
    found = arrays("run/predictions.npz")
    rows = found["rows_in_file"]
    assert len(rows) == 18
    net = storage.load("run/network.safetensors")
    np.testing.assert_allclose(net.predict_proba(stored["X"][rows]), found["probabilities"], rtol=1e-5)
    assert (np.unique(NAMES)[found["y"]] == stored["y"][rows]).all()


def test_samples_that_have_arrays_of_their_own_are_in_their_order() -> None:
    found = arrays(named("mine.npz"))
    np.savez("mine.npz", **found, X_test=found["X"][:9], y_test=found["y"][:9])
    done("train", "mine.npz", *QUICK, "--out", "run")
    assert "rows_in_file" not in arrays("run/predictions.npz")
    done("train", *QUICK, "--out", "digits")
    assert "rows_in_file" not in arrays("digits/predictions.npz")


# Classes that may be none


def test_a_class_of_few_samples_is_warned_of() -> None:
    found = arrays(named("mine.npz"))
    assert "classes of fewer than" not in done("train", "mine.npz", *QUICK[:-1])
    found["y"] = found["y"].astype("U4")
    found["y"][0] = "rare"
    found["y"][5:7] = "two"
    found["y"][1] = str(float("nan"))
    np.savez("mine.npz", **found)
    output = " ".join(done("train", "mine.npz", *QUICK[:-1]).split())
    assert "classes of fewer than 3 samples: 'nan' (1), 'rare' (1), 'two' (2); there is none of" in output
    assert "labels that are missing may have become a class: 'nan' (1); leave such samples out" in output


def test_a_missing_label_is_warned_of_however_many_there_are() -> None:
    found = arrays(named("mine.npz"))
    found["y"][20:40] = ""
    np.savez("mine.npz", **found)
    output = done("sweep", "mine.npz", *QUICK[:-1], "--learning-rate", 0.1, "--reg", 0, "--seeds", 1)
    assert "may have become a class: '' (20)" in output
    assert "classes of fewer than" not in output


def test_of_many_rare_classes_some_are_named() -> None:
    X = np.random.default_rng(0).normal(size=(60, 3))
    np.savez("mine.npz", X=X, y=np.concatenate([np.zeros(26), np.arange(34) // 2 + 1]).astype(int))
    assert "'1' (2), '2' (2), '3' (2), '4' (2), '5' (2) and 12 more;" in done(
        "train", "mine.npz", *QUICK[:-1]
    )


# What is no .npz file


@pytest.mark.parametrize("name", ["wine.csv", "my tables/wine.parquet", "wine.XLSX"])
def test_of_a_table_it_is_said_how_to_make_a_file(name: str) -> None:
    line = refused("train", name, code=2)
    assert f"`DATASET` must be digits, cifar10 or the path of an .npz file; got '{name}'; of a table" in line
    assert (
        "numpy.savez('wine.npz', X=frame.drop(columns='label').to_numpy(), y=frame['label'].to_numpy(str))"
        in line
    )


def test_what_is_said_of_a_table_works() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not needed by the package")
    found = arrays(named("mine.npz"))
    frame = pandas.DataFrame(found["X"]).assign(label=found["y"])
    line = refused("train", "wine.csv", code=2)
    code = line[line.index("numpy.savez") : line.index("to_numpy(str))") + len("to_numpy(str))")]
    exec(code, {"numpy": np, "frame": frame})
    data = datasets.load_npz("wine.npz")
    assert data.classes == ("ant", "bee", "cat")
    assert data.n_features == 6
