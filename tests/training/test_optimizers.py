"""Optimizers compared with a slow oracle and PyTorch's, on networks and stacks, and their errors."""

# ruff: noqa: E501  # messages stand in their tables on one line

from __future__ import annotations

import re
import sys
from dataclasses import asdict, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.backends import Backend, to_host
from support.oracles import SlowOptimizer, networks
from support.small_runs import assert_same_net, host_net, make_task, tries
from support.strategies import floats, sizes

from twolayer import TwoLayerNet
from twolayer._namespace import copied
from twolayer.mathematics import Params
from twolayer.network import pack, unpack
from twolayer.training.optimizers import SGD, Adam, AdamW, OptimizerState

pytestmark = pytest.mark.once_on_jax

OPTIMIZERS = (
    SGD(),
    SGD(0.9),
    SGD(0.7, nesterov=True),
    SGD(1e-300),
    Adam(),
    Adam(0.5, 0.9, 1e-3),
    Adam(0.0, 0.0),
    AdamW(),
    AdamW(0.8, 0.99, 1e-6, 0.5),
    AdamW(weight_decay=0.0),
)
EACH = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
STACKED = pytest.mark.parametrize("n_networks", [None, 3], ids=["one", "stack"])


def there(backend: Backend, net: TwoLayerNet, dtype: str | None = None) -> TwoLayerNet:
    return TwoLayerNet(*(backend.array(array, dtype) for array in net))


def random_nets(n: int, like: TwoLayerNet, seed: int = 0) -> list[TwoLayerNet]:
    rng = np.random.default_rng(seed)
    return [TwoLayerNet(*(rng.standard_normal(array.shape) for array in like)) for _ in range(n)]


def rates_of(n_steps: int, n_networks: int | None) -> Any:
    """Learning rates (steps,) or (steps, K), which differ between steps and between networks."""
    each = 0.1 * 0.97 ** np.arange(n_steps)
    return each if n_networks is None else each[:, None] * np.linspace(0.5, 2.0, n_networks)


def updated(backend: Backend, optimizer: Any, start: TwoLayerNet, gradients: Any, rates: Any) -> Any:
    """Update a host network on the backend by host gradients; return it and its state."""
    net = there(backend, start)
    state = optimizer.init(net)
    for g, rate in zip(gradients, rates, strict=True):
        net, state = optimizer.update(net, there(backend, g), state, learning_rate=rate)
    return net, state


def close(backend: Backend) -> float:
    """The relative tolerance for the rounding of a few operations."""
    return 64 * float(np.finfo(backend.dtype).eps)


# ------------------------------------------------------------------------------------------------ updates


@EACH
@STACKED
def test_updates_follow_the_textbook(backend: Backend, optimizer, n_networks):
    n_steps = 12 if backend.library == "jax" else 30
    start = make_task(n_networks).net
    gradients, rates = random_nets(n_steps, start), rates_of(n_steps, n_networks)
    net, state = updated(backend, optimizer, start, gradients, rates)
    assert state.step == n_steps
    for k, member in enumerate(networks(start)):
        slow = SlowOptimizer(optimizer, member)
        for g, rate in zip(gradients, rates, strict=True):
            slow.move(networks(g)[k], np.atleast_1d(rate)[k])
        assert_same_net(networks(host_net(net))[k], TwoLayerNet(*slow.arrays), rtol=backend.rtol)


def torch_optimizer(optimizer: Any, weights: list[Any], biases: list[Any], weight_decay: float) -> Any:
    optim = sys.modules["torch"].optim
    groups = [{"params": weights, "weight_decay": weight_decay}, {"params": biases, "weight_decay": 0.0}]
    if isinstance(optimizer, SGD):
        return optim.SGD(groups, lr=1.0, momentum=optimizer.momentum, nesterov=optimizer.nesterov)
    kind = optim.AdamW if isinstance(optimizer, AdamW) else optim.Adam
    return kind(groups, lr=1.0, betas=(optimizer.beta1, optimizer.beta2), eps=optimizer.eps)


