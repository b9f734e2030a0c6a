"""JAX arrays divided over a mesh of devices: equal results, divided work, and placement."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.backends import N_DEVICES, Backend, mesh_sharding, to_host

import twolayer
from twolayer import Run, TwoLayerNet, optimizers, preprocessing, sweep, train
from twolayer import _validation as validation
from twolayer.checkpoints import load_run, save_run
from twolayer.training import execution, judging, trainer

pytestmark = pytest.mark.only_on("jax-sharded")

N, D, H, C = 96, 7, 11, 3
BATCH = 40  # a size that no other axis has
TWO_AXES = {"names": ("data", "model"), "sizes": (4, 2)}
CPU = "(?:cpu:|TFRT_CPU_)"  # the name in newer versions of JAX, and in older ones
CPUS = rf"of {CPU}0 to {CPU}7"
LAYOUTS = {
    "by rows": (("data",), {}),
    "on each device": ((), {}),
    "by rows over one of two axes": (("data",), TWO_AXES),
    "by rows over both axes": ((("data", "model"),), TWO_AXES),
    "by rows and columns": (("data", None, "model"), TWO_AXES),
}
HOW: dict[str, Any] = {"learning_rate": 0.1, "reg": 1e-3, "batch_size": BATCH, "epochs": 3, "rng": 0}
MIX = {"dropout": 0.3, "input_dropout": 0.1, "ema_decay": 0.9, "optimizer": optimizers.Adam()}


def samples(n: int = N, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images of one row, whose last axis the second axis of a mesh can divide, and their labels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, C, n)
    return rng.standard_normal((C, 1, D + 1))[y] + rng.standard_normal((n, 1, D + 1)), y


def network(device: Any = None, **how: Any) -> TwoLayerNet:
    import jax.numpy as jnp

    return TwoLayerNet.initialize(D + 1, H, C, rng=0, xp=jnp, dtype="float64", device=device, **how)


def put(sharding: Any, *arrays: np.ndarray) -> tuple[Any, ...]:
    """Copy arrays to a mesh, the spec cut to the axes of each array, or to the default device."""
    import jax

    if sharding is None:
        return tuple(map(jax.numpy.asarray, arrays))
    spec = sharding.spec
    cut = (jax.sharding.PartitionSpec(*spec[: array.ndim]) for array in arrays)
    each = zip(arrays, cut, strict=True)
    return tuple(jax.device_put(a, jax.sharding.NamedSharding(sharding.mesh, one)) for a, one in each)


def trained(sharding: Any, **how: Any) -> Run:
    X, y, X_val, y_val = put(sharding, *samples(), *samples(48, seed=1))
    return train(network(sharding), X, y, validation=(X_val, y_val), **(HOW | how))


def assert_same_run(run: Run, expected: Run) -> None:
    for found, wanted in (
        (run.history.loss, expected.history.loss),
        (run.history.validation_loss, expected.history.validation_loss),
        (run.history.validation_accuracy, expected.history.validation_accuracy),
        *zip(map(to_host, run.net), map(to_host, expected.net), strict=True),
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)
    assert run.train_accuracy == expected.train_accuracy


def assert_whole(net: TwoLayerNet, sharding: Any) -> None:
    """Assert that each device of the mesh has the whole of each array."""
    for array in net:
        assert array.sharding.mesh == sharding.mesh
        assert array.sharding.is_fully_replicated


def divides_rows(array: Any, axis: int = 0, n: int = N_DEVICES) -> bool:
    """Return whether each device has an n-th of the array, divided along an axis."""
    shape = list(array.shape)
    shape[axis] //= n
    return {shard.data.shape for shard in array.addressable_shards} == {tuple(shape)}


RUNS = {layout: (layout, {}) for layout in LAYOUTS}
RUNS |= {"mix": ("by rows", MIX), "uneven batches": ("by rows", {"batch_size": 21})}


@pytest.mark.parametrize(("layout", "how"), RUNS.values(), ids=RUNS)
def test_a_run_on_a_mesh_equals_that_on_one_device(backend: Backend, layout: str, how: dict[str, Any]):
    spec, mesh = LAYOUTS[layout]
    sharding = mesh_sharding(*spec, **mesh)
    run = trained(sharding, **how)
    assert_same_run(run, trained(None, **how))
    for net in (run.net, run.best, run.last, *filter(None, [run.average]), *run._moments):
        assert_whole(net, sharding)


def test_a_weighted_run_on_a_mesh_equals_that_on_one_device(backend: Backend):
    weights = np.random.default_rng(2).random(N)
    soft = np.eye(C)[samples()[1]] * 0.9 + 0.1 / C

    def run(sharding: Any) -> Run:
        X, y, w = put(sharding, samples()[0], soft, weights)
        how = HOW | {"class_weight": "balanced", "label_smoothing": 0.1, "validation": (X, y, w)}
        return train(network(sharding), X, y, sample_weight=w, **how)

    assert_same_run(run(mesh_sharding("data")), run(None))


def test_networks_are_whole_on_each_device_of_any_sharding(backend: Backend, tmp_path: Path):
    import jax.numpy as jnp

    by_rows = mesh_sharding("data")
    net = network(by_rows)
    assert_whole(net, by_rows)
    assert_whole(TwoLayerNet.initialize(4, 5, 3).to(jnp, by_rows), by_rows)  # no axis is divisible by 8
    twolayer.save(net, tmp_path / "net.safetensors")
    loaded = twolayer.load(tmp_path / "net.safetensors", jnp, by_rows)
    assert_whole(loaded, by_rows)
    assert_whole(net.astype("float32"), by_rows)
    stacked = twolayer.stack([net, loaded])
    for found in (stacked, stacked.select(1), twolayer.merge(stacked)):
        assert_whole(found, by_rows)
    for array, copy in zip(net, loaded, strict=True):
        np.testing.assert_array_equal(to_host(array), to_host(copy))
    assert re.search(rf"jax on the mesh \('data': 8\) {CPUS}\)$", repr(net))


@pytest.mark.parametrize("block", [None, 100], ids=["at once", "in blocks"])
def test_results_are_divided_as_their_samples_are(
    backend: Backend, block: int | None, monkeypatch: pytest.MonkeyPatch
):
    if block is not None:
        monkeypatch.setattr(validation, "BLOCK_ELEMENTS", block)
    by_rows = mesh_sharding("data")
    (X, y), net = put(by_rows, *samples()), network(by_rows)
    alone, (X_alone, y_alone) = network(), put(None, *samples())
    for name in ("logits", "predict_proba", "predict"):
        found, expected = getattr(net, name)(X), getattr(alone, name)(X_alone)
        np.testing.assert_allclose(to_host(found), to_host(expected), rtol=1e-9)
        assert divides_rows(found), name
        stacked = getattr(twolayer.stack([net, net]), name)(X)
        np.testing.assert_allclose(to_host(stacked)[1], to_host(expected), rtol=1e-9)
        assert divides_rows(stacked, axis=1), name
    np.testing.assert_allclose(float(net.accuracy(X, y)), float(alone.accuracy(X_alone, y_alone)))
    loss, gradients = net.loss_and_gradients(X, y, reg=0.1)
    expected_loss, expected_gradients = alone.loss_and_gradients(X_alone, y_alone, reg=0.1)
    np.testing.assert_allclose(float(loss), float(expected_loss), rtol=1e-9)
    assert_whole(gradients, by_rows)
    for found, expected in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(to_host(found), to_host(expected), rtol=1e-9, atol=1e-12)
    fitted = preprocessing.Standardizer.fit(X)
    applied = fitted.apply(X, dtype="float64")
    assert divides_rows(applied)
    np.testing.assert_allclose(to_host(applied), to_host(fitted.apply(X_alone, dtype="float64")), rtol=1e-9)


def test_samples_that_are_centred_on_the_host_stay_divided(backend: Backend):
    import jax

    from twolayer.training.data import centred
    from twolayer.training.step import Samples

    host = samples()[0].reshape(N, -1)
    (X,) = put(mesh_sharding("data"), host)
    found = centred(Samples(X, None, None), host.mean(axis=0)).X
    assert found.sharding == X.sharding
    np.testing.assert_allclose(jax.device_get(found), host - host.mean(axis=0))


class Recorded:
    """A function that JAX compiles, and the text of its programs, which each run on one device."""

    def __init__(self, function: Any, programs: list[str]) -> None:
        self.function, self.programs = function, programs

    def __call__(self, *arguments: Any) -> Any:
        self.programs.append(self.function.lower(*arguments).compile().as_text())
        return self.function(*arguments)


def sizes_in_products(programs: list[str]) -> set[int]:
    """Return the sizes of all axes of the results of matrix products."""
    shapes = [re.findall(r"= f64\[([\d,]+)\]\S* dot\(", program) for program in programs]
    assert all(shapes)
    return {int(size) for found in shapes for shape in found for size in shape.split(",")}


@pytest.mark.parametrize("how", [{}, {"stream": True}], ids=["gathered", "streamed"])
@pytest.mark.parametrize("divides", [True, False], ids=["divided", "control"])
def test_each_device_computes_its_part_of_a_batch(
    backend: Backend, how: dict[str, Any], divides: bool, monkeypatch: pytest.MonkeyPatch
):
    steps: list[str] = []
    evaluations: list[str] = []

    def recorded(kept: list[str]) -> Any:
        own = execution.compiled
        return lambda function, *args, **kwargs: Recorded(own(function, *args, **kwargs), kept)

    monkeypatch.setattr(judging, "compiled", recorded(evaluations))
    monkeypatch.setattr(execution, "compiled", recorded(steps))
    if not divides:
        for module in (trainer, judging):
            monkeypatch.setattr(module, "dividing", lambda device: None)
    by_rows = mesh_sharding("data")
    X, y = samples() if how else put(by_rows, *samples())
    validation = samples(88) if how else put(by_rows, *samples(88))
    train(network(by_rows), X, y, validation=validation, **(HOW | how | {"epochs": 1}))
    found = sizes_in_products(steps[:1])
    assert (BATCH in found) is not divides
    assert (BATCH // N_DEVICES in found) is divides
    assert (re.search(rf"f64\[1,{H},{D + 1}\]\S*.* all-reduce\(", steps[0]) is not None) is divides
    evaluated = sizes_in_products(evaluations)
    if divides:
        assert {N // N_DEVICES, 88 // N_DEVICES} <= evaluated
        assert {N, 88}.isdisjoint(evaluated)


def test_steps_are_compiled_once_for_each_batch_size(backend: Backend, each_step: None):
    """Networks keep their sharding, as another one would be compiled again."""
    import jax

    by_rows, counts = mesh_sharding("data"), []
    block: list[Any] = []

    def note(progress: twolayer.Progress) -> None:
        counts.append(block[0]._cache_size())

    own = execution.Steps.__init__

    def kept(self: Any, *args: Any, **how: Any) -> None:
        own(self, *args, **how)
        block.append(self._block)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution.Steps, "__init__", kept)
        jax.clear_caches()
        train(network(by_rows), *put(by_rows, *samples()), **HOW, callbacks=[note])
    assert counts[-1] == 2  # for two sizes of batches


def test_a_sweep_on_a_mesh_equals_that_on_one_device(backend: Backend):
    by_rows = mesh_sharding("data")
    how = {"epochs": 2, "dtype": "float64", "rng": 0}
    grid = {"learning_rate": [0.05, 0.2], "reg": [0.0, 1e-2], "batch_size": [BATCH], "n_hidden": [H]}
    X, y, X_val, y_val = host = *samples(), *samples(48, seed=1)
    expected = sweep(X, y, validation=(X_val, y_val), grid=grid, **how)
    X, y, X_val, y_val = put(by_rows, *host)
    found = sweep(X, y, validation=(X_val, y_val), grid=grid, **how)
    streamed = sweep(
        *host[:2],
        validation=host[2:],
        grid=grid,
        **how,
        stream=True,
        xp=backend.xp,
        device=by_rows,
    )
    for result in (found, streamed):
        assert_whole(result.best.net, by_rows)
        for one, other in zip(result.runs, expected.runs, strict=True):
            assert one["validation_accuracy"] == other["validation_accuracy"]
        np.testing.assert_allclose(to_host(result.best.net.W1), expected.best.net.W1, rtol=1e-9)


@pytest.mark.parametrize("fit", [None, "standardize"])
def test_folds_on_a_mesh_equal_those_on_one_device(backend: Backend, fit: str | None):
    by_rows = mesh_sharding("data")
    how = {"epochs": 2, "dtype": "float64", "rng": 0, "folds": 3}
    how |= {"grid": {"learning_rate": [0.05, 0.2], "n_hidden": [H]}, "preprocessing": fit}
    found, expected = sweep(*put(by_rows, *samples()), **how), sweep(*samples(), **how)
    assert_whole(found.best.net, by_rows)
    assert [one["validation_accuracy"] for one in found.runs] == [
        one["validation_accuracy"] for one in expected.runs
    ]
    np.testing.assert_allclose(to_host(found.best.net.W1), expected.best.net.W1, rtol=1e-9)


def test_a_saved_run_can_be_resumed_on_a_mesh(backend: Backend, tmp_path: Path):
    by_rows, path = mesh_sharding("data"), tmp_path / "run.safetensors"
    (X, y), net = put(by_rows, *samples()), network(by_rows)

    def halt(progress: twolayer.Progress) -> None:
        if progress.epoch_ended and progress.epoch == 2:
            save_run(progress.run(), path)
            progress.stop()

    whole = train(net, X, y, **HOW)
    train(net, X, y, **HOW, callbacks=[halt])
    loaded = load_run(path, backend.xp, by_rows)
    for one in (loaded.last, *loaded._moments):
        assert_whole(one, by_rows)
    for resumed in (train(loaded, X, y, **HOW), train(net, X, y, **HOW, resume=path)):
        np.testing.assert_array_equal(resumed.history.loss, whole.history.loss)
        assert_whole(resumed.net, by_rows)
    alone = train(load_run(path, backend.xp), *put(None, *samples()), **HOW)
    np.testing.assert_allclose(alone.history.loss, whole.history.loss, rtol=1e-9)


def test_a_mesh_of_one_device_counts_as_that_device(backend: Backend):
    import jax

    mesh = jax.sharding.Mesh(np.asarray(jax.devices("cpu")[:1]), ("data",))
    alone = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    X, y = put(alone, *samples())
    assert_same_run(
        train(network(), X, y, validation=(X, y), **HOW),
        train(network(alone), *put(None, *samples()), validation=put(None, *samples()), **HOW),
    )


def test_arrays_on_different_devices_or_meshes_are_refused(backend: Backend):
    import jax

    by_rows, other = mesh_sharding("data"), mesh_sharding("data", **TWO_AXES)
    (X, y), alone = put(by_rows, *samples()), network()
    mesh = rf"the mesh \('data': 8\) {CPUS}"
    cure = r"; `net\.to\(jax\.numpy, X\.sharding\)` copies the network to its mesh$"
    with pytest.raises(ValueError, match=rf"^`X` must be on the device of `W1`, {CPU}0; got {mesh}{cure}"):
        train(alone, X, y, **HOW)
    assert_whole(alone.to(backend.xp, X.sharding), by_rows)
    net = network(by_rows)
    copies = r"; `jax\.device_put\(X, W1\.sharding\)` copies it there$"
    with pytest.raises(ValueError, match=rf"^`X` must be on the device of `W1`, {mesh}; got {CPU}0{copies}"):
        net.logits(*put(None, samples()[0]))
    with pytest.raises(ValueError, match=rf"^`y` must be on the device of `X`, {mesh}; got {CPU}0; `jax"):
        net.loss(X, *put(None, samples()[1]))
    wanted = rf"the mesh \('data': 4, 'model': 2\) {CPUS}"
    with pytest.raises(ValueError, match=rf"^`X` must be on the device of `W1`, {wanted}; got {mesh}{cure}"):
        network(other).logits(X)
    backwards = jax.sharding.Mesh(by_rows.mesh.devices[::-1], ("data",))
    sharding = jax.sharding.NamedSharding(backwards, by_rows.spec)
    came = rf"the mesh \('data': 8\) of {CPU}7 to {CPU}0"
    with pytest.raises(ValueError, match=rf"must be on the device of `W1`, {mesh}; got {came}{cure}"):
        net.logits(jax.device_put(X, sharding))
    with pytest.raises(ValueError, match=rf"^`validation X` must be .*, {mesh}; got {CPU}0; `jax"):
        train(net, X, y, validation=put(None, *samples()), **HOW)


def test_a_mesh_with_explicit_axes_is_refused(backend: Backend):
    import jax

    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    message = (
        rf"^`{{}}` must be on one device, or on a mesh whose axes are all of type Auto; got the mesh "
        rf"\('data': 8\) {CPUS}, with axes of type Explicit; `jax\.make_mesh` makes such a mesh with "
        r"`axis_types=\(jax\.sharding\.AxisType\.Auto,\)`, with one entry for each axis$"
    )
    X, y = put(sharding, *samples())
    with pytest.raises(ValueError, match=message.format("X")):
        sweep(X, y, grid={}, folds=2)
    with pytest.raises(ValueError, match=message.format("W1")):
        train(network(sharding), X, y, **HOW)


def test_networks_on_a_mesh_work_inside_jit(backend: Backend):
    import jax

    by_rows = mesh_sharding("data")
    (X, y), net = put(by_rows, *samples()), network(by_rows)
    loss = jax.jit(lambda net, X, y: net.loss(X, y, reg=0.1))(net, X, y)
    np.testing.assert_allclose(float(loss), float(net.loss(X, y, reg=0.1)), rtol=1e-9)
    assert divides_rows(jax.jit(lambda net, X: net.logits(X))(net, X))


@pytest.mark.parametrize("row", [0, 50, N - 1])
def test_a_nan_on_any_device_is_found(backend: Backend, row: int):
    """JAX's maximum over several devices ignores nan."""
    by_rows = mesh_sharding("data")
    host, labels = samples()
    host[row, 0, 3] = np.nan
    soft, weights = np.eye(C)[labels], np.ones(N)
    soft[row], weights[row] = np.nan, np.nan
    (sound, X, y, T, w), net = put(by_rows, samples()[0], host, labels, soft, weights), network(by_rows)
    place = rf"row {row}, at \(0, 3\) \(counted from 0\)$"
    with pytest.raises(ValueError, match=rf"^`X` must be finite; got nan, first in {place}"):
        train(net, X, y, **HOW)
    with pytest.raises(ValueError, match=rf"^`X` must hold samples .*; got nan, first for row {row} "):
        net.predict(X)
    with pytest.raises(ValueError, match=r"^`y` must hold class probabilities that sum to 1 .* off by nan$"):
        net.loss(sound, T)
    with pytest.raises(ValueError, match=r"^`sample_weight` must be finite .*; got a weight of nan$"):
        net.loss(sound, y, sample_weight=w)
    assert np.isnan(float(net.accuracy(X, y)))
