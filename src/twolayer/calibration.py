"""Calibration of a network's probabilities by temperature scaling."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ._namespace import (
    Array,
    HostArray,
    array_namespace,
    device,
    dtype_name,
    from_host,
    standard_namespace,
    to_host,
    undisturbed,
)
from ._validation import (
    check_features,
    check_finite,
    check_network,
    check_predictions,
    check_sample_weight,
    check_targets,
    row_blocks,
    warn_outside,
)
from .mathematics import cross_entropy, shares, softmax_parts, targets
from .network import TwoLayerNet, as_targets, rescaled

LEAST, MOST = 0.05, 20.0  # bounds of the temperature
_HALVINGS = 60  # enough for the two bounds to become neighbours in float64


class Calibration(NamedTuple):
    """The temperature of a network, and its mean cross-entropy before and after calibration."""

    temperature: float
    loss_before: float
    loss_after: float


@undisturbed
def calibrate(net: TwoLayerNet, X: Array, y: Array, *, sample_weight: Array | None = None) -> TwoLayerNet:
    """Return the network with its probabilities calibrated on samples by temperature scaling [1]_.

    Its probabilities are softmax(logits / T), where T minimises the mean cross-entropy

        Σ_i s_i · −log softmax(logits_i / T)[y_i] / Σ_i s_i

    over [0.05, 20]. The logits are linear in W2 and b2, so W2 and b2 are divided by T, and the result is an
    ordinary network. The ranking of the classes does not change, so predicted labels and accuracy stay the
    same. T > 1 makes a network less confident; most networks that were trained for long need this.

    If every predicted label is right, the loss has no minimum: a lower T always lowers it. If the loss is
    lowest at T = 0.05 or below, the network is returned unchanged, with a warning.

    Use samples that the network was not trained on, such as the validation samples. The network must accept
    raw samples: merge networks and fold preprocessing first.

    Parameters
    ----------
    net : TwoLayerNet
        A network or a stack. The networks of a stack are calibrated separately.
    X : array (N, D) or (N, ...)
        Samples, of any real dtype.
    y : integer array (N,) or floating array (N, C)
        Class labels, or class probabilities.
    sample_weight : array (N,), optional
        Weight s of each sample in the mean, at least 0. The scale of the weights does not matter.

    Returns
    -------
    TwoLayerNet
        W1 and b1 are the arrays of ``net``. T is computed on the host, in float64.

    Raises
    ------
    TypeError, ValueError
        As for `TwoLayerNet.loss`. ValueError also if a value in the network or a logit is not finite.

    Warns
    -----
    UserWarning
        If the loss is lowest at T = 0.05 or below.

    References
    ----------
    .. [1] C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger: On Calibration of Modern Neural Networks, ICML 2017.
       https://proceedings.mlr.press/v70/guo17a.html

    Examples
    --------
    >>> import numpy as np
    >>> import twolayer
    >>> net = twolayer.TwoLayerNet(np.eye(2), np.zeros(2), 10 * np.eye(2), np.zeros(2))
    >>> X, y = np.asarray([[1.0, 0], [1, 0], [1, 0], [0, 1]]), np.asarray([0, 0, 1, 1])  # one wrong label
    >>> net.predict_proba(X)[0].round(3)
    array([1., 0.])
    >>> twolayer.calibrate(net, X, y).predict_proba(X)[0].round(3)
    array([0.75, 0.25])
    """
    return calibrated(net, X, y, sample_weight)[0]


def calibrated(
    net: TwoLayerNet, X: Array, y: Array, sample_weight: Array | None
) -> tuple[TwoLayerNet, list[Calibration]]:
    """Return the calibrated network, and the calibration of each network of a stack."""
    xp, host = check_network(net), standard_namespace(np)
    for name, array in net._asdict().items():
        check_finite(array, name=name)
    check_features(X, net.n_features, net.W1)
    check_targets(y, X, net.n_classes)
    check_sample_weight(sample_weight, X)
    weights = np.ones(X.shape[0])
    if sample_weight is not None:
        weights = to_host(rescaled(sample_weight, xp=array_namespace(sample_weight))).astype(np.float64)
    labels = as_targets(to_host(y), np.float64, xp=host)
    T, sums = targets(labels, net.n_classes, dtype=np.float64, xp=host)
    share = shares(weights, xp=host)
    nets = [net] if net.n_networks is None else [net.select(k) for k in range(net.n_networks)]
    found = [_calibration(_logits(one, X), T, sums, share) for one in nets]
    factors = np.asarray([1 / one.temperature for one in found]).astype(dtype_name(net.W1.dtype))
    factor = from_host(factors, xp=xp, device=device(net.W1))
    W2, b2 = (array * xp.reshape(factor, (-1, *(1,) * (array.ndim - 1))) for array in (net.W2, net.b2))
    return net._replace(W2=W2, b2=b2), found


def _logits(net: TwoLayerNet, X: Array) -> HostArray:
    """Return the logits of one network on the host in float64, in the layout of `mathematics`: (1, C, N)."""
    rows_of_blocks = row_blocks(X.shape[0], max(math.prod(X.shape[1:]), net.n_hidden))
    blocks = [to_host(net.logits(X[rows, ...])) for rows in rows_of_blocks]
    logits = np.concatenate(blocks).astype(np.float64)
    check_predictions(np.where(np.isfinite(logits), logits, np.nan))
    return logits.T[None, :, :]


def _calibration(logits: HostArray, T: HostArray, sums: HostArray | None, share: HostArray) -> Calibration:
    """Return the calibration of one network, given its logits (1, C, N), its targets and shares (N,)."""
    host = standard_namespace(np)
    mass = 1.0 if sums is None else sums
    # With p the probabilities, Σ p · centred · mass equals Σ (p · mass - T) · logits, the derivative. Unlike
    # the latter, it keeps its sign where a probability rounds to 1.
    centred = logits - np.sum(T * logits, axis=1, keepdims=True) / mass

    def loss(inverse: float) -> float:
        Z, _, total = softmax_parts(inverse * logits, xp=host)
        return float(np.sum(cross_entropy(Z, total, T, sums, xp=host) * share))

    def slope(inverse: float) -> float:
        """Return the derivative of the loss, which is convex in 1 / T."""
        _, exp_Z, total = softmax_parts(inverse * logits, xp=host)
        return float(np.sum(exp_Z / total * centred * mass * share))

    before, low, high = loss(1.0), 1 / MOST, 1 / LEAST
    if slope(high) <= 0:
        warn_outside(
            f"the samples do not determine a temperature: the loss is lowest at T = {LEAST} or below, for "
            "example because every predicted label is right. The network is unchanged; use more samples"
        )
        return Calibration(1.0, before, before)
    for _ in range(_HALVINGS):  # bisection of the slope's sign, on a logarithmic scale
        middle = math.sqrt(low * high)
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    after = loss(high)
    # The loss rises by rounding if T = 1 is the best, and is nan for logits near the largest number.
    if not after < before:
        return Calibration(1.0, before, before)
    return Calibration(1 / high, before, after)