@pytest.mark.only_on("torch")
@STACKED
@EACH
def test_training_equals_that_with_pytorchs_optimizer(backend: Backend, optimizer, n_networks):
    """The penalty is PyTorch's `weight_decay` of 2 · reg, or for AdamW a part of the loss."""
    torch, n_steps, reg = sys.modules["torch"], 120, 0.03
    task = make_task(n_networks).on(backend)
    rates = rates_of(n_steps, n_networks) * (0.2 if isinstance(optimizer, SGD) else 0.5)
    net, state = task.net, optimizer.init(task.net)
    path = []
    for rate in rates:
        _, gradients = net.loss_and_gradients(task.X, task.y, reg=reg)
        net, state = optimizer.update(net, gradients, state, learning_rate=rate)
        path.append(net)
    for k in range(n_networks or 1):
        W1, b1, W2, b2 = ((a if n_networks is None else a[k]).clone().requires_grad_() for a in task.net)
        decoupled = isinstance(optimizer, AdamW)
        own = torch_optimizer(optimizer, [W1, W2], [b1, b2], optimizer.weight_decay if decoupled else 2 * reg)
        for step in range(n_steps):
            for group in own.param_groups:
                group["lr"] = float(rates[step] if n_networks is None else rates[step, k])
            own.zero_grad()
            logits = torch.relu(task.X @ W1 + b1) @ W2 + b2
            loss = torch.nn.functional.cross_entropy(logits, task.y)
            if decoupled:
                loss = loss + reg * ((W1**2).sum() + (W2**2).sum())
            loss.backward()
            own.step()
            if step in (0, 1, 40, n_steps - 1):
                found = path[step] if n_networks is None else path[step].select(k)
                assert_same_net(found, TwoLayerNet(W1, b1, W2, b2), rtol=1e-9)
        assert not torch.allclose(W1, task.net.W1 if n_networks is None else task.net.W1[k], atol=0.05)


def test_gradient_descent_without_scaling_makes_the_same_steps():
    """A subclass may turn `scaled` off, as benchmarks/forms.py does."""

    class Unscaled(SGD):
        @property
        def scaled(self) -> bool:
            return False

    net = make_task().net
    (g,) = random_nets(1, net)
    found, expected = (kind().update(net, g, kind().init(net), learning_rate=0.1) for kind in (Unscaled, SGD))
    assert_same_net(found[0], expected[0])


# --------------------------------------------------------------------------------------------- properties


class Update(NamedTuple):
    """A stack as host arrays, the gradients of two updates, and a learning rate for each network."""

    net: TwoLayerNet
    gradients: list[TwoLayerNet]
    rates: list[float]
    optimizer: Any


@st.composite
def updates(draw: st.DrawFn) -> Update:
    K, _, D, H, C = draw(sizes())
    shapes = (K, D, H), (K, H), (K, H, C), (K, C)
    net, *gradients = (TwoLayerNet(*(draw(floats(shape)) for shape in shapes)) for _ in range(3))
    rates = draw(st.lists(st.floats(0, 1, width=16), min_size=K, max_size=K))
    inside = st.floats(0, 1, exclude_max=True, width=16)
    eps = st.floats(1e-8, 1.0)
    optimizer = draw(
        st.one_of(
            st.sampled_from(OPTIMIZERS),
            st.builds(SGD, inside, st.just(False)),
            st.builds(SGD, st.floats(0.125, 1, exclude_max=True, width=16), st.booleans()),
            st.builds(Adam, inside, inside, eps),
            st.builds(AdamW, inside, inside, eps, st.floats(0, 1, width=16)),
        )
    )
    return Update(net, gradients, rates, optimizer)


