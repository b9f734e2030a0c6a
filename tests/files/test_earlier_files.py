"""Loading files of an earlier version, and resuming the runs in them as that version would.

Commit 642b6b3 wrote data/642b6b3: runs of 18 steps of one network or a stack, each also as it was after 7
steps, and the best network of each run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.backends import Backend, to_host
from support.small_runs import assert_same_history, assert_same_net

import twolayer
from twolayer import optimizers
from twolayer.checkpoints import load_run

FILES = Path(__file__).parent / "data" / "642b6b3"
DATA = np.load(FILES / "data.npz")
RUNS: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": optimizers.SGD()},
    "nesterov-stack": {"dropout": 0.25, "label_smoothing": 0.1, "ema_decay": 0.9},
    "adamw": {"optimizer": optimizers.AdamW(), "sample_weight": DATA["sample_weight"]},
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_of_an_earlier_version_is_resumed(backend: Backend, name):
    if backend.dtype == "float32":
        with pytest.raises(TypeError, match="float64"):
            load_run(FILES / f"{name}-end.safetensors", backend.xp, backend.device)
        return
    expected, stopped = (
        load_run(FILES / f"{name}-{at}.safetensors", backend.xp, backend.device) for at in ("end", "step-7")
    )
    X, y = backend.array(DATA["X"]), backend.array(DATA["y"])
    settings = {"reg": 0.02, "batch_size": 8, "learning_rate": 0.05, "epochs": 6, **RUNS[name]}
    if "sample_weight" in settings:
        settings["sample_weight"] = backend.array(settings["sample_weight"])
    run = twolayer.train(stopped, X, y, validation=(X[:8, :], y[:8]), **settings)
    assert_same_history(run.history, expected.history, rtol=1e-9)
    assert (run.average is None) == (expected.average is None)
    found, wanted = ([one.last, one.best, one.average, *one._moments] for one in (run, expected))
    for net, other in zip(found, wanted, strict=True):
        if net is not None:
            assert_same_net(net, other, rtol=1e-9)


@pytest.mark.parametrize("name", RUNS)
def test_a_network_of_an_earlier_version_is_read(backend: Backend, name):
    if backend.dtype == "float32":
        return  # float64 is refused, as in the test above
    net = twolayer.load(FILES / f"{name}-net.safetensors", xp=backend.xp, device=backend.device)
    expected = load_run(FILES / f"{name}-end.safetensors").best
    for array, wanted in zip(net, expected, strict=True):
        np.testing.assert_array_equal(to_host(array), wanted)
