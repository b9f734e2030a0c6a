"""Masked, structured and sparse arrays, and tables, which public functions refuse."""

from __future__ import annotations

import importlib
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal
from support.backends import Backend
from support.refusals import refusal

from twolayer import TwoLayerNet, convolution, merge, onnx, optimizers, save, stack, sweep, symmetrize, train
from twolayer._namespace import to_host
from twolayer._validation import check_plain, host_values
from twolayer.preprocessing import Standardizer, Whitener
from twolayer.report.metrics import (
    calibration_bins,
    classification_summary,
    confusion_matrix,
    expected_calibration_error,
    most_wrong,
)

pytest.importorskip("sklearn", reason="the estimator needs scikit-learn, the extra `sklearn`")
pytest.importorskip("matplotlib", reason="plots need matplotlib, the extra `plots`")

from matplotlib.figure import Figure

from twolayer import plotting
from twolayer.sklearn import TwoLayerClassifier

rng = np.random.default_rng(0)
X = rng.normal(size=(12, 4)).astype("f4")
y = np.arange(12) % 3
T = np.eye(3, dtype="f4")[y]
w = np.ones(12, "f4")
net = TwoLayerNet.initialize(4, 5, 3, rng=0)
grid = {"learning_rate": [0.1]}
scaling = Standardizer.fit(X)
filters, b1 = np.ones((2, 2, 1, 3), "f4"), np.zeros(3, "f4")
W2, b2 = np.ones((1, 1, 3, 2), "f4"), np.zeros(2, "f4")


classes, counts, ones = ["a", "b", "c"], np.eye(3, dtype=int), np.ones(())
sgd = optimizers.SGD()


def trained(net: TwoLayerNet = net, X: Any = X, y: Any = y, **settings: Any) -> Any:
    return train(net, X, y, steps=1, rng=0, **settings)


def swept(X: Any = X, y: Any = y, *, V: Any = X, v: Any = y, **settings: Any) -> Any:
    return sweep(X, y, validation=(V, v), grid=grid, steps=1, **settings)


def model(**settings: Any) -> TwoLayerClassifier:
    return TwoLayerClassifier(5, max_iter=1, random_state=0, **settings)


def fit(X: Any = X, y: Any = y, w: Any = None, *, V: Any = X, v: Any = y, **settings: Any) -> Any:
    return model(early_stopping=True).fit(X, y, w, X_val=V, y_val=v, **settings)


def changed(**arrays: Any) -> TwoLayerNet:
    return net._replace(**arrays)


fitted = model().fit(X, y)


def axes() -> Any:
    return Figure().add_subplot()