def test_a_stack_is_updated_as_its_networks_are(backend: Backend):
    @tries(backend)
    @given(update=updates())
    def check(update: Update) -> None:
        start, gradients, rates, optimizer = update
        net, state = updated(backend, optimizer, start, gradients, [rates] * 2)
        for k, member in enumerate(networks(start)):
            own_gradients = [networks(g)[k] for g in gradients]
            one, own = updated(backend, optimizer, member, own_gradients, [rates[k]] * 2)
            assert_same_net(net.select(k), one, rtol=close(backend))
            assert own.step == state.step == 2
            for found, expected in zip(state.moments, own.moments, strict=True):
                assert_same_net(found.select(k), expected, rtol=close(backend))

    check()


def packed(net: TwoLayerNet, backend: Backend) -> tuple[Any, ...]:
    params = pack(there(backend, net), xp=backend.xp)
    return tuple(copied(array, xp=backend.xp) for array in params)


def packed_rates(rates: Any, backend: Backend) -> tuple[Any, ...]:
    rates = backend.array(np.asarray(rates, float))
    of_weights, of_biases = rates[:, None, None], rates[:, None]
    return of_weights, of_biases, of_weights, of_biases


def test_a_move_of_packed_arrays_equals_the_update(backend: Backend):
    """As `train` calls it: it consumes the previous state, and a number follows the coefficients."""

    @tries(backend)
    @given(update=updates())
    def check(update: Update) -> None:
        start, gradients, rates, optimizer = update
        net = there(backend, start)
        state = optimizer.init(net)
        weights = packed(start, backend)
        moments = tuple(packed(host_net(moment), backend) for moment in state.moments)
        each = packed_rates(rates, backend)
        numbers = optimizer.coefficients(np.arange(2))
        for g, row in zip(gradients, numbers, strict=True):
            net, state = optimizer.update(net, there(backend, g), state, learning_rate=rates)
            weights, moments = optimizer.move(
                weights,
                packed(g, backend),
                moments,
                each,
                backend.array(np.append(row, 7.0)),
                xp=backend.xp,
            )
        assert type(weights) is type(moments) is tuple
        assert all(type(moment) is tuple for moment in moments)
        for found, expected in zip((weights, *moments), (net, *state.moments), strict=True):
            found = unpack(Params(*found), stacked=True, xp=backend.xp)
            assert_same_net(found, expected, rtol=close(backend))

    check()


def test_update_does_not_change_its_arguments(backend: Backend):
    @tries(backend, 30)
    @given(update=updates())
    def check(update: Update) -> None:
        start, gradients, rates, optimizer = update
        net, one, other = (there(backend, net) for net in (start, *gradients))
        first = optimizer.init(net)
        moved, state = optimizer.update(net, one, first, learning_rate=rates)
        middle = host_net(moved), [host_net(moment) for moment in state.moments]
        optimizer.update(moved, other, state, learning_rate=rates)
        for found, expected in ((net, start), (one, gradients[0]), (other, gradients[1]), (moved, middle[0])):
            assert_same_net(found, there(backend, expected))
        for found, expected in zip(state.moments, middle[1], strict=True):
            assert_same_net(found, expected)
        assert (first.step, state.step) == (0, 1)
        for moment in first.moments:
            assert all(not to_host(array).any() for array in moment)

    check()


@EACH
def test_read_only_and_non_contiguous_arrays_are_accepted(optimizer):
    start = make_task(2).net
    (g,) = random_nets(1, start)
    expected, _ = optimizer.update(start, g, optimizer.init(start), learning_rate=[0.1, 0.2])

    def awkward(net: TwoLayerNet) -> TwoLayerNet:
        arrays = [np.asfortranarray(array)[..., ::-1][..., ::-1] for array in net]
        for array in arrays:
            array.flags.writeable = False
        return TwoLayerNet(*arrays)

    net = awkward(start)
    state = optimizer.init(net)
    state = state._replace(moments=tuple(awkward(moment) for moment in state.moments))
    found, after = optimizer.update(net, awkward(g), state, learning_rate=[0.1, 0.2])
    assert_same_net(found, expected)
    given_arrays = [*net, *g, *(array for moment in state.moments for array in moment)]
    returned = [*found, *(array for moment in after.moments for array in moment)]
    for a in returned:
        assert a.flags.writeable
        assert not any(np.shares_memory(a, b) for b in given_arrays)


