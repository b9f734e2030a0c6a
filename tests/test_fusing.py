"""Functions marked as `fusible`: what they may do, and that fused ones train the same networks."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from backends import Backend, to_host

import twolayer
from twolayer import TwoLayerNet
from twolayer._namespace import FusingNamespace, fuses, fusible
from twolayer.augmentation import Mixup
from twolayer.training import execution
from twolayer.training.execution import lean
from twolayer.training.optimizers import SGD, Adam, AdamW

# What CuPy can trace.
TRACED = SimpleNamespace(
    exp=np.exp,
    sqrt=np.sqrt,
    maximum=np.maximum,
    astype=lambda array, dtype: array.astype(dtype),
    vecdot=lambda a, b: np.sum(a * b, axis=-1),
)


class Fusing(FusingNamespace):
    """NumPy, whose fused functions are given copies, and no more of NumPy than CuPy can trace."""

    def __init__(self) -> None:
        super().__init__("numpy")
        vars(self).update({name: value for name, value in vars(np).items() if name not in vars(self)})
        self.calls: dict[str, int] = {}

    def fused(self, function, arrays, fixed):
        self.calls[function.__name__] = self.calls.get(function.__name__, 0) + 1
        given = [array for array in arrays if array is not None]
        assert all(isinstance(array, np.ndarray | np.generic) for array in given)  # of 200 CuPy makes an int8
        assert {array.dtype for array in given if array.dtype.kind == "f"} == {given[0].dtype}
        np.broadcast_shapes(*(array.shape for array in given))
        hash(tuple(fixed.items()))  # by which kernels are found again
        copies = (None if array is None else np.array(array) for array in arrays)
        results = function(*copies, xp=TRACED, **fixed)
        for result in results if isinstance(results, tuple) else (results,):
            assert result.dtype == given[0].dtype
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
def prepared_anew() -> Iterator[None]:
    """Keep functions that were prepared for one namespace from runs in another."""
    execution._prepared.cache_clear()
    yield
    execution._prepared.cache_clear()


def trained(backend: Backend, networks: int, dtype: str, *, weighted: bool, **settings) -> twolayer.Run:
    rng = np.random.default_rng(0)
    X, y = backend.array(rng.standard_normal((43, 6))), backend.array(rng.integers(0, 4, 43), "int32")
    nets = [TwoLayerNet.initialize(6, 5, 4, rng=seed, weight_scale=0.5, dtype=dtype) for seed in range(3)]
    net = (nets[0] if networks == 1 else twolayer.stack(nets)).to(backend.xp)
    weight = backend.array(np.linspace(0.5, 2.0, 43)) if weighted else None
    given = {"validation": (X, y), "sample_weight": weight, "batch_size": 10, "epochs": 3, "rng": 0}
    return twolayer.train(net, X, y, **given, **settings)


@pytest.mark.only_on("numpy", "cupy")
@pytest.mark.usefixtures("prepared_anew")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("networks", [1, 3])
@pytest.mark.parametrize("name", RUNS)
def test_fused_functions_train_the_same_networks(backend: Backend, monkeypatch, name, networks, dtype):
    """On NumPy as if it fused; on CuPy, which does, against its operations one by one."""
    settings = {"weighted": "weights" in name, **RUNS[name]}
    namespace = Fusing() if backend.library == "numpy" else lean(backend.xp)
    assert fuses(namespace)
    monkeypatch.setattr(execution, "lean", lambda xp: namespace)
    fused = trained(backend, networks, dtype, **settings)
    execution._prepared.cache_clear()
    monkeypatch.setattr(execution, "lean", lambda xp: xp)
    plain = trained(backend, networks, dtype, **settings)
    rtol = {"float32": 1e-4, "float64": 1e-10}[dtype]
    for one, other in zip((*fused.net, *fused.last), (*plain.net, *plain.last), strict=True):
        assert to_host(one).dtype == dtype
        np.testing.assert_allclose(to_host(one), to_host(other), rtol=rtol, atol=rtol / 10)
    np.testing.assert_allclose(fused.history.loss, plain.history.loss, rtol=rtol)
    if backend.library == "numpy":
        assert {"rectified", "through_rectifier", "exp_of_difference", "errors"} <= set(namespace.calls)


@fusible
def shifted(a, b, *, xp, factor):
    a *= factor
    return a if b is None else a + b


def test_a_fusible_function_is_a_plain_one_elsewhere(backend: Backend):
    a, b = backend.array(np.arange(3.0)), backend.array(np.ones(3))
    assert to_host(shifted(a, b, xp=backend.xp, factor=2.0)).tolist() == [1.0, 3.0, 5.0]


@pytest.mark.only_on("cupy")
def test_a_fused_function_is_one_kernel_and_leaves_its_arguments_alone(backend: Backend):
    xp = lean(backend.xp)
    a, b = backend.array(np.arange(6.0).reshape(2, 3)), backend.array(np.ones(3))
    for _ in range(2):
        assert to_host(shifted(a, b, xp=xp, factor=2.0)).tolist() == [[1.0, 3.0, 5.0], [7.0, 9.0, 11.0]]
        assert to_host(shifted(a, None, xp=xp, factor=2.0)).tolist() == [[0.0, 2.0, 4.0], [6.0, 8.0, 10.0]]
        assert to_host(shifted(a.T, None, xp=xp, factor=3.0)).tolist() == [[0, 9], [3, 12], [6, 15]]
    assert to_host(a).tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    kernels = [key for key in xp._kernels if key[0] is shifted.__wrapped__]
    assert len(kernels) == 3  # with b, without it, and with another factor
    assert lean(backend.xp) is xp
    assert xp.__name__ == backend.xp.__name__
