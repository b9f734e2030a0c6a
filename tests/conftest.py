"""Which array libraries the tests run on, and how hard Hypothesis tries."""

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

# scikit-learn dispatches to array libraries only where SciPy does, which asks for this when it is imported.
os.environ["SCIPY_ARRAY_API"] = "1"

# A user's level. Without it JAX takes pytest's INFO, and old versions write each such line on stderr.
logging.getLogger("jax").setLevel(logging.WARNING)

settings.register_profile(
    "local",
    deadline=None,  # the first call of a compiled function takes long
    max_examples=100,
    # The fixtures that stand beside drawn values name a library; they hold no state.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
# The same examples each time, so fewer of them.
settings.register_profile(
    "ci", parent=settings.get_profile("local"), max_examples=50, derandomize=True, print_blob=True
)
# For the many runs of a mutation test.
settings.register_profile("fewer", parent=settings.get_profile("ci"), max_examples=30)
# For a simulated device.
settings.register_profile("simulated", parent=settings.get_profile("ci"), max_examples=10)
# For JAX, which is slow at small operations, and for the oldest versions after the newest.
settings.register_profile("few", parent=settings.get_profile("ci"), max_examples=3)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backend",
        action="append",
        choices=CHOICES,
        help="array library to test on, once for each; numpy and strict without it",
    )
    parser.addoption(
        "--only-backends",
        action="store_true",
        help="leave out the tests that run on no array library but NumPy, whatever --backend says",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what does not concern a library: automatic differentiation in NumPy, say."""

    def concerns(item: pytest.Item) -> bool:
        if item.get_closest_marker("simulated") and not cuda_is_simulated():
            return False
        if config.getoption("--only-backends") and not {"backend", "libraries"} & set(item.fixturenames):
            return False
        backend = item.callspec.params["backend"] if "backend" in item.fixturenames else None
        once = item.get_closest_marker("once_on_jax") and not item.get_closest_marker("float32_on_jax")
        if backend is not None and backend.name == "jax-x32" and once:
            return False
        # Tests over the libraries that scikit-learn takes, where none of these was asked for.
        skips = item.iter_markers("skip")
        if any(skip.kwargs.get("reason", "").startswith("got empty parameter set") for skip in skips):
            return False
        marker = item.get_closest_marker("only_on")
        if marker is not None and {backend.library, backend.choice}.isdisjoint(marker.args):
            return False
        return not item.get_closest_marker("two_devices") or count_cuda_devices() > 1

    left_out = [item for item in items if not concerns(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if concerns(item)]


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
        "only_on(choices): what is tested is a habit of these choices of --backend, or libraries",
    )
    config.addinivalue_line(
        "markers", "once_on_jax: with float64 alone, as JAX compiles everything anew for float32"
    )
    config.addinivalue_line("markers", "simulated: run on the simulated CUDA device alone")
    config.addinivalue_line("markers", "two_devices: run only where there are two CUDA devices")
    config.addinivalue_line("markers", "float32_on_jax: with float32 too, though its file says once_on_jax")
    libraries = chosen_libraries(config)
    strategies.few_sizes_only = not {"jax", "jax-gpu", "jax-sharded"}.isdisjoint(libraries)
    if "jax-sharded" in libraries:
        force_devices()
    if strategies.few_sizes_only:
        share_what_jax_compiles(config)
    for backend in BACKENDS:
        if backend.choice in libraries:
            try:
                backend.check_available()
            except Exception as error:  # whatever the library raises: it was asked for and cannot run
                raise pytest.UsageError(f"--backend {backend.choice} cannot run: {error}") from error
    if "cupy" in libraries and cuda_is_simulated():
        # Without a pool each array is an allocation of its own, and the device finds every access past it.
        sys.modules["cupy"].cuda.set_allocator(None)
    if not config.getoption("--hypothesis-profile"):
        profile = "ci" if os.environ.get("CI") else "local"
        settings.load_profile("few" if strategies.few_sizes_only else profile)


def share_what_jax_compiles(config: pytest.Config) -> None:
    """Let one process of the tests read what another has compiled, from a folder that goes with them."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:  # the first process set it, or whoever runs the tests
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
    """Each array library that was asked for, on a device that is not its default where it has one."""
    with request.param.active():
        yield request.param


@pytest.fixture
def each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have callbacks called after each step with JAX, too, which else takes many in one call."""
    monkeypatch.setattr(execution, "BLOCK_STEPS", 1)


@pytest.fixture(autouse=True, scope="module")
def compiled_functions_do_not_pile_up() -> Iterator[None]:
    """What JAX has compiled for one file is of no use to the next, and takes gigabytes in the end."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()


@pytest.fixture
def libraries(request: pytest.FixtureRequest) -> list[str]:
    """Names of the array libraries that were asked for."""
    return chosen_libraries(request.config)