@EACH
@STACKED
def test_update_returns_new_arrays_of_the_networks_library_dtype_and_shape(
    backend: Backend, optimizer, n_networks
):
    for dtype in backend.dtypes:
        net = there(backend, make_task(n_networks).net, dtype)
        same = replace(optimizer, **{k: np.float64(v) for k, v in asdict(optimizer).items() if v and v < 1})
        same = replace(same, nesterov=np.bool_(same.nesterov)) if isinstance(same, SGD) else same
        state = same.init(net)
        assert isinstance(state, OptimizerState)
        assert len(state.moments) == optimizer.n_moments
        rate = np.float64(0.0) if n_networks is None else backend.array(np.zeros(n_networks))
        for _ in range(2):
            moved, state = same.update(net, net, state, learning_rate=rate)
            assert_same_net(moved, net)  # the rate is 0
            assert type(state.step) is int
            for found in (moved, *state.moments):
                assert isinstance(found, TwoLayerNet)
                for a, b in zip(found, net, strict=True):
                    assert a is not b
                    assert backend.owns(a)
                    assert a.dtype == getattr(backend.xp, dtype)
                    assert a.shape == b.shape


@EACH
def test_a_move_of_arrays_that_do_not_match_is_refused(optimizer):
    weights, gradients, *moments = (
        tuple(np.ones_like(array) for array in pack(make_task(2).net, xp=np))
        for _ in range(2 + optimizer.n_moments)
    )
    rates = (np.ones((2, 1, 1)), np.ones((2, 1))) * 2
    coefficients = optimizer.coefficients(np.arange(1))[0, :]
    with pytest.raises(ValueError, match="zip"):
        optimizer.move(weights, gradients[:3], tuple(moments), rates, coefficients, xp=np)


@EACH
def test_a_step_number_without_a_known_value_may_be_an_array(backend: Backend, optimizer, monkeypatch):
    """As under `jax.jit`."""
    net = there(backend, make_task().net)
    state = optimizer.init(net)._replace(step=4)
    expected, _ = optimizer.update(net, net, state, learning_rate=0.1)
    monkeypatch.setattr("twolayer.training.optimizers.has_values", lambda array: False)
    state = state._replace(step=backend.array(np.asarray(4), "int32"))
    found, after = optimizer.update(net, net, state, learning_rate=0.1)
    assert_same_net(found, expected, rtol=close(backend))
    assert int(after.step) == 5


def test_moments_start_at_0_even_if_the_network_is_nan(backend: Backend):
    net = TwoLayerNet(*(array * np.nan for array in make_task().net))
    for moment in Adam().init(there(backend, net)).moments:
        assert not any(to_host(array).any() for array in moment)


@pytest.mark.only_on("torch")
@EACH
def test_results_do_not_require_gradients(backend: Backend, optimizer):
    net = TwoLayerNet(*(array.requires_grad_() for array in there(backend, make_task().net)))
    moved, state = optimizer.update(net, net, optimizer.init(net), learning_rate=0.1)
    assert not any(array.requires_grad for found in (moved, *state.moments) for array in found)


# ------------------------------------------------------------------------------- compiled updates and memory


