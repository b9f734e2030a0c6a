"""Functions marked as `leaf`: their rules, and the same results and runs if they are fused."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.backends import Backend, to_host
from support.small_runs import turned

import twolayer
from twolayer import TwoLayerNet, mathematics
from twolayer._forms import fast_namespace
from twolayer._namespace import FastNamespace, leaf
from twolayer.augmentation import Mixup
from twolayer.network import pack
from twolayer.training import execution, optimizers, step
from twolayer.training.optimizers import SGD, Adam, AdamW

# ---------------------------------------------------------------------------------------------------------
# Whole runs

# The functions that CuPy can trace.
TRACED = SimpleNamespace(
    exp=np.exp,
    sqrt=np.sqrt,
    maximum=np.maximum,
    zeros_like=lambda array: 0.0,
    astype=lambda array, dtype: array.astype(dtype),
    sum=np.sum,
)


class Fusing(FastNamespace):
    """NumPy, with fused functions that get copies of arrays and only functions that CuPy can trace."""

    def __init__(self) -> None:
        super().__init__(np)
        self.calls: dict[str, int] = {}

    def run(self, function, arrays, fixed):
        self.calls[function.__name__] = self.calls.get(function.__name__, 0) + 1
        if function.__name__ == "product":
            return function(*arrays, xp=self, **fixed)
        given = [array for array in arrays if array is not None]
        # No Python numbers: CuPy would turn 200 into an int8.
        assert all(isinstance(array, np.ndarray | np.generic) for array in given)
        dtype = fixed.get("dtype", given[0].dtype)  # the dtype of the result
        assert {array.dtype for array in given if array.dtype.kind == "f"} <= {dtype}
        np.broadcast_shapes(*(array.shape for array in given))
        hash(tuple(fixed.items()))  # the key of a kernel in the cache
        copies = (None if array is None else np.array(array) for array in arrays)
        results = function(*copies, xp=TRACED, **fixed)
        for result in results if isinstance(results, tuple) else (results,):
            assert result.dtype == dtype
        return results


MIXUP = Mixup(0.3)
RUNS = {
    "descent": {"optimizer": SGD(), "reg": 0.05},
    "descent without penalty": {"optimizer": SGD()},
    "momentum": {"optimizer": SGD(0.9), "reg": 0.05},
    "Nesterov's momentum, an average": {"reg": 0.05, "ema_decay": 0.9},
    "Adam": {"optimizer": Adam(), "reg": 0.05},
    "AdamW": {"optimizer": AdamW(weight_decay=0.1)},
    "smoothing": {"optimizer": SGD(), "label_smoothing": 0.1},
    "class probabilities and weights": {"optimizer": SGD(), "label_smoothing": 0.1, "augmentation": MIXUP},
    "dropout": {"optimizer": SGD(), "dropout": 0.5, "input_dropout": 0.1},
}


@pytest.fixture
def empty_cache() -> Iterator[None]:
    """Clear the cache, so that functions prepared for one namespace are not used in another."""
    execution._compiled.cache_clear()
    yield
    execution._compiled.cache_clear()


def trained(backend: Backend, networks: int, dtype: str, *, weighted: bool, **settings) -> twolayer.Run:
    rng = np.random.default_rng(0)
    X, y = backend.array(rng.standard_normal((43, 6))), backend.array(rng.integers(0, 4, 43), "int32")
    nets = [TwoLayerNet.initialize(6, 5, 4, rng=seed, weight_scale=0.5, dtype=dtype) for seed in range(3)]
    net = (nets[0] if networks == 1 else twolayer.stack(nets)).to(backend.xp)
    weight = backend.array(np.linspace(0.5, 2.0, 43)) if weighted else None
    given = {"validation": (X, y), "sample_weight": weight, "batch_size": 10, "epochs": 3, "rng": 0}
    return twolayer.train(net, X, y, **given, **settings)


@pytest.mark.only_on("numpy", "cupy")
@pytest.mark.usefixtures("empty_cache")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("networks", [1, 3])
@pytest.mark.parametrize("name", RUNS)
def test_fused_functions_give_the_same_run(backend: Backend, monkeypatch, name, networks, dtype):
    """NumPy imitates fusing. CuPy fuses, and is compared with its single operations."""
    settings = {"weighted": "weights" in name, **RUNS[name]}
    namespace = Fusing() if backend.library == "numpy" else fast_namespace(backend.xp)
    assert isinstance(namespace, FastNamespace)
    monkeypatch.setattr(execution, "fast_namespace", lambda xp: namespace)
    fused = trained(backend, networks, dtype, **settings)
    execution._compiled.cache_clear()
    monkeypatch.setattr(execution, "fast_namespace", lambda xp: xp)
    plain = trained(backend, networks, dtype, **settings)
    rtol = {"float32": 1e-4, "float64": 1e-10}[dtype]
    for one, other in zip((*fused.net, *fused.last), (*plain.net, *plain.last), strict=True):
        assert to_host(one).dtype == dtype
        np.testing.assert_allclose(to_host(one), to_host(other), rtol=rtol, atol=rtol / 10)
    np.testing.assert_allclose(fused.history.loss, plain.history.loss, rtol=rtol)
    if backend.library == "numpy":
        assert_each_leaf_was_called(namespace, settings, steps=fused.history.loss.shape[-1])


def assert_each_leaf_was_called(namespace: Fusing, settings: dict, *, steps: int) -> None:
    """Assert how often each leaf was called, in all steps and in the validations."""
    optimizer, penalised = settings.get("optimizer", SGD(0.9, nesterov=True)), "reg" in settings
    scaled = optimizer == SGD()
    by_adam, by_momentum = isinstance(optimizer, Adam | AdamW), isinstance(optimizer, SGD) and not scaled
    expected = {
        "softmax_gradient": 1,
        "through_relu": 1,
        "subtract_update": 4 * scaled,
        "penalised": 2 * (penalised and not scaled),
        "mixed": 4 * ("ema_decay" in settings),
        "_sgd_with_momentum": 4 * by_momentum,
        "_adam": 4 * by_adam,
    }
    assert {name: namespace.calls.get(name, 0) for name in expected} == {
        name: calls * steps for name, calls in expected.items()
    }
    epochs = 3
    # Two in each epoch check that the weights are finite; two in each step are for the penalty.
    assert namespace.calls["squares"] == 2 * epochs + 2 * steps * penalised
    # Two products forward and three backward in each step; two in each validation, after every epoch and at
    # the end.
    assert namespace.calls["product"] == 5 * steps + 2 * (epochs + 1)


def test_the_gradient_calls_each_leaf_of_the_mathematics():
    net = TwoLayerNet.initialize(6, 5, 4, rng=0, dtype="float64")
    X, T = drawn(7, 6), drawn(1, 4, 7, least=0.1)
    namespace = Fusing()
    params, sums, reg = pack(net, xp=np), np.sum(T, axis=1, keepdims=True), np.array([0.1])
    mathematics.loss_and_gradients(params, X, T, sums, np.array(1 / 7), reg, xp=namespace)
    leaves = {"relu": 1, "exp_of_difference": 1, "softmax_gradient": 1, "through_relu": 1}
    assert namespace.calls == {"product": 5, "squares": 2, **leaves}


@pytest.mark.parametrize(
    ("optimizer", "leaf"),
    [
        (SGD(), "_sgd"),
        (SGD(0.9), "_sgd_with_momentum"),
        (SGD(0.9, nesterov=True), "_sgd_with_momentum"),
        (Adam(), "_adam"),
        (AdamW(), "_adam"),
    ],
)
def test_a_move_calls_the_leaf_of_its_optimizer(optimizer, leaf):
    arrays = [drawn(2, 3, 4, least=0.1) for _ in range(4)]
    moments = (arrays,) * optimizer.n_moments
    coefficients = optimizer.coefficients(np.arange(1))[0, :]
    namespace = Fusing()
    optimizer.move(arrays, arrays, moments, [drawn(2, 1, 1)] * 4, coefficients, xp=namespace)
    assert namespace.calls == {leaf: 4}


# ---------------------------------------------------------------------------------------------------------
# Each leaf alone

K, N, D, H, C = 3, 7, 5, 6, 4


def drawn(*shape: int, least: float = -2.0) -> np.ndarray:
    return np.random.default_rng(shape).uniform(least, 2.0, shape)


def truth_values(*shape: int) -> np.ndarray:
    """Random truth values, of which about a half are true."""
    return drawn(*shape) > 0


LOGITS, HIDDEN, W1 = (K, C, N), (K, H, N), (K, H, D)
PER_NETWORK = drawn(K, 1, 1, least=0.1)
POSITIVE = drawn(*W1, least=0.1)
ERRORS = drawn(*LOGITS, least=0.1), drawn(K, 1, N, least=1.0)

# Calls of leaves: the function, its arrays, and its keywords. None is an array that is left out.
CALLS = {
    "product": (mathematics.product, (drawn(K, C, H), drawn(K, H, N)), {}),
    "product, one network": (mathematics.product, (drawn(1, C, H), drawn(1, H, N)), {}),
    "product, one network, many rows": (mathematics.product, (drawn(1, 50, C), drawn(1, C, N)), {}),
    **{
        f"product with samples, {K} of {H}, axis {axis}": (
            mathematics.product,
            (drawn(K, H, X.shape[axis]), X),
            {"axis": axis},
        )
        for K, H in ((3, 6), (1, 6), (1, 50))
        for axis, X in ((0, drawn(7, 5)), (1, drawn(7, 5)))
    },
    "relu": (mathematics.relu, (drawn(*HIDDEN), drawn(K, H, 1), None), {}),
    "relu, dropout": (mathematics.relu, (drawn(*HIDDEN), drawn(K, H, 1), truth_values(*HIDDEN)), {}),
    "through_relu": (mathematics.through_relu, (drawn(*HIDDEN), np.maximum(drawn(K, H, N), 0)), {}),
    "exp_of_difference": (mathematics.exp_of_difference, (drawn(*LOGITS), drawn(K, 1, N)), {}),
    "softmax_gradient, labels": (
        mathematics.softmax_gradient,
        (*ERRORS, drawn(1, C, N), None, PER_NETWORK),
        {},
    ),
    "softmax_gradient, probabilities": (
        mathematics.softmax_gradient,
        (*ERRORS, drawn(1, C, N), drawn(1, 1, N), PER_NETWORK),
        {},
    ),
    "softmax_gradient, all arrays of each network": (
        mathematics.softmax_gradient,
        (*ERRORS, drawn(K, C, N), drawn(K, 1, N), drawn(K, 1, N)),
        {},
    ),
    "penalised": (step.penalised, (drawn(*W1), drawn(*W1), PER_NETWORK), {}),
    "squares": (mathematics.squares, (drawn(*W1),), {}),
    "squares, one network": (mathematics.squares, (drawn(1, H, D),), {}),
    "one_hot": (mathematics.one_hot, (drawn(1, 4, 1) > 0, drawn(1, 1, 5) > 0), {"dtype": np.float32}),
    "subtract_update": (step.subtract_update, (drawn(*W1), drawn(*W1), None), {}),
    "subtract_update, decay": (step.subtract_update, (drawn(*W1), drawn(*W1), PER_NETWORK), {}),
    "mixed": (step.mixed, (drawn(*W1), drawn(*W1), drawn(1)[0]), {}),
    "_sgd": (optimizers._sgd, (drawn(*W1), drawn(*W1), PER_NETWORK), {}),
    **{
        f"_sgd_with_momentum, {nesterov}": (
            optimizers._sgd_with_momentum,
            (drawn(*W1), drawn(*W1), drawn(*W1), PER_NETWORK),
            {"momentum": 0.9, "nesterov": nesterov},
        )
        for nesterov in (False, True)
    },
    **{
        f"_adam, {decay}": (
            optimizers._adam,
            (drawn(*W1), drawn(*W1), drawn(*W1), POSITIVE, PER_NETWORK, drawn(1)[0], np.float64(1e-3)),
            {"beta1": 0.9, "beta2": 0.99, "decay": decay},
        )
        for decay in (0.0, 0.1)
    },
}


@pytest.mark.only_on("numpy", "torch", "cupy")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CALLS)
def test_the_fast_form_of_a_leaf_computes_the_same(backend: Backend, name, dtype):
    """The arrays may have any memory order, and a kernel does not change them."""
    function, arrays, fixed = CALLS[name]
    if "dtype" in fixed:
        fixed = fixed | {"dtype": getattr(backend.xp, dtype)}

    def given(order: str) -> list:
        """The arrays in row-major order, or with the last two axes swapped in memory."""
        made = []
        for array in arrays:
            if array is None:
                made.append(None)
                continue
            there = backend.array(array, dtype if array.dtype.kind == "f" else None)
            made.append(turned(there, xp=backend.xp) if order == "turned" and there.ndim == 3 else there)
        return made

    plain = function(*given("straight"), xp=backend.xp, **fixed)
    own_forms = fast_namespace(backend.xp)
    fused = {"numpy": Fusing(), "cupy": own_forms}.get(backend.library)
    for order, fast in itertools.product(("straight", "turned"), {fused, own_forms} - {None}):
        own = given(order)
        found = function(*own, xp=fast, **fixed)
        for array, was in zip(own, given("straight"), strict=True):
            if array is not None and fast is fused:
                np.testing.assert_array_equal(to_host(array), to_host(was))
        assert isinstance(found, tuple) == isinstance(plain, tuple)
        every = (found, plain) if isinstance(found, tuple) else ((found,), (plain,))
        if function is mathematics.squares:  # libraries differ in which squares they sum
            every = [[backend.xp.sum(sums, axis=1)] for (sums,) in every]
        for one, other in zip(*every, strict=True):
            assert backend.owns(one)
            assert one.shape == other.shape
            assert to_host(one).dtype == dtype
            rtol = {"float32": 1e-5, "float64": 1e-13}[dtype]
            np.testing.assert_allclose(to_host(one), to_host(other), rtol=rtol, atol=rtol)


def test_every_leaf_has_a_call() -> None:
    package = Path(twolayer.__file__).parent
    marked = {
        function.name
        for path in package.rglob("*.py")
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef)
        and any(ast.unparse(decorator) == "leaf" for decorator in function.decorator_list)
    }
    assert marked == {function.__name__ for function, _, _ in CALLS.values()}


# ---------------------------------------------------------------------------------------------------------
# The rules for a leaf


@leaf
def shifted(a, b, *, xp, factor):
    a *= factor
    return a if b is None else a + b


def test_a_leaf_is_a_plain_function_in_other_namespaces(backend: Backend):
    a, b = backend.array(np.arange(3.0)), backend.array(np.ones(3))
    assert to_host(shifted(a, b, xp=backend.xp, factor=2.0)).tolist() == [1.0, 3.0, 5.0]


@pytest.mark.only_on("cupy")
def test_a_fused_function_is_one_kernel_and_changes_no_argument(backend: Backend):
    xp = fast_namespace(backend.xp)
    a, b = backend.array(np.arange(6.0).reshape(2, 3)), backend.array(np.ones(3))
    for _ in range(2):
        assert to_host(shifted(a, b, xp=xp, factor=2.0)).tolist() == [[1.0, 3.0, 5.0], [7.0, 9.0, 11.0]]
        assert to_host(shifted(a, None, xp=xp, factor=2.0)).tolist() == [[0.0, 2.0, 4.0], [6.0, 8.0, 10.0]]
        assert to_host(shifted(a.T, None, xp=xp, factor=3.0)).tolist() == [[0, 9], [3, 12], [6, 15]]
    assert to_host(a).tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    kernels = [key for key in xp._kernels if key[0] is shifted.__wrapped__]
    assert len(kernels) == 3  # with b, without it, and with another factor
    assert fast_namespace(backend.xp) is xp
    assert xp.__name__ == backend.xp.__name__


@pytest.mark.only_on("numpy", "torch", "cupy")
def test_a_sum_of_many_squares_is_as_accurate_as_its_dtype(backend: Backend):
    """PyTorch's norm of a row of 2 million numbers is not."""
    W = np.random.default_rng(0).standard_normal((1, 700, 3072)).astype(np.float32)
    for xp in (backend.xp, fast_namespace(backend.xp)):
        found = float(backend.xp.sum(mathematics.squares(backend.array(W, "float32"), xp=xp)))
        assert found == pytest.approx(np.sum(np.square(W, dtype=np.float64)), rel=2e-6)
