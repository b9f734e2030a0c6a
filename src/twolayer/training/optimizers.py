"""Optimizers: how a step follows the gradient. Plain data with pure functions, for networks and stacks.

`train` uses `move`, which checks nothing and may overwrite its arguments. `init` and `update` do the same
work for your own loop: they check their arguments and return new arrays.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from .._namespace import (
    Array,
    HostArray,
    array_namespace,
    copied,
    device,
    dtype_name,
    from_host,
    has_values,
    is_array_api_obj,
    leaf,
    to_host,
    undisturbed,
)
from .._validation import check_integer, check_network, check_number, check_same_place, per_network
from ..network import TwoLayerNet

Arrays: TypeAlias = tuple[Array, ...]  # W1, b1, W2, b2, in any shapes
Moments: TypeAlias = tuple[Arrays, ...]

IS_DECAYED = (True, False, True, False)  # W1 and W2, but never the biases


class OptimizerState(NamedTuple):
    """State of an optimizer between one update and the next.

    Parameters
    ----------
    step : int
        Number of updates done.
    moments : tuple of TwoLayerNet
        Running sums over the gradients, ``n_moments`` of the optimizer, each of the form of the network.
    """

    step: int
    moments: tuple[TwoLayerNet, ...]


class Optimizer(Protocol):
    """Protocol of an optimizer for `train`; your own class of this form is accepted.

    It should be hashable data: `train` caches compiled steps by it, and may use either of two equal instances
    of one class. `init` and `update` are not needed. A method ``check()`` is optional; it is called before
    training.
    """

    @property
    def n_moments(self) -> int:
        """Number of arrays that it keeps for each array of the network; all are 0 at the start."""

    @property
    def scaled(self) -> bool:
        """Whether a step is only W ← W - lr · dW, which `train` then does without `move`.

        False for all optimizers but plain gradient descent.
        """

    def coefficients(self, step: HostArray) -> HostArray:
        """Return the numbers (n, m) that the steps (n,) need and that depend only on the step.

        Parameters
        ----------
        step : host array (n,), int64
            Counted from 0.

        Returns
        -------
        host array (n, m), float64
            m may be 0.
        """

    def move(
        self,
        weights: Arrays,
        gradients: Arrays,
        moments: Moments,
        rates: Arrays,
        coefficients: Array,
        *,
        xp: ModuleType,
    ) -> tuple[Arrays, Moments]:
        """Return the weights and moments after one step.

        The code must be array-API code that does not read values, because JAX compiles it.

        Parameters
        ----------
        weights : tuple of 4 arrays
            W1, b1, W2, b2, in any shapes: for example, with an axis of K networks. Like the gradients and the
            moments they may be updated in place.
        gradients : tuple of 4 arrays
            Gradients of the loss, penalty included.
        moments : tuple of ``n_moments`` tuples of 4 arrays
        rates : tuple of 4 arrays
            Learning rates, which broadcast against the weights.
        coefficients : array (m,) or longer
            The coefficients of this step, in the weights' dtype. Other numbers may follow them.
        xp : module
            The array namespace.

        Returns
        -------
        weights : tuple of 4 arrays
        moments : tuple of ``n_moments`` tuples of 4 arrays
        """


class _WithUpdates(Optimizer):
    """An optimizer with `init` and `update` that moves each array of the network separately."""

    _n_coefficients = 0  # m; more entries of `coefficients` belong to the average of the weights

    def _corrections(self, t: Array, *, xp: ModuleType) -> Array:
        """Return the coefficients (..., m) of the updates ``t`` (...), counted from 1; SGD needs none."""
        return xp.expand_dims(t, axis=-1)[..., :0]

    @abstractmethod
    def _updated(self, W: Array, dW: Array, *others: Array, xp: ModuleType, decays: bool) -> Any:
        """Return one array of the network and its moments after a step.

        ``others`` are its moments, its learning rates and the step's coefficients, in this order. ``decays``
        is true for W1 and W2.
        """

    def coefficients(self, step: HostArray) -> HostArray:
        """Return the numbers (n, m) that depend only on the steps; see `Optimizer`."""
        return np.asarray(self._corrections(step + 1.0, xp=np))

    def move(
        self,
        weights: Arrays,
        gradients: Arrays,
        moments: Moments,
        rates: Arrays,
        coefficients: Array,
        *,
        xp: ModuleType,
    ) -> tuple[Arrays, Moments]:
        """Return the weights and the moments after one step; see `Optimizer`."""
        numbers = [coefficients[i] for i in range(self._n_coefficients)]
        each = zip(weights, gradients, *moments, rates, IS_DECAYED, strict=True)
        moved = [self._updated(*arrays, *numbers, decays=decays, xp=xp) for *arrays, decays in each]
        after, *moments_after = zip(*moved, strict=True)
        return after, tuple(moments_after)

    def init(self, net: TwoLayerNet) -> OptimizerState:
        """Return the state before the first update.

        Parameters
        ----------
        net : TwoLayerNet
            The network, or stack, to update.

        Returns
        -------
        OptimizerState
            0 updates done, and ``n_moments`` moments of 0, on the device of the network.

        Raises
        ------
        TypeError, ValueError
            If ``net`` is not a valid network.
        """
        xp = check_network(net)
        zeros = (
            TwoLayerNet(*(xp.zeros(array.shape, dtype=array.dtype, device=device(array)) for array in net))
            for _ in range(self.n_moments)
        )
        return OptimizerState(0, tuple(zeros))

    @undisturbed
    def update(
        self, net: TwoLayerNet, gradients: TwoLayerNet, state: OptimizerState, *, learning_rate: Any
    ) -> tuple[TwoLayerNet, OptimizerState]:
        """Return the network and the state after one step against the gradients, as new arrays.

        It also works under `jax.jit`, where the learning rate and ``state.step`` may be traced.

        Parameters
        ----------
        net : TwoLayerNet
            The network, or stack.
        gradients : TwoLayerNet
            Gradients of the loss to minimise, as `TwoLayerNet.loss_and_gradients` returns them.
        state : OptimizerState
            The state from `init` or from the previous update.
        learning_rate : float, or (K,) for a stack
            At least 0.

        Returns
        -------
        net : TwoLayerNet
        state : OptimizerState

        Raises
        ------
        TypeError
            If a dtype or the type of an argument is wrong, or arrays belong to several libraries.
        ValueError
            If shapes do not fit, a number is out of range or not finite, or arrays are on several devices.
        """
        xp = check_network(net)
        _check_like("gradients", gradients, net)
        step = _check_state(self, state, net)
        rates = per_network("learning_rate", learning_rate, net, xp=xp)
        of_biases = rates if net.n_networks is None else rates[:, None]
        of_weights = of_biases[..., None]
        weights, moments = self.move(
            _copies(net, xp=xp),
            _copies(gradients, xp=xp),
            tuple(_copies(moment, xp=xp) for moment in state.moments),
            (of_weights, of_biases, of_weights, of_biases),
            self._coefficients_beside(net, step, xp=xp),
            xp=xp,
        )
        return TwoLayerNet(*weights), OptimizerState(step + 1, tuple(TwoLayerNet(*m) for m in moments))

    def _coefficients_beside(self, net: TwoLayerNet, step: Any, *, xp: ModuleType) -> Array:
        """Return the coefficients (m,) of one step, as an array on the device of the network."""
        dtype = net.W1.dtype
        # A known step is computed on the host in float64, as in `train`; a traced one in the network's dtype.
        if isinstance(step, int):
            host = self.coefficients(np.asarray([step]))[0, :]
            return from_host(host.astype(dtype_name(dtype)), xp=xp, device=device(net.W1))
        return self._corrections(xp.astype(step, dtype) + 1.0, xp=xp)


@dataclass(frozen=True, slots=True)
class SGD(_WithUpdates):
    """Gradient descent, optionally with momentum [1]_ or Nesterov momentum [2]_, as in PyTorch.

    ::

        v ← momentum · v + dW           from v = 0
        W ← W - lr · v                  or, with nesterov,  W ← W - lr · (dW + momentum · v)

    The learning rate multiplies the whole velocity v. If it changes during a run, the result differs from the
    papers' form v ← momentum · v - lr · dW, in which each gradient keeps the rate of its own step.

    Parameters
    ----------
    momentum : float
        In [0, 1); for example 0.9.
    nesterov : bool
        Whether to use Nesterov momentum, which needs ``momentum`` above 0. The gradient then counts as if it
        were taken one step ahead.

    References
    ----------
    .. [1] B. T. Polyak: Some methods of speeding up the convergence of iteration methods, USSR Computational
       Mathematics and Mathematical Physics 4(5), 1964. https://doi.org/10.1016/0041-5553(64)90137-5
    .. [2] I. Sutskever, J. Martens, G. Dahl, G. Hinton: On the importance of initialization and momentum in
       deep learning, ICML 2013. https://proceedings.mlr.press/v28/sutskever13.html

    Examples
    --------
    >>> import numpy as np
    >>> from twolayer import TwoLayerNet
    >>> from twolayer.training.optimizers import SGD
    >>> X, y = np.eye(3, dtype=np.float32), np.arange(3)
    >>> net = TwoLayerNet.initialize(3, 10, 3, rng=0)
    >>> optimizer = SGD(momentum=0.9)
    >>> state = optimizer.init(net)
    >>> for _ in range(100):
    ...     loss, gradients = net.loss_and_gradients(X, y)
    ...     net, state = optimizer.update(net, gradients, state, learning_rate=0.1)
    >>> state.step, net.predict(X).tolist()
    (100, [0, 1, 2])
    """

    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        momentum = check_number("momentum", self.momentum, least=0.0, below=1.0)
        if not isinstance(self.nesterov, bool | np.bool_):
            raise TypeError(f"`nesterov` must be True or False; got {type(self.nesterov).__name__}")
        if self.nesterov and momentum == 0.0:
            raise ValueError("`momentum` must be above 0 with `nesterov`; got 0")

    @property
    def n_moments(self) -> int:
        """1, the velocity; 0 without momentum."""
        return int(self.momentum != 0)

    @property
    def scaled(self) -> bool:
        """Whether there is no momentum."""
        return not self.momentum

    def _updated(self, W: Array, dW: Array, *others: Array, xp: ModuleType, decays: bool) -> Any:
        if self.n_moments == 0:
            return (_sgd(W, dW, *others, xp=xp),)
        momentum, nesterov = float(self.momentum), bool(self.nesterov)
        return _sgd_with_momentum(W, dW, *others, momentum=momentum, nesterov=nesterov, xp=xp)


@dataclass(frozen=True, slots=True)
class Adam(_WithUpdates):
    """Adam [1]_: a step size for each weight, from running averages of its gradient and of its square.

    ::

        m ← beta1 · m + (1 - beta1) · dW        v ← beta2 · v + (1 - beta2) · dW²        from m = v = 0
        W ← W - lr · m / (1 - beta1^t) / (√(v / (1 - beta2^t)) + eps)       t = 1, 2, … being the update

    This is PyTorch's ``Adam``. An L2 penalty of the loss is part of the gradient, and so of m and v; `AdamW`
    decays weights separately from the gradient. The moments of the state are m / (1 - beta1) and
    v / (1 - beta2), which takes a little less work.

    Parameters
    ----------
    beta1, beta2 : float
        Decay of the averages of dW and dW² in each update; in [0, 1).
    eps : float
        Above 0; it is added to the denominator.

    References
    ----------
    .. [1] D. P. Kingma, J. Ba: Adam: A Method for Stochastic Optimization, ICLR 2015.
       https://arxiv.org/abs/1412.6980

    Examples
    --------
    >>> import numpy as np
    >>> from twolayer import TwoLayerNet
    >>> from twolayer.training.optimizers import Adam
    >>> X, y = np.eye(3, dtype=np.float32), np.arange(3)
    >>> net = TwoLayerNet.initialize(3, 10, 3, rng=0)
    >>> optimizer = Adam()
    >>> state = optimizer.init(net)
    >>> for _ in range(100):
    ...     loss, gradients = net.loss_and_gradients(X, y)
    ...     net, state = optimizer.update(net, gradients, state, learning_rate=0.01)
    >>> state.step, net.predict(X).tolist()
    (100, [0, 1, 2])
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay = 0.0  # a setting of `AdamW` alone
    n_moments = 2
    scaled = False
    _n_coefficients = 2

    def __post_init__(self) -> None:
        check_number("beta1", self.beta1, least=0.0, below=1.0)
        check_number("beta2", self.beta2, least=0.0, below=1.0)
        check_number("eps", self.eps, above=0.0)
        check_number("weight_decay", self.weight_decay, least=0.0)

    def _corrections(self, t: Array, *, xp: ModuleType) -> Array:
        """Return c₁ and eps · c₂ (..., 2) of the updates ``t`` (...), counted from 1, in a floating dtype.

        ::

            M ← beta1 · M + dW        V ← beta2 · V + dW²        m = (1 - beta1) M        v = (1 - beta2) V
            c₂ = √(1 - beta2^t) / √(1 - beta2)                   c₁ = c₂ (1 - beta1) / (1 - beta1^t)

        With numerator and denominator of Adam's fraction multiplied by c₂, the step is
        lr · c₁ · M / (√V + eps · c₂). So the factors that depend on t cost no pass over the weights.
        """
        beta1, beta2 = float(self.beta1), float(self.beta2)
        # 1 - beta^t = -expm1(t · log(beta)), which keeps its digits in float32 where beta^t is near 1.
        rest1, rest2 = (-xp.expm1(t * (math.log(beta) if beta > 0 else -math.inf)) for beta in (beta1, beta2))
        c2 = xp.sqrt(rest2 / (1.0 - beta2))
        return xp.stack([c2 * (1.0 - beta1) / rest1, float(self.eps) * c2], axis=-1)

    def _updated(self, W: Array, dW: Array, *others: Array, xp: ModuleType, decays: bool) -> Any:
        beta1, beta2 = float(self.beta1), float(self.beta2)
        decay = float(self.weight_decay) if decays else 0.0
        return _adam(W, dW, *others, beta1=beta1, beta2=beta2, decay=decay, xp=xp)