@pytest.mark.only_on("jax")
@EACH
@STACKED
def test_updates_can_be_compiled(backend: Backend, optimizer, n_networks):
    jax = sys.modules["jax"]
    start = make_task(n_networks).net
    gradients, rates = random_nets(6, start), rates_of(6, n_networks)
    net = compiled = there(backend, start)
    state = traced = optimizer.init(net)
    take = jax.jit(lambda net, g, state, rate: optimizer.update(net, g, state, learning_rate=rate))
    for g, rate in zip(gradients, rates, strict=True):
        g = there(backend, g)
        net, state = optimizer.update(net, g, state, learning_rate=rate)
        compiled, traced = take(compiled, g, traced, backend.array(rate))
        assert_same_net(compiled, net, rtol=100 * close(backend))
    assert take._cache_size() <= 2  # an int at first, then an array
    assert int(traced.step) == state.step == 6
    assert all(array.dtype == getattr(backend.xp, backend.dtype) for array in compiled)
    last, after = optimizer.update(compiled, there(backend, gradients[0]), traced, learning_rate=0.1)
    assert after.step == 7
    expected, _ = optimizer.update(net, there(backend, gradients[0]), state, learning_rate=0.1)
    assert_same_net(last, expected, rtol=100 * close(backend))


@pytest.mark.only_on("jax")
@EACH
def test_updates_can_be_scanned(backend: Backend, optimizer):
    start, xp = make_task().net, backend.xp
    gradients, rates = random_nets(5, start), rates_of(5, None)

    def body(carry, step):
        g, rate = step
        return optimizer.update(carry[0], g, carry[1], learning_rate=rate), None

    net = there(backend, start)
    steps = TwoLayerNet(*(xp.stack([backend.array(g[i]) for g in gradients]) for i in range(4)))
    carried = net, optimizer.init(net)
    (found, last), _ = sys.modules["jax"].lax.scan(body, carried, (steps, backend.array(rates)))
    expected, _ = updated(backend, optimizer, start, gradients, rates)
    assert_same_net(found, expected, rtol=100 * close(backend))
    assert int(last.step) == 5


def arguments(backend: Backend, optimizer: Any, n_networks: int = 3) -> list[Any]:
    net = make_task(n_networks).net
    one, two = random_nets(2, net)
    moments = tuple(packed(TwoLayerNet(*map(np.abs, two)), backend) for _ in range(optimizer.n_moments))
    rates = packed_rates(np.full(n_networks, 0.1), backend)
    numbers = backend.array(optimizer.coefficients(np.arange(3, 4))[0])
    return [packed(net, backend), packed(one, backend), moments, rates, numbers]


@EACH
def test_a_move_updates_arrays_in_place_except_on_jax(backend: Backend, optimizer):
    weights, gradients, moments, rates, numbers = arguments(backend, optimizer)
    kept = [to_host(array) for array in (*rates, numbers)]
    moved, after = optimizer.move(weights, gradients, moments, rates, numbers, xp=backend.xp)
    for found, given_array in zip((moved, *after), (weights, *moments), strict=True):
        for a, b in zip(found, given_array, strict=True):
            assert (a is b) == (backend.library != "jax")
    for array, before in zip((*rates, numbers), kept, strict=True):
        np.testing.assert_array_equal(to_host(array), before)


# ------------------------------------------------------------------------------------ attributes for `train`


@EACH
def test_optimizers_declare_their_moments_and_scaling(optimizer):
    n_moments = 2 if isinstance(optimizer, Adam) else int(optimizer.momentum > 0)
    assert optimizer.n_moments == n_moments
    assert optimizer.scaled is (n_moments == 0)


@EACH
def test_coefficients_of_parts_equal_those_of_all_steps(optimizer):
    whole = optimizer.coefficients(np.arange(50))
    assert whole.dtype == np.float64
    assert whole.shape == (50, 0 if isinstance(optimizer, SGD) else 2)
    pieces = [optimizer.coefficients(np.arange(a, b)) for a, b in ((0, 0), (0, 1), (1, 20), (20, 50))]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    assert np.isfinite(whole).all()


