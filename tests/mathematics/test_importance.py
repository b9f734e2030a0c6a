"""Permutation importance, compared with a computation by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from support.backends import Backend
from support.strategies import Problem, problems

from twolayer import TwoLayerNet, _validation, permutation_importance, stack
from twolayer._streams import Stream, stream
from twolayer.preprocessing import TableEncoder

pytestmark = pytest.mark.once_on_jax


def by_hand(net, X, y, columns, n_repeats, seed):
    """Accuracy minus the accuracy with a group of columns permuted, (groups, n_repeats)."""

    def accuracy(samples):
        return np.mean(np.argmax(np.maximum(samples @ net.W1 + net.b1, 0) @ net.W2 + net.b2, axis=1) == y)

    found = []
    for places in columns:
        for _ in range(n_repeats):
            moved = X.copy()
            order = stream(seed, Stream.PERMUTATIONS, len(found)).permutation(len(X))
            moved[:, places] = X[order][:, places]
            found.append(accuracy(X) - accuracy(moved))
    return np.reshape(found, (len(columns), n_repeats))


@pytest.mark.parametrize("n_elements", [2**24, 20], ids=["one block", "many blocks"])
def test_importances_equal_those_computed_by_hand(backend: Backend, n_elements, monkeypatch):
    monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", n_elements)
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(50, 4)), rng.integers(3, size=50)
    net = TwoLayerNet(
        rng.normal(size=(4, 6)), rng.normal(size=6), rng.normal(size=(6, 3)), rng.normal(size=3)
    )
    columns = {"first": [0], "pair": [3, 1]}
    own = TwoLayerNet(*map(backend.array, net))
    found = permutation_importance(
        own, backend.array(X), backend.array(y), columns=columns, n_repeats=3, rng=7
    )
    expected = by_hand(net, X, y, columns.values(), 3, 7)
    assert found.names == ["first", "pair"]
    np.testing.assert_allclose(found.importances, expected, atol=1e-12)
    np.testing.assert_allclose(found.importances_mean, expected.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(found.importances_std, expected.std(axis=1), atol=1e-12)


@given(problem=problems(stacked=True))
def test_importances_of_a_stack_equal_those_of_each_network(backend: Backend, problem: Problem):
    nets = TwoLayerNet(*map(backend.array, problem.net))
    X, y = backend.array(problem.X), backend.array(problem.y)
    together = permutation_importance(nets, X, y, n_repeats=2, rng=1)
    n_features = problem.net.W1.shape[-2]
    assert together.names == [str(place) for place in range(n_features)]
    assert together.importances.shape == (nets.n_networks, n_features, 2)
    for k in range(nets.n_networks):
        alone = permutation_importance(nets.select(k), X, y, n_repeats=2, rng=1)
        np.testing.assert_array_equal(together.importances[k], alone.importances)


def test_columns_without_influence_have_no_importance():
    encoder = TableEncoder(())
    assert encoder.groups() == {}
    net = TwoLayerNet.initialize(3, 5, 2, rng=0)
    net.W1[1] = 0
    X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
    found = permutation_importance(net, X, net.predict(X))
    assert found.importances[1].tolist() == [0] * 5
    assert (found.importances[[0, 2]] > 0).all()
    assert permutation_importance(net, X, net.predict(X), columns={}).importances.shape == (0, 5)
    everything = permutation_importance(net, X, net.predict(X), columns={"all": [0, 1, 2]}, n_repeats=1)
    assert everything.importances[0, 0] >= found.importances[:, 0].max()


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"n_repeats": 0}, ValueError, r"`n_repeats` must be at least 1; got 0"),
        ({"columns": {"a": [3]}}, ValueError, r"`columns` must hold indices in \[0, 3\); got 3 for 'a'"),
        ({"columns": {"a": [-1]}}, ValueError, r"`columns\['a'\]` must be at least 0; got -1"),
        ({"columns": {"a": ["b"]}}, TypeError, r"`columns\['a'\]` must be an integer; got str"),
        ({"columns": [[0]]}, TypeError, r"`columns` must map names to indices of features; got list"),
        ({"columns": "ab"}, TypeError, r"`columns` must map names to indices of features; got str"),
        ({"columns": {1: [0]}}, TypeError, r"`columns` must have strings as names; got 1"),
        ({"columns": {"a": None}}, TypeError, r"`columns` must hold sequences of indices; got None for 'a'"),
        ({"columns": {"a": 0}}, TypeError, r"`columns` must hold sequences of indices; got 0 for 'a'"),
        ({"columns": {"a": "0"}}, TypeError, r"`columns\['a'\]` must be an integer; got str"),
        ({"columns": {"a": [[0]]}}, TypeError, r"`columns\['a'\]` must be an integer; got list"),
        ({"columns": {"a": [0.0]}}, TypeError, r"`columns\['a'\]` must be an integer; got float"),
        ({"columns": {"a": [None]}}, TypeError, r"`columns\['a'\]` must be an integer; got NoneType"),
        ({"rng": -1}, ValueError, r"`rng` must be non-negative"),
        ({"X": np.ones((2, 4))}, ValueError, r"`X` must have 3 features per sample"),
        ({"y": np.asarray([0, 2])}, ValueError, r"`y` must hold class labels in \[0, 2\); got a label of 2"),
        ({"net": stack}, TypeError, r"`net` must be a TwoLayerNet; got function"),
    ],
    ids=[
        *(
            "repeats",
            "place",
            "negative",
            "text",
            "list",
            "string",
            "number as name",
            "no places",
            "one place",
        ),
        *("texts", "nested", "floats", "none", "seed", "features", "label", "net"),
    ],
)
def test_invalid_arguments_are_refused(more, error, message):
    net = TwoLayerNet.initialize(3, 5, 2, rng=0)
    arguments = {"net": net, "X": np.ones((2, 3), "float32"), "y": np.asarray([0, 1])} | more
    with pytest.raises(error, match=message):
        permutation_importance(**arguments)
