"""The NumPy function on the page docs/mathematics.md, compared with the library."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from support import ROOT

from twolayer import TwoLayerNet


@pytest.fixture
def function_on_page() -> Any:
    """Return the function that the page defines."""
    page = (ROOT / "docs" / "mathematics.md").read_text(encoding="utf-8")
    (block,) = re.findall(
        r"^```python\n([^`]*?^def loss_and_gradients\(.*?)^```$", page, re.MULTILINE | re.DOTALL
    )
    namespace: dict[str, Any] = {}
    exec(block, namespace)
    return namespace["loss_and_gradients"]


@pytest.mark.parametrize("scale", [1.0, 1000.0], ids=["moderate", "logits for which exp overflows"])
@pytest.mark.parametrize("reg", [0.0, 0.3])
@pytest.mark.parametrize("shape", [(1, 1, 1, 2), (20, 4, 10, 3), (7, 30, 2, 10)])
def test_the_numpy_function_has_the_loss_and_the_gradients_of_the_library(
    function_on_page: Any, shape: tuple[int, ...], reg: float, scale: float
) -> None:
    n_samples, n_features, n_hidden, n_classes = shape
    rng = np.random.default_rng(0)
    X, y = scale * rng.standard_normal((n_samples, n_features)), rng.integers(0, n_classes, n_samples)
    net = TwoLayerNet.initialize(n_features, n_hidden, n_classes, rng=1, dtype="float64")
    net = net._replace(b1=rng.standard_normal(n_hidden), b2=rng.standard_normal(n_classes))
    loss, gradients = function_on_page(*net, X, y, reg)
    expected_loss, expected = net.loss_and_gradients(X, y, reg=reg)
    assert loss == pytest.approx(float(expected_loss), rel=1e-12)
    for name, found in zip(net._fields, gradients, strict=True):
        np.testing.assert_allclose(found, getattr(expected, name), rtol=1e-9, atol=1e-12, err_msg=name)
