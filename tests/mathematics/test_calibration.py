"""Calibration by one temperature, compared with a minimum found by grids."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from support.backends import Backend
from support.small_runs import assert_same_net, host_net
from support.strategies import Problem, problems

from twolayer import TwoLayerNet, _validation, calibrate, stack
from twolayer.calibration import LEAST, MOST, calibrated

pytestmark = pytest.mark.once_on_jax


def log_loss(net: TwoLayerNet, X, y, temperature: float, weights=None) -> float:
    """The mean cross-entropy of softmax(logits / T), one sample at a time."""
    logits = (np.maximum(X @ net.W1 + net.b1, 0) @ net.W2 + net.b2) / temperature
    losses = []
    for row, label in zip(logits, y, strict=True):
        shifted = row - row.max()
        losses.append(math.log(sum(map(math.exp, shifted))) - shifted[label])
    return float(np.average(losses, weights=weights))


def best_temperature(net: TwoLayerNet, X, y, weights=None) -> float:
    """The temperature of least loss by ever finer grids; the loss falls before it and rises after it."""
    low, high = math.log(LEAST), math.log(MOST)
    for _ in range(12):
        grid = np.linspace(low, high, 21)
        place = int(np.argmin([log_loss(net, X, y, math.exp(t), weights) for t in grid]))
        low, high = grid[max(place - 1, 0)], grid[min(place + 1, 20)]
    return math.exp((low + high) / 2)


def noisy_task(n_networks: int | None = None, seed: int = 0):
    """A network, samples, and labels of which every third is drawn at random."""
    rng = np.random.default_rng(seed)
    lead = () if n_networks is None else (n_networks,)
    net = TwoLayerNet(*(rng.normal(size=(*lead, *shape)) for shape in ((4, 6), (6,), (6, 3), (3,))))
    first = net if n_networks is None else net.select(0)
    X = rng.normal(size=(60, 4))
    y = np.asarray(first.predict(X), np.int64)
    y[::3] = rng.integers(3, size=20)
    return net, X, y


@pytest.mark.parametrize("n_elements", [2**24, 40], ids=["one block", "many blocks"])
def test_the_temperature_is_the_one_of_least_loss(backend: Backend, n_elements, monkeypatch):
    monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", n_elements)
    net, X, y = noisy_task()
    own = TwoLayerNet(*map(backend.array, net))
    found, (how,) = calibrated(own, backend.array(X), backend.array(y), None)
    expected = best_temperature(net, X, y)
    exact = backend.dtype == "float64"
    assert 1.2 < expected < MOST / 2  # the network is overconfident
    assert how.temperature == pytest.approx(expected, rel=1e-5 if exact else 1e-3)
    assert how.loss_before == pytest.approx(log_loss(net, X, y, 1.0), rel=1e-10 if exact else 1e-4)
    assert how.loss_after == pytest.approx(log_loss(net, X, y, expected), rel=1e-10 if exact else 1e-4)
    assert how.loss_after < how.loss_before - 0.01
    for array, before in zip(found, own, strict=True):
        assert backend.owns(array)
        assert array.dtype == before.dtype
        assert array.shape == before.shape
    divided = net._replace(W2=net.W2 / how.temperature, b2=net.b2 / how.temperature)
    assert_same_net(found, divided, rtol=1e-14 if exact else 1e-6)
    assert float(found.loss(backend.array(X), backend.array(y))) == pytest.approx(how.loss_after, rel=1e-5)


@pytest.mark.filterwarnings("ignore:the samples do not determine a temperature")
@given(problem=problems(stacked=False))
def test_calibration_keeps_the_labels_and_does_not_raise_the_loss(problem: Problem):
    net, X, y = problem.net, problem.X, problem.y
    found, (how,) = calibrated(net, X, y, None)
    assert LEAST <= how.temperature <= MOST
    assert how.loss_after <= how.loss_before
    np.testing.assert_array_equal(found.predict(X), net.predict(X))


def test_each_network_of_a_stack_has_its_own_temperature(backend: Backend):
    nets, X, y = noisy_task(3, seed=1)
    own = TwoLayerNet(*map(backend.array, nets))
    X, y = backend.array(X), backend.array(y)
    found, each = calibrated(own, X, y, None)
    assert len({round(one.temperature, 3) for one in each}) == 3
    for k in range(3):
        assert_same_net(found.select(k), calibrate(own.select(k), X, y))


def test_weights_have_the_effect_of_repeated_samples(backend: Backend):
    net, X, y = noisy_task()
    times = np.arange(60) % 4
    own = TwoLayerNet(*map(backend.array, net))
    weighted = calibrate(own, backend.array(X), backend.array(y), sample_weight=backend.array(1e3 * times))
    repeated = calibrate(own, backend.array(np.repeat(X, times, axis=0)), backend.array(np.repeat(y, times)))
    assert_same_net(weighted, host_net(repeated), rtol=1e-9 if backend.dtype == "float64" else 1e-5)
    unweighted = calibrate(own, backend.array(X), backend.array(y))
    assert abs(float(unweighted.W2[0, 0]) / float(weighted.W2[0, 0]) - 1) > 1e-3


def test_targets_may_be_probabilities(backend: Backend):
    net, X, y = noisy_task()
    own = TwoLayerNet(*map(backend.array, net))
    by_label = calibrate(own, backend.array(X), backend.array(y))
    as_probabilities = backend.array(np.eye(3)[y])
    assert_same_net(calibrate(own, backend.array(X), as_probabilities), host_net(by_label), rtol=1e-7)
    # With the network's own probabilities as targets, the temperature is 1.
    ideal = own.predict_proba(backend.array(X))
    _, (how,) = calibrated(own, backend.array(X), ideal, None)
    assert how.temperature == pytest.approx(1.0, rel=1e-6 if backend.dtype == "float64" else 1e-3)


@pytest.mark.parametrize("size", [1.0, 50.0], ids=["unsure", "probabilities of 1"])
def test_a_network_that_is_right_everywhere_is_unchanged(size):
    net, X, _ = noisy_task()
    net = net._replace(W2=size * net.W2, b2=size * net.b2)
    y = np.asarray(net.predict(X))
    with pytest.warns(UserWarning, match=r"do not determine a temperature: .* lowest at T = 0\.05 or"):
        assert_same_net(calibrate(net, X, y), net)
    with pytest.warns(UserWarning, match="The network is unchanged") as found:
        _, (how,) = calibrated(net, X, y, None)
    assert found[0].filename == __file__
    assert how.temperature == 1.0
    assert how.loss_after == how.loss_before == pytest.approx(log_loss(net, X, y, 1.0))


def test_a_network_that_is_wrong_everywhere_gets_the_highest_temperature():
    net, X, _ = noisy_task()
    worst = np.asarray(net.logits(X)).argmin(axis=1)
    _, (wrong,) = calibrated(net, X, worst, None)
    assert wrong.temperature == pytest.approx(MOST)


def test_a_network_with_equal_logits_is_unchanged():
    net, X, y = noisy_task()
    nothing = net._replace(W2=np.zeros_like(net.W2), b2=np.zeros_like(net.b2))
    with pytest.warns(UserWarning, match="do not determine a temperature"):
        found, (how,) = calibrated(nothing, X, y, None)
    assert how == (1.0, pytest.approx(math.log(3)), pytest.approx(math.log(3)))
    assert_same_net(found, nothing)


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")
def test_logits_near_the_end_of_the_range_are_calibrated():
    net, _, y = noisy_task()
    _, (how,) = calibrated(net, np.full((60, 4), 1e308), y, None)
    assert 1.0 <= how.temperature <= MOST
    assert how.loss_after <= how.loss_before < math.inf


def test_a_calibrated_network_has_a_temperature_of_1():
    net, X, y = noisy_task()
    _, (how,) = calibrated(calibrate(net, X, y), X, y, None)
    assert how.temperature == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"X": np.zeros((60, 3))}, "`X` must have 4 features"),
        ({"y": np.full(60, 3)}, r"`y` must hold class labels in \[0, 3\); got a label of 3"),
        ({"sample_weight": -np.ones(60)}, "`sample_weight` must"),
        ({"X": np.full((60, 4), 1.7e308)}, "`X` must hold samples for which the network's logits are finite"),
    ],
)
def test_invalid_arguments_are_refused(changes, message):
    net, X, y = noisy_task()
    with pytest.raises(ValueError, match=message), np.errstate(all="ignore"):
        calibrate(net, **({"X": X, "y": y} | changes))


def test_a_network_of_a_stack_that_diverged_is_named():
    net, X, y = noisy_task()
    nets = stack([net, net])
    nets.W2[1, 2, 0] = np.nan
    with pytest.raises(ValueError, match=r"`W2` must be finite; got nan.*1"):
        calibrate(nets, X, y)


def test_equal_networks_of_a_stack_are_calibrated_equally():
    net, X, y = noisy_task()
    twice = calibrate(stack([net, net]), X, y)
    assert_same_net(twice.select(0), twice.select(1))
