"""``--calibrate`` and ``--monitor``: the saved network, its results, and the page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.command_line import QUICK, clusters, done, read, refused, settings_in

from twolayer import calibrate, datasets, load
from twolayer.report import expected_calibration_error

pytestmark = pytest.mark.usefixtures("elsewhere", "no_pictures")

DIGITS = datasets.load_digits()
OVERTRAINED = ("--epochs", 40, "--hidden", 10, "--learning-rate", 0.3, "--reg", 0, "--quiet")


@pytest.mark.parametrize(
    "more", [(), ("--networks", 2), ("--dtype", "float64")], ids=["one", "merged", "float64"]
)
def test_a_training_saves_the_calibrated_network(more) -> None:
    for name, option in (("plain", ()), ("run", ("--calibrate",))):
        output = done("train", *OVERTRAINED, *more, *option, "--out", name)
        assert ("Calibrated: temperature " in output) == bool(option)
    plain, net = load("plain"), load("run")
    expected = calibrate(plain, *DIGITS.validation)
    np.testing.assert_allclose(net.W2, expected.W2, rtol=1e-6)
    np.testing.assert_array_equal(net.W1, plain.W1)
    found, before = read("run/results.json"), read("plain/results.json")
    assert "calibration" not in before
    numbers = found["calibration"]
    assert numbers["temperature"] == pytest.approx(float(plain.W2[0, 0] / net.W2[0, 0]), rel=1e-5)
    assert abs(numbers["temperature"] - 1) > 0.01
    assert numbers["validation_loss_before"] == pytest.approx(float(plain.loss(*DIGITS.validation)), rel=1e-4)
    assert numbers["validation_loss_after"] == pytest.approx(float(net.loss(*DIGITS.validation)), rel=1e-4)
    assert numbers["validation_loss_after"] < numbers["validation_loss_before"]
    assert found["validation_loss"] == numbers["validation_loss_after"]
    assert before["validation_loss"] == pytest.approx(numbers["validation_loss_before"], rel=1e-5)
    assert numbers["test_loss_before"] == before["test"]["loss"]
    assert (
        numbers["test_loss_after"]
        == found["test"]["loss"]
        == pytest.approx(float(net.loss(*DIGITS.test)), rel=1e-4)
    )
    for when, one in (("before", plain), ("after", net)):
        error = expected_calibration_error(DIGITS.test.y, one.predict_proba(DIGITS.test.X))
        assert numbers[f"test_calibration_error_{when}"] == pytest.approx(error, abs=1e-5)
    assert found["test"]["accuracy"] == before["test"]["accuracy"]
    assert settings_in("run")["calibrate"] is True


def test_predictions_and_the_page_use_the_calibrated_network() -> None:
    done("train", *OVERTRAINED, "--calibrate", "--out", "run")
    with np.load("run/predictions.npz") as stored:
        np.testing.assert_allclose(
            stored["probabilities"], load("run").predict_proba(DIGITS.test.X), atol=1e-6
        )
    done("report", "run")
    page = Path("run/report.html").read_text(encoding="utf-8")
    numbers = read("run/results.json")["calibration"]
    after = f"test loss {numbers['test_loss_before']:.4f} before, {numbers['test_loss_after']:.4f} after"
    assert "<dt>Temperature</dt>" in page
    assert after in page


def test_a_sweep_that_monitors_the_loss_calibrates_its_winner() -> None:
    grid = ("--learning-rate", "0.1,0.3", "--reg", "0,1e-3", "--seeds", 2)
    output = done("sweep", *QUICK, *grid, "--monitor", "loss", "--calibrate", "--out", "run")
    results = read("run/results.json")
    best = min(results["table"], key=lambda row: row["validation_loss"])
    assert best["rank"] == 1
    assert results["best"]["validation_loss"] <= best["validation_loss"]
    heading = " ".join(output.split())
    assert "validation" in heading
    assert f"{best['validation_loss']:.4f}" in output
    assert "(loss)" in output
    assert "rank candidates" not in heading  # only in sweeps that monitor the accuracy
    (row,) = [line for line in output.splitlines() if "← best" in line]
    assert f"{best['validation_loss']:.4f}" in row
    assert "test_calibration_error_after" in results["calibration"]
    done("report", "run")
    page = Path("run/report.html").read_text(encoding="utf-8")
    assert "The best candidate by validation loss has" in page
    assert "behind the best (loss)" in page


def test_a_network_without_wrong_predictions_stays_unchanged() -> None:
    y = np.arange(60) % 3
    np.savez("easy.npz", X=np.eye(4)[y], y=y)
    how = ("easy.npz", "--epochs", 20, "--learning-rate", 1, "--quiet")
    assert "do not determine a temperature" not in done("train", *how, "--out", "plain")
    output = done("train", *how, "--calibrate", "--out", "run")
    assert "Warning: the samples do not determine a temperature: the loss is lowest at" in output
    assert read("run/results.json")["calibration"]["temperature"] == 1.0
    for found, plain in zip(load("run"), load("plain"), strict=True):
        np.testing.assert_array_equal(found, plain)


def test_calibration_uses_sample_weights(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        f"{x:.3f},{'yes' if x + rng.normal() > 0 else 'no'},{w}"
        for x, w in zip(rng.normal(size=200), np.arange(200) % 3 + 0.1, strict=True)
    ]
    Path("table.csv").write_text("x,label,weight\n" + "\n".join(rows) + "\n", encoding="utf-8")
    done(
        "train", "table.csv", "--label", "label", "--weight", "weight", "--calibrate", *QUICK, "--out", "run"
    )
    numbers = read("run/results.json")["calibration"]
    assert numbers["validation_loss_after"] <= numbers["validation_loss_before"]


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")
@pytest.mark.parametrize(("name", "warned"), [("X_validation", True), ("X_test", False)])
def test_a_sample_that_overflows_does_not_lose_the_network(name: str, warned: bool) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    arrays = {}
    for end in ("", "_validation", "_test"):
        arrays |= {f"X{end}": rng.normal(size=(60, 4)) + 4 * np.eye(4)[y], f"y{end}": y}
    arrays[name][7] = 3e38
    np.savez("far.npz", **arrays)
    output = done("train", "far.npz", "--judge", "last", "--calibrate", *QUICK, "--out", "run")
    assert ("the network is not calibrated" in output) == warned
    found = read("run/results.json")
    assert ("calibration" in found) != warned
    assert load("run").n_features == 4


@pytest.mark.parametrize(
    ("more", "warned"),
    [(("--judge", "last"), True), (("--judge", "last", "--patience", 3), False), ((), False)],
    ids=["last", "patience", "best"],
)
def test_a_monitor_without_effect_causes_a_warning(more: tuple[object, ...], warned: bool) -> None:
    output = done("train", *QUICK, "--monitor", "loss", *more, "--out", "run")
    assert ("Warning: `--monitor loss` changes nothing with --judge last" in output) == warned


def test_impossible_calibrations_and_unknown_monitors_are_refused() -> None:
    both = refused("sweep", "--folds", 3, "--calibrate", code=2)
    assert "`--calibrate` must be left out with --folds" in both
    clusters(Path("all.npz"))
    alone = refused("train", "all.npz", "--validation", 0, "--calibrate", *QUICK)
    assert "`--calibrate` must have validation samples; " in alone
    assert not Path("runs").exists()
    assert "'accuracy', 'loss'" in refused("train", "--monitor", "f1", code=2)