@given(
    beta1=st.floats(0, 0.9999),
    beta2=st.floats(0, 0.9999),
    eps=st.floats(1e-12, 1),
    step=st.integers(0, 10_000),
)
def test_the_coefficients_of_adam_are_its_bias_corrections(beta1, beta2, eps, step):
    for optimizer in (Adam(beta1, beta2, eps), AdamW(beta1, beta2, eps)):
        ((c1, c2_eps),) = optimizer.coefficients(np.asarray([step]))
        # For a constant gradient of 1, the step is 1 / (1 + eps) whatever the betas.
        M, V = (float(np.sum(beta ** np.arange(step + 1))) for beta in (beta1, beta2))
        assert c1 * M / (V**0.5 + c2_eps) == pytest.approx(1 / (1 + eps), rel=1e-9)


# -------------------------------------------------------------------------------------------------- errors


NET = TwoLayerNet.initialize(3, 4, 2, rng=0)
STACK = TwoLayerNet(*(np.stack([array, array]) for array in NET))
STATE = Adam().init(NET)


def refused(
    error: type[Exception], message: str, *, net=NET, gradients=NET, state=STATE, learning_rate: Any = 0.1
) -> None:
    with pytest.raises(error, match=re.escape(message) + "$"):
        Adam().update(net, gradients, state, learning_rate=learning_rate)


def test_an_invalid_network_is_refused():
    for call in (SGD().init, partial(SGD().update, gradients=NET, state=STATE, learning_rate=0.1)):
        with pytest.raises(TypeError, match=r"^`net` must be a TwoLayerNet; got tuple$"):
            call(tuple(NET))
    misfit = NET._replace(b1=np.zeros(3, np.float32))
    refused(ValueError, "`b1` must have shape (4,); got (3,)", net=misfit)


NO_ARRAY = (
    "W2` must be an array of an array-API library (numpy, cupy, torch, jax); "
    "got list; use `numpy.asarray(PLACE.W2)`"
)
UNLIKE = {
    "W1-shape": (dict(W1=NET.W1.T), ValueError, "W1` must have the shape of `W1`, (3, 4); got (4, 3)"),
    "W2-rank": (dict(W2=NET.W2[None]), ValueError, "W2` must have the shape of `W2`, (4, 2); got (1, 4, 2)"),
    "W1-dtype": (dict(W1=NET.W1.astype(float)), TypeError, "W1` must have the dtype of `W1`, float32; got float64"),
    "b2-dtype": (dict(b2=NET.b2.astype(int)), TypeError, "b2` must have the dtype of `b2`, float32; got int64"),
    "W2-list": (dict(W2=NET.W2.tolist()), TypeError, NO_ARRAY),
}  # fmt: skip


@pytest.mark.parametrize("case", UNLIKE)
def test_gradients_and_moments_must_be_like_the_network(case):
    changes, error, message = UNLIKE[case]
    other = NET._replace(**changes)
    refused(error, f"`gradients.{message}".replace("PLACE", "gradients"), gradients=other)
    for i in range(2):
        moments = tuple(other if i == j else NET for j in range(2))
        place = f"state.moments[{i}]"
        refused(error, f"`{place}.{message}".replace("PLACE", place), state=OptimizerState(0, moments))


