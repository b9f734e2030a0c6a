"""The attribute `folded`: the network of a run or a sweep, for samples without preprocessing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.backends import Backend
from support.small_runs import assert_same_net

from twolayer import Run, TwoLayerNet, load, save, stack, sweep, train
from twolayer.checkpoints import load_run, save_run
from twolayer.preprocessing import Standardizer, Whitener
from twolayer.sweeping import Best

N, D = 90, 4
Y = np.arange(N) % 3
X = (np.random.default_rng(0).normal(size=(N, D)) + 3 * np.eye(3, D)[Y]) * [1e-3, 1.0, 1e3, 1e4]
SCALING = Standardizer.fit(X, scale="feature")


def trained(net: TwoLayerNet, X: Any = X, y: Any = Y, **changes: Any) -> Run:
    return train(net, X, y, **{"learning_rate": 0.1, "epochs": 20, "batch_size": 30, "rng": 0} | changes)


def test_the_folded_network_of_a_run_accepts_raw_samples(backend: Backend) -> None:
    net = TwoLayerNet.initialize(D, 8, 3, rng=0, xp=backend.xp, device=backend.device)
    samples, labels = backend.array(X.astype(np.float32)), backend.array(Y)
    run = trained(net, samples, labels, preprocessing=SCALING)
    assert_same_net(run.folded, SCALING.fold(run.net))
    assert run.train_accuracy > 0.9
    assert float(run.folded.accuracy(samples, labels)) == pytest.approx(run.train_accuracy, abs=1.5 / N)
    assert float(run.net.accuracy(samples, labels)) < 0.5


def test_the_folded_network_of_a_stack_is_a_stack() -> None:
    nets = stack([TwoLayerNet.initialize(3, 8, 3, rng=seed) for seed in (0, 1)])
    whitening = Whitener.fit(X, kind="pca", n_components=3)
    run = trained(nets, preprocessing=whitening)
    assert run.folded.W1.shape == (2, D, 8)
    assert_same_net(run.folded, whitening.fold(run.net))


def test_without_preprocessing_folded_is_the_network() -> None:
    run = trained(TwoLayerNet.initialize(D, 8, 3, rng=0), SCALING.apply(X))
    assert run.folded is run.net


def test_the_folded_network_survives_a_checkpoint_and_a_file(tmp_path: Any) -> None:
    run = trained(TwoLayerNet.initialize(D, 8, 3, rng=0), preprocessing=SCALING)
    save_run(run, tmp_path / "run.safetensors")
    again = load_run(tmp_path / "run.safetensors")
    assert_same_net(again.folded, run.folded)
    save(run.folded, tmp_path / "net.safetensors")
    assert float(load(tmp_path / "net.safetensors").accuracy(X.astype(np.float32), Y)) > 0.9


@pytest.mark.parametrize(
    "how",
    [
        {"validation": (X, Y), "preprocessing": SCALING},
        {"folds": 3, "preprocessing": "standardize"},
        {"folds": 3, "preprocessing": "standardize", "refit": "merge"},
        {"validation": (X, Y), "preprocessing": Standardizer},
    ],
    ids=["fitted", "folds", "merged", "class"],
)
def test_the_folded_best_network_of_a_sweep_accepts_raw_samples(how: dict[str, Any]) -> None:
    grid = {"learning_rate": [0.05, 0.1], "batch_size": [30], "n_hidden": [8]}
    best = sweep(X, Y, grid=grid, epochs=20, **how).best
    assert isinstance(best, Best)
    by_hand = best.net if best.preprocessing is None else best.preprocessing.fold(best.net)
    assert_same_net(best.folded, by_hand)
    assert best.folded.accuracy(X.astype(np.float32), Y) > 0.6


def test_a_sweep_without_a_network_has_no_folded_network() -> None:
    result = sweep(X, Y, folds=3, refit=None, preprocessing="standardize", grid={"reg": [0.0]}, epochs=1)
    assert result.best.folded is None


def test_folded_warns_about_lost_precision_at_the_line_that_reads_it() -> None:
    far = np.random.default_rng(0).normal(size=(N, 1)) + 1e8
    run = trained(TwoLayerNet.initialize(1, 3, 3, rng=0), far, preprocessing=Standardizer.fit(far), epochs=1)
    with pytest.warns(RuntimeWarning, match="The folded network has too few digits") as found:
        _ = run.folded
    assert [one.filename for one in found] == [__file__]