@dataclass(frozen=True, slots=True)
class AdamW(Adam):
    """Adam with decoupled weight decay [1]_: W1 and W2 also shrink independently of the gradient.

    ::

        W ← (1 - lr · weight_decay) W       W1 and W2 only, before the step of `Adam`

    This is PyTorch's ``AdamW``, with the biases, which do not decay, in a parameter group whose
    ``weight_decay`` is 0. The decay replaces the penalty of the loss: leave ``reg`` at 0, or both apply.

    Parameters
    ----------
    beta1, beta2, eps : float
        As for `Adam`.
    weight_decay : float
        At least 0.

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter: Decoupled Weight Decay Regularization, ICLR 2019 (where the decay is
       multiplied by the schedule but not by the learning rate). https://arxiv.org/abs/1711.05101

    Examples
    --------
    >>> import numpy as np
    >>> from twolayer import TwoLayerNet
    >>> from twolayer.training.optimizers import AdamW
    >>> net = TwoLayerNet.initialize(3, 10, 3, rng=0)
    >>> none = TwoLayerNet(*(np.zeros_like(array) for array in net))
    >>> optimizer = AdamW(weight_decay=0.5)
    >>> smaller, _ = optimizer.update(net, none, optimizer.init(net), learning_rate=0.1)
    >>> np.allclose(smaller.W1, 0.95 * net.W1)
    True
    """

    weight_decay: float = 0.01


