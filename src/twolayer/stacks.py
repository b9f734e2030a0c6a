"""Many networks as one: stacking them, and merging a stack into one wider network."""

from __future__ import annotations

from collections.abc import Iterable

from ._checks import check_network, check_same_place
from .network import TwoLayerNet


def stack(nets: Iterable[TwoLayerNet]) -> TwoLayerNet:
    """Return networks of one shape as a stack, with a leading axis K on each array.

    Parameters
    ----------
    nets : iterable of TwoLayerNet
        Single networks of one shape, dtype, library and device.

    Returns
    -------
    TwoLayerNet
        W1 (K, D, H), b1 (K, H), W2 (K, H, C), b2 (K, C); a copy.

    Raises
    ------
    ValueError
        If there is no network, one is a stack already, or shapes or devices differ.
    TypeError
        If libraries or dtypes differ.
    """
    nets = list(nets)
    if not nets:
        raise ValueError("`nets` must hold at least one network; got none")
    first = nets[0]
    xp = check_network(first)
    for i, net in enumerate(nets):
        check_network(net)
        if net.n_networks is not None:
            raise ValueError(f"`nets` must be single networks; got a stack of {net.n_networks} at {i}")
        check_same_place(f"nets[{i}]", net.W1, "nets[0]", first.W1)
        shapes = [tuple(array.shape) for array in net]
        if shapes != [tuple(array.shape) for array in first]:
            wanted = (first.n_features, first.n_hidden, first.n_classes)
            raise ValueError(
                f"`nets` must have one shape (D, H, C), here {wanted}; "
                f"got {(net.n_features, net.n_hidden, net.n_classes)} at {i}"
            )
        if net.W1.dtype != first.W1.dtype:
            raise TypeError(f"`nets` must have one dtype, here {first.W1.dtype}; got {net.W1.dtype} at {i}")
    return TwoLayerNet(*(xp.stack([net[i] for net in nets]) for i in range(4)))


def merge(nets: TwoLayerNet) -> TwoLayerNet:
    """Return the one network whose logits are the mean of the logits of a stack's networks.

    The hidden units of the K networks lie side by side, and each network's W2 counts one K-th:
    mean_k (H1_k W2_k + b2_k) = [H1_1 … H1_K] [W2_1; …; W2_K] / K + mean_k b2_k. It is exact up to rounding.

    Parameters
    ----------
    nets : TwoLayerNet
        A stack.

    Returns
    -------
    TwoLayerNet
        W1 (D, K·H), b1 (K·H,), W2 (K·H, C), b2 (C,); a copy.

    Raises
    ------
    ValueError
        If ``nets`` is no stack.
    """
    xp = check_network(nets)
    if nets.n_networks is None:
        raise ValueError("`nets` must be a stack of networks; got one network")
    n_networks, n_features, n_hidden = nets.W1.shape
    width = n_networks * n_hidden
    return TwoLayerNet(
        W1=xp.reshape(xp.permute_dims(nets.W1, (1, 0, 2)), (n_features, width), copy=True),
        b1=xp.reshape(nets.b1, (width,), copy=True),
        W2=xp.reshape(nets.W2, (width, nets.n_classes)) / n_networks,
        b2=xp.mean(nets.b2, axis=0),
    )
