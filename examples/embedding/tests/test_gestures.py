"""The embedding project on every array library that is installed, alone and in threads."""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor

import gestures
import numpy as np
import pytest
from array_api_compat import array_namespace

import twolayer

NAMES = ("fist", "point", "wave")
LIBRARIES = {"numpy": "numpy", "torch": "torch", "jax": "jax.numpy"}


def readings(n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Readings of eight sensors in their own units, and whose gesture they are."""
    rng = np.random.default_rng(seed)
    centres = 3.0 * np.random.default_rng(99).standard_normal((len(NAMES), 8))
    labels = rng.integers(len(NAMES), size=n)
    scales, offsets = 10.0 ** np.arange(-4, 4), 100.0 * np.arange(8)
    return (centres[labels] + rng.standard_normal((n, 8))) * scales + offsets, labels


def there(library: str, array: np.ndarray):
    """Copy a host array to a library, floats as float32."""
    name = "float32" if array.dtype.kind == "f" else "int32"
    xp = importlib.import_module(LIBRARIES[library])
    return xp.asarray(array.astype(name))


@pytest.fixture(params=list(LIBRARIES))
def library(request: pytest.FixtureRequest) -> str:
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param


def test_it_recognises_gestures_in_anyones_arrays(library: str, tmp_path):
    X, y = readings()
    recogniser = gestures.fit(there(library, X), there(library, y), names=NAMES, rng=0)
    new, labels = readings(seed=1)
    new = there(library, new)
    assert array_namespace(recogniser.net.W1) is array_namespace(new)
    found = recogniser.recognise(new)
    assert np.mean([name == NAMES[label] for name, label in zip(found, labels, strict=True)]) > 0.95
    recogniser.save(tmp_path / "glove.safetensors")
    assert gestures.load(tmp_path / "glove.safetensors", like=new).recognise(new) == found
    on_numpy = gestures.load(tmp_path / "glove.safetensors")
    assert isinstance(on_numpy.net.W1, np.ndarray)
    assert on_numpy.names == NAMES


def test_every_library_learns_the_same():
    found = {}
    for library in LIBRARIES:
        if importlib.util.find_spec(library) is not None:
            X, y = readings()
            net = gestures.fit(there(library, X), there(library, y), names=NAMES, epochs=3, rng=0).net
            found[library] = np.asarray(net.W1)
    for array in found.values():
        np.testing.assert_allclose(array, found["numpy"], rtol=1e-3, atol=1e-4 * np.abs(found["numpy"]).max())


def test_trainings_in_threads_give_what_they_give_alone(library: str):
    def trained(seed: int) -> list[np.ndarray]:
        X, y = (there(library, array) for array in readings(seed=seed))
        return [np.asarray(array) for array in gestures.fit(X, y, names=NAMES, epochs=5, rng=seed).net]

    seeds = range(4)
    alone = [trained(seed) for seed in seeds]
    with ThreadPoolExecutor(len(seeds)) as pool:
        together = list(pool.map(trained, seeds))
    for one, other in zip(alone, together, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    assert not np.array_equal(alone[0][0], alone[1][0])


def test_a_file_without_names_is_refused(tmp_path):
    net = twolayer.TwoLayerNet.initialize(8, 4, 3, rng=0)
    twolayer.save(net, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="names of its gestures"):
        gestures.load(tmp_path / "other.safetensors")