# ---------------------------------------------------------------------------------------------------------
# The steps of one array. They may write to their arguments, and CuPy runs each as one kernel: see `leaf`.


@leaf
def _sgd(W: Array, dW: Array, rate: Array, *, xp: ModuleType) -> Array:
    dW *= rate
    W -= dW
    return W


@leaf
def _sgd_with_momentum(
    W: Array, dW: Array, v: Array, rate: Array, *, momentum: float, nesterov: bool, xp: ModuleType
) -> tuple[Array, Array]:
    v *= momentum
    v += dW
    if nesterov:
        dW += momentum * v  # dW is not needed again, so it holds the update
        dW *= rate
        W -= dW
    else:
        W -= rate * v
    return W, v


@leaf
def _adam(
    W: Array,
    dW: Array,
    M: Array,
    V: Array,
    rate: Array,
    c1: Array,
    c2_eps: Array,
    *,
    beta1: float,
    beta2: float,
    decay: float,
    xp: ModuleType,
) -> tuple[Array, Array, Array]:
    """One step; ``c1`` and ``c2_eps`` are c₁ and eps · c₂ of `Adam._corrections`."""
    M *= beta1
    M += dW
    dW *= dW  # in place: from here on dW holds its square
    V *= beta2
    V += dW
    root = xp.sqrt(V)
    root += c2_eps
    towards = M / root
    towards *= rate * c1
    if decay > 0:
        W *= 1.0 - decay * rate
    W -= towards
    return W, M, V