# For each use of an array: the name of the argument in the message, a valid value, and the call.
USES: dict[str, tuple[str, Any, Any]] = {
    "logits": ("X", X, net.logits),
    "predict": ("X", X, net.predict),
    "predict_proba": ("X", X, net.predict_proba),
    "accuracy X": ("X", X, lambda X: net.accuracy(X, y)),
    "accuracy y": ("y", y, lambda y: net.accuracy(X, y)),
    "loss X": ("X", X, lambda X: net.loss(X, y)),
    "loss labels": ("y", y, lambda y: net.loss(X, y)),
    "loss probabilities": ("y", T, lambda T: net.loss(X, T)),
    "loss sample_weight": ("sample_weight", w, lambda w: net.loss(X, y, sample_weight=w)),
    "loss reg": ("reg", ones, lambda reg: net.loss(X, y, reg=reg)),
    "loss_and_gradients": ("y", y, lambda y: net.loss_and_gradients(X, y)),
    "network": ("W1", net.W1, lambda W1: changed(W1=W1).logits(X)),
    "network b2": ("b2", net.b2, lambda b2: changed(b2=b2).logits(X)),
    "to": ("W2", net.W2, lambda W2: changed(W2=W2).to(np)),
    "astype": ("W2", net.W2, lambda W2: changed(W2=W2).astype("float64")),
    "stack": ("b1", net.b1, lambda b1: stack([net, changed(b1=b1)])),
    "merge": ("b1", stack([net, net]).b1, lambda b1: merge(stack([net, net])._replace(b1=b1))),
    "symmetrize": ("W1", net.W1, lambda W1: symmetrize(changed(W1=W1), (2, 2))),
    "unroll": ("filters", filters, lambda f: convolution.unroll(f, b1, W2, b2, image_shape=(2, 2))),
    "save": ("b1", net.b1, lambda b1: save(changed(b1=b1), "net.safetensors")),
    "onnx.export": ("b1", net.b1, lambda b1: onnx.export(changed(b1=b1), "net.onnx")),
    "optimizer.init": ("b1", net.b1, lambda b1: sgd.init(changed(b1=b1))),
    "optimizer.update": (
        "gradients.W1",
        net.W1,
        lambda W1: sgd.update(net, changed(W1=W1), sgd.init(net), learning_rate=0.1),
    ),
    "train network": ("W1", net.W1, lambda W1: trained(changed(W1=W1))),
    "train X": ("X", X, lambda X: trained(X=X)),
    "train y": ("y", y, lambda y: trained(y=y)),
    "train streamed": ("X", X, lambda X: trained(X=X, stream=True)),
    "train sample_weight": ("sample_weight", w, lambda w: trained(sample_weight=w)),
    "train class_weight": ("class_weight", np.ones(3), lambda c: trained(class_weight=c)),
    "train learning_rate": ("learning_rate", ones, lambda rate: trained(learning_rate=rate)),
    "train validation X": ("validation X", X, lambda X: trained(validation=(X, y))),
    "train validation y": ("validation y", y, lambda y: trained(validation=(X, y))),
    "train validation weight": ("validation sample_weight", w, lambda w: trained(validation=(X, y, w))),
    "sweep X": ("X", X, swept),
    "sweep y": ("y", y, lambda y: swept(y=y)),
    "sweep validation X": ("validation X", X, lambda V: swept(V=V)),
    "sweep validation y": ("validation y", y, lambda v: swept(v=v)),
    "sweep sample_weight": ("sample_weight", w, lambda w: swept(sample_weight=w)),
    "Standardizer.fit": ("X", X, Standardizer.fit),
    "Standardizer.apply": ("X", X, scaling.apply),
    "Whitener.fit": ("X", X, Whitener.fit),
    "Whitener.apply": ("X", X, Whitener.fit(X).apply),
    "Standardizer": ("mean", scaling.mean, lambda mean: scaling._replace(mean=mean).apply(X)),
    "Standardizer.fold": ("scale", scaling.scale, lambda scale: scaling._replace(scale=scale).fold(net)),
    "preprocessing=": ("mean", X[0], lambda mean: trained(preprocessing=scaling._replace(mean=mean))),
    "confusion_matrix y_true": ("y_true", y, lambda y_true: confusion_matrix(y_true, y, 3)),
    "confusion_matrix y_pred": ("y_pred", y, lambda y_pred: confusion_matrix(y, y_pred, 3)),
    "classification_summary": ("confusion", counts, lambda counts: classification_summary(counts, classes)),
    "most_wrong y": ("y", y, lambda y: most_wrong(y, T)),
    "most_wrong probs": ("probs", T, lambda probs: most_wrong(y, probs)),
    "calibration_bins": ("probs", T, lambda probs: calibration_bins(y, probs)),
    "expected_calibration_error": ("y", y, lambda y: expected_calibration_error(y, T)),
    "plot_calibration": ("probs", T, lambda probs: plotting.plot_calibration(y, probs, ax=axes())),
    "plot_confusion": ("confusion", counts, lambda c: plotting.plot_confusion(c, classes, ax=axes())),
    "plot_mistakes": (
        "X",
        X,
        lambda X: plotting.plot_mistakes(X, y, np.roll(T, 1, axis=0), classes, (2, 2), ax=axes()),
    ),
    "plot_weights": ("W1", net.W1, lambda W1: plotting.plot_weights(changed(W1=W1), (2, 2), ax=axes())),
    "fit X": ("X", X, fit),
    "fit y": ("y", y, lambda y: fit(y=y)),
    "fit sample_weight": ("sample_weight", w, lambda w: fit(w=w)),
    "fit X_val": ("X_val", X, lambda V: fit(V=V)),
    "fit y_val": ("y_val", y, lambda v: fit(v=v)),
    "fit sample_weight_val": ("sample_weight_val", w, lambda w: fit(sample_weight_val=w)),
    "partial_fit y": ("y", y, lambda y: model().partial_fit(X, y, classes=[0, 1, 2])),
    "partial_fit classes": ("classes", y[:3], lambda classes: model().partial_fit(X, y, classes=classes)),
    "estimator's predict": ("X", X, fitted.predict),
    "estimator's predict_proba": ("X", X, fitted.predict_proba),
    "estimator's decision_function": ("X", X, fitted.decision_function),
    "score X": ("X", X, lambda X: fitted.score(X, y)),
    "score y": ("y", y, lambda y: fitted.score(X, y)),
    "score sample_weight": ("sample_weight", w, lambda w: fitted.score(X, y, w)),
}
# Arguments that are used on the host: anything that NumPy can turn into an array is accepted.
ON_THE_HOST = ("reg", "class_weight", "learning_rate", "y_true", "y_pred", "confusion", "probs")