NO_STEP = "`state.step` must be an integer; got "
NO_STATE = "`state` must be an OptimizerState; got "
NOT_BOTH = "`state.moments` must be the 2 of Adam(beta1=0.9, beta2=0.999, eps=1e-08); got 0"
NO_RATE = "`learning_rate` must be a number, or one for each network; got "
OF_STACK = {"net": STACK, "gradients": STACK, "state": Adam().init(STACK)}
REFUSED = {
    "gradients-tuple": ({"gradients": (0.5, NET)}, TypeError, "`gradients` must be a TwoLayerNet; got tuple"),
    "gradients-stack": ({"gradients": STACK}, ValueError, "`gradients.W1` must have the shape of `W1`, (3, 4); got (2, 3, 4)"),
    "state-network": ({"state": NET}, TypeError, NO_STATE + "TwoLayerNet"),
    "moments-list": ({"state": OptimizerState(0, [NET, NET])}, TypeError, "`state.moments` must be a tuple; got list"),
    "moments-none": ({"state": SGD().init(NET)}, ValueError, NOT_BOTH),
    "moments-number": ({"state": OptimizerState(0, (NET, 1))}, TypeError, "`state.moments[1]` must be a TwoLayerNet; got int"),
    "step-negative": ({"state": STATE._replace(step=-1)}, ValueError, "`state.step` must be at least 0; got -1"),
    "step-float": ({"state": STATE._replace(step=1.0)}, TypeError, NO_STEP + "float"),
    "step-float-array": ({"state": STATE._replace(step=np.asarray(1.0))}, TypeError, NO_STEP + "float"),
    "step-array": ({"state": STATE._replace(step=np.asarray([1]))}, TypeError, NO_STEP + "ndarray"),
    "step-bool": ({"state": STATE._replace(step=True)}, TypeError, NO_STEP + "bool"),
    "rate-negative": ({"learning_rate": -0.1}, ValueError, "`learning_rate` must be finite and at least 0; got -0.1"),
    "rate-inf": ({**OF_STACK, "learning_rate": [0.1, np.inf]}, ValueError, "`learning_rate` must be finite and at least 0; got inf"),
    "rate-shape": ({"learning_rate": [0.1]}, ValueError, "`learning_rate` must be a number; got shape (1,)"),
    "rate-long": ({**OF_STACK, "learning_rate": [0.1] * 3}, ValueError, "`learning_rate` must be a number or of shape (2,); got shape (3,)"),
    "rate-text": ({"learning_rate": "0.1"}, TypeError, NO_RATE + "str"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_invalid_arguments_of_an_update_are_refused(case):
    changes, error, message = REFUSED[case]
    refused(error, message, **changes)


def test_a_state_with_too_many_moments_is_refused():
    with pytest.raises(ValueError, match=r"^`state\.moments` must be the 1 of SGD\(.*\); got 2$"):
        SGD(0.9).update(NET, NET, STATE, learning_rate=0.1)


@pytest.mark.parametrize("step", [4, np.int32(4), np.asarray(4)])
def test_a_step_may_be_an_integer_of_any_type(step):
    net, state = Adam().update(NET, NET, STATE._replace(step=step), learning_rate=0.1)
    assert type(state.step) is int
    assert state.step == 5
    assert net.W1.dtype == np.float32


@pytest.mark.only_on("jax")
def test_a_step_without_a_known_value_must_be_an_integer_too(backend: Backend):
    jax = sys.modules["jax"]
    net = there(backend, NET)
    state = Adam().init(net)
    with pytest.raises(TypeError, match=r"^`state\.step` must be an integer; got \w*Tracer\b"):
        jax.jit(lambda s: Adam().update(net, net, s, learning_rate=0.1))(state._replace(step=1.0))


@pytest.mark.only_on("strict", "torch", "jax")
def test_arrays_of_two_libraries_are_refused(backend: Backend):
    net, library = there(backend, NET, "float32"), backend.module.partition(".")[0]
    message = f"`gradients.W1` must be an array of the library of `W1`, {library}; got one of numpy"
    refused(TypeError, message, net=net, state=Adam().init(net))
    message = f"`state.moments[0].W1` must be an array of the library of `W1`, {library}; got one of numpy"
    refused(TypeError, message, net=net, gradients=net)


@pytest.mark.only_on("strict")
def test_arrays_of_two_devices_are_refused(backend: Backend):
    net = there(backend, NET, "float32")
    elsewhere = net.to(backend.xp, backend.xp.Device("CPU_DEVICE"))
    message = re.escape(f"`gradients.W1` must be on the device of `W1`, {backend.device}; got ")
    with pytest.raises(ValueError, match=message):
        Adam().update(net, elsewhere, Adam().init(net), learning_rate=0.1)
    message = message.replace("gradients", re.escape("state.moments[0]"))
    with pytest.raises(ValueError, match=message):
        Adam().update(net, net, Adam().init(elsewhere), learning_rate=0.1)