def _copies(net: TwoLayerNet, *, xp: ModuleType) -> Arrays:
    return tuple(copied(array, xp=xp) for array in net)


def _check_state(optimizer: Optimizer, state: Any, net: TwoLayerNet) -> Any:
    """Raise unless ``state`` fits the optimizer and the network; return its number of updates.

    The number is an int, or under `jax.jit` a tracer.
    """
    if getattr(state, "_fields", None) != OptimizerState._fields:
        raise TypeError(f"`state` must be an OptimizerState; got {type(state).__name__}")
    step, moments = state
    if not isinstance(moments, tuple):
        raise TypeError(f"`state.moments` must be a tuple; got {type(moments).__name__}")
    if len(moments) != optimizer.n_moments:
        raise ValueError(
            f"`state.moments` must be the {optimizer.n_moments} of {optimizer!r}; got {len(moments)}"
        )
    for i, moment in enumerate(moments):
        _check_like(f"state.moments[{i}]", moment, net)
    if is_array_api_obj(step) and tuple(step.shape) == ():
        if has_values(step):
            step = to_host(step).item()
        elif array_namespace(step).isdtype(step.dtype, "integral"):
            return step
    return check_integer("state.step", step, least=0)


def _check_like(name: str, other: Any, net: TwoLayerNet) -> None:
    """Raise unless ``other`` holds arrays of the shapes, dtype and device of those of ``net``."""
    if getattr(other, "_fields", None) != TwoLayerNet._fields:
        raise TypeError(f"`{name}` must be a TwoLayerNet; got {type(other).__name__}")
    for field, array, like in zip(TwoLayerNet._fields, other, net, strict=True):
        check_same_place(f"{name}.{field}", array, field, like)
        if array.dtype != like.dtype:
            raise TypeError(
                f"`{name}.{field}` must have the dtype of `{field}`, {dtype_name(like.dtype)}; "
                f"got {dtype_name(array.dtype)}"
            )
        if tuple(array.shape) != tuple(like.shape):
            raise ValueError(
                f"`{name}.{field}` must have the shape of `{field}`, {tuple(like.shape)}; "
                f"got {tuple(array.shape)}"
            )