def kinds_of(value: np.ndarray) -> dict[str, Any]:
    """The same numbers as a masked array, a record array and, if the shape allows it, a matrix."""
    kinds = {
        "MaskedArray": np.ma.masked_array(value, mask=np.arange(value.size).reshape(value.shape) == 0),
        "recarray": value.view(np.recarray),
    }
    if value.ndim == 2:
        with pytest.warns(PendingDeprecationWarning):
            kinds["matrix"] = np.matrix(value)
    return kinds


@pytest.mark.parametrize("use", USES)
def test_numpy_arrays_that_are_not_plain_are_refused(use, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, value, call = USES[use]
    call(value)
    for kind, array in kinds_of(value).items():
        with refusal(f"TypeError: `{name}` must be a plain array; got {kind}; use `…`"):
            call(array)


@given(
    values=hnp.arrays(
        st.sampled_from(["f4", "f8", "i8", "u1", "?"]), hnp.array_shapes(min_dims=1, max_dims=3, max_side=4)
    ),
    data=st.data(),
)
def test_masked_arrays_are_refused_and_the_suggested_fix_works(values, data):
    mask = data.draw(hnp.arrays(bool, values.shape) | st.just(np.ma.nomask))
    with refusal("TypeError: `validation X` must be …; got MaskedArray; use `X.filled(value)`…"):
        host_values("validation X", np.ma.masked_array(values, mask))
    for kind in kinds_of(values).values():
        with pytest.raises(TypeError) as raised:
            check_plain("X", kind)
        fix = re.search("; use `(.*)`$", str(raised.value))
        assert fix is not None
        fixed = eval(fix[1], {"X": kind, "numpy": np, "value": 1})  # as a user would
        check_plain("X", fixed)
        assert type(fixed) is np.ndarray


def test_structured_arrays_are_refused_and_the_suggested_fix_works():
    table = np.rec.fromarrays([np.arange(3.0), np.arange(3)], names="a,b")
    for array in (table, np.asarray(table)):
        with refusal("TypeError: `X` must be a plain array; got structured array;…") as raised:
            net.logits(array)
        found = re.search("`(numpy.lib.*)`", str(raised.value))
        assert found is not None
        importlib.import_module("numpy.lib.recfunctions")
        assert_array_equal(eval(found[1], {"X": array, "numpy": np}), [[0, 0], [1, 1], [2, 2]])


def test_subclasses_that_are_plain_arrays_are_accepted(tmp_path):
    X.tofile(tmp_path / "X")
    mapped = np.memmap(tmp_path / "X", dtype="f4", shape=X.shape, mode="r")
    assert_array_equal(net.logits(mapped), net.logits(X))
    assert_array_equal(trained(X=mapped, stream=True).net.W1, trained().net.W1)


class Table:
    """An object with the attributes of a table of pandas or polars, or of an array of xarray."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim

    def to_numpy(self) -> np.ndarray:
        return self.values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype=dtype)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Any) -> Table:
        return Table(self.values[rows])


class Sparse:
    """An object with the attributes of a sparse array of SciPy."""

    shape, ndim, dtype = (12, 4), 2, np.dtype("f4")

    def toarray(self) -> np.ndarray:
        return X


ARRAY_USES = [
    use
    for use, (name, _, call) in USES.items()
    if name not in (*ON_THE_HOST, "mean", "scale", "classes")
    and not use.startswith(("fit", "partial_fit", "score", "estimator", "most", "expected", "plot", "calib"))
]


@pytest.mark.parametrize("use", ARRAY_USES)
def test_tables_are_refused_with_the_method_to_call(use, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, value, call = USES[use]
    variable = name.rpartition(" ")[2]
    kind = (
        "a NumPy array if samples are streamed" if use == "train streamed" else "an array of an array-API …"
    )
    with refusal(f"TypeError: `{name}` must be {kind}; got Table; use `{variable}.to_numpy()`"):
        call(Table(value))


def test_tables_of_pandas_are_refused():
    pandas = pytest.importorskip("pandas", reason="a table of pandas needs pandas")
    with refusal("TypeError: …got DataFrame; use `X.to_numpy()`…"):
        net.logits(pandas.DataFrame(X))
    with refusal("TypeError: …got Series; use `y.to_numpy()`…"):
        trained(y=pandas.Series(y))


def test_sparse_arrays_of_scipy_are_refused():
    with refusal("TypeError: …got Sparse; use `X.toarray()`…"):
        net.logits(Sparse())


@pytest.mark.only_on("torch")
@pytest.mark.filterwarnings("ignore:The PyTorch API of (MaskedTensors|nested tensors):UserWarning")
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
def test_tensors_of_pytorch_with_other_layouts_are_refused(backend: Backend):
    import torch

    values = backend.array(X)
    kinds = {
        "tensor of layout torch.sparse_coo": values.to_sparse(),
        "tensor of layout torch.sparse_csr": values.to_sparse_csr(),
        "MaskedTensor": torch.masked.masked_tensor(values, values > 0),
        "nested tensor": torch.nested.nested_tensor(list(values)),
    }
    there = net.to(torch, backend.device)
    labels = backend.array(y)
    for kind, array in kinds.items():
        for call in (
            there.logits,
            lambda X: there.loss(X, labels),
            lambda X: trained(there, X, labels),
            lambda X: sweep(X, labels, validation=(X, labels), grid=grid),
            Standardizer.fit,
            scaling.apply,
            Whitener.fit,
        ):
            with refusal(f"TypeError: `X` must be a plain array; got {kind}; use `…`") as raised:
                call(array)
        fix = re.search("; use `(.*)`$", str(raised.value))
        assert fix is not None
        fixed = eval(fix[1], {"X": array, "value": 0.0})
        assert backend.owns(there.logits(fixed))
    weight = torch.nn.Parameter(backend.array(net.W1, "float32"))  # a subclass, but a plain array
    assert_array_equal(to_host(there._replace(W1=weight).logits(values)), to_host(there.logits(values)))


@pytest.mark.only_on("jax")
def test_sparse_arrays_of_jax_are_refused(backend: Backend):
    from jax.experimental import sparse

    there = net.to(backend.xp)
    with refusal("TypeError: …got BCOO; use `X.todense()`…"):
        there.logits(sparse.BCOO.fromdense(backend.array(X)))
