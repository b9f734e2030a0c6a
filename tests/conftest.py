"""Options, markers and fixtures of all tests: their array libraries, and profiles of Hypothesis."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from support import strategies
from support.backends import BACKENDS, CHOICES, Backend, chosen_libraries, force_devices

from twolayer.training import execution

# scikit-learn dispatches to array libraries only if SciPy does, which reads this variable on import.
os.environ["SCIPY_ARRAY_API"] = "1"

# The default level. Otherwise JAX inherits pytest's INFO, and old versions of JAX write INFO lines to stderr.
logging.getLogger("jax").setLevel(logging.WARNING)

settings.register_profile(
    "local",
    deadline=None,  # the first call of a compiled function is slow
    max_examples=100,
    # Fixtures of tests with drawn values only name a library, and have no state to reset.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
# The examples are the same each time, so fewer are enough.
settings.register_profile(
    "ci", parent=settings.get_profile("local"), max_examples=50, derandomize=True, print_blob=True
)
# For the many runs of a mutation test.
settings.register_profile("fewer", parent=settings.get_profile("ci"), max_examples=30)
# For a simulated device.
settings.register_profile("simulated", parent=settings.get_profile("ci"), max_examples=10)
# For JAX, which is slow for small operations, and for the oldest versions; the newest are tested fully.
settings.register_profile("few", parent=settings.get_profile("ci"), max_examples=3)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backend",
        action="append",
        choices=CHOICES,
        help="array library to test on, may be repeated; by default numpy and strict",
    )
    parser.addoption(
        "--only-backends",
        action="store_true",
        help="leave out tests that run on NumPy only, whatever --backend is",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests that do not apply, for example tests of automatic differentiation on NumPy."""

    def applies(item: pytest.Item) -> bool:
        if item.get_closest_marker("simulated") and not cuda_is_simulated():
            return False
        if config.getoption("--only-backends") and not {"backend", "libraries"} & set(item.fixturenames):
            return False
        backend = item.callspec.params["backend"] if "backend" in item.fixturenames else None
        once = item.get_closest_marker("once_on_jax") and not item.get_closest_marker("float32_on_jax")
        if backend is not None and backend.name == "jax-x32" and once:
            return False
        # Pytest skips a test without parameters; scikit-learn supports no chosen library here.
        skips = item.iter_markers("skip")
        if any(skip.kwargs.get("reason", "").startswith("got empty parameter set") for skip in skips):
            return False
        marker = item.get_closest_marker("only_on")
        if marker is not None and {backend.library, backend.choice}.isdisjoint(marker.args):
            return False
        return not item.get_closest_marker("two_devices") or count_cuda_devices() > 1

    left_out = [item for item in items if not applies(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if applies(item)]


def cuda_is_simulated() -> bool:
    """Return whether the device of tests/simulated_cuda is preloaded."""
    return sys.platform == "linux" and hasattr(ctypes.CDLL(None), "simulated_launches")


def count_cuda_devices() -> int:
    return int(sys.modules["cupy"].cuda.runtime.getDeviceCount())


def pytest_report_header() -> list[str]:
    return ["CuPy runs on a simulated CUDA device"] if cuda_is_simulated() else []


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "only_on(choices): run only with these libraries, or choices of --backend",
    )
    config.addinivalue_line(
        "markers", "once_on_jax: run JAX only with float64, as it compiles everything again for float32"
    )
    config.addinivalue_line("markers", "simulated: run only on the simulated CUDA device")
    config.addinivalue_line("markers", "two_devices: run only with two CUDA devices")
    config.addinivalue_line(
        "markers", "float32_on_jax: run JAX with float32 too, although the file is marked once_on_jax"
    )
    libraries = chosen_libraries(config)
    strategies.few_sizes_only = not {"jax", "jax-gpu", "jax-sharded"}.isdisjoint(libraries)
    if "jax-sharded" in libraries:
        force_devices()
    if strategies.few_sizes_only:
        share_jax_compilations(config)
    for backend in BACKENDS:
        if backend.choice in libraries:
            try:
                backend.check_available()
            except Exception as error:  # of any type: the library cannot run here
                raise pytest.UsageError(f"--backend {backend.choice} cannot run: {error}") from error
    if "cupy" in libraries and cuda_is_simulated():
        # Without a pool each array is an allocation of its own, and the device detects accesses beyond it.
        sys.modules["cupy"].cuda.set_allocator(None)
    if not config.getoption("--hypothesis-profile"):
        profile = "ci" if os.environ.get("CI") else "local"
        settings.load_profile("few" if strategies.few_sizes_only else profile)


def share_jax_compilations(config: pytest.Config) -> None:
    """Share JAX's compiled functions between processes, in a folder that is removed after the tests."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:  # set by the first process, or by the user
        return
    folder = tempfile.TemporaryDirectory(prefix="compiled", ignore_cleanup_errors=True)
    config.add_cleanup(folder.cleanup)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        libraries = chosen_libraries(metafunc.config)
        chosen = [backend for backend in BACKENDS if backend.choice in libraries]
        metafunc.parametrize("backend", chosen, ids=[b.name for b in chosen], indirect=True)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Each chosen array library, on the device of its backend."""
    with request.param.active():
        yield request.param


@pytest.fixture
def each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call callbacks after each step on JAX too, which otherwise runs many steps in one call."""
    monkeypatch.setattr(execution, "BLOCK_STEPS", 1)


@pytest.fixture(autouse=True, scope="module")
def clear_jax_caches() -> Iterator[None]:
    """Clear JAX's caches after each file: they would not help the next file, and would take gigabytes."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()


@pytest.fixture
def libraries(request: pytest.FixtureRequest) -> list[str]:
    """The names of the chosen array libraries."""
    return chosen_libraries(request.config)
