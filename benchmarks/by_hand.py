"""Training steps written by hand, as fast as each library allows, and their matrix products alone.

All take the same step: plain stochastic gradient descent with an L2 penalty, in float32. The batch is
gathered from 10,000 samples of 3,072 features and 10 classes. Only scikit-learn's step reports the loss.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from measuring import Contestant, has

FEATURES, CLASSES, SAMPLES = 3072, 10, 10_000
LEARNING_RATE, REG = 1e-3, 0.2
# On a GPU, a call takes this many steps before it waits for the device, because `train` does not wait for
# single steps either.
GPU_STEPS = 64


class Task(NamedTuple):
    """Host arrays for a size of network and batch."""

    X: np.ndarray
    y: np.ndarray
    rows: np.ndarray  # (1000, batch)
    W1: np.ndarray
    W2: np.ndarray

    @property
    def hidden(self) -> int:
        return self.W1.shape[1]

    @property
    def batch(self) -> int:
        return self.rows.shape[1]


def task(hidden: int, batch: int, *, samples: int = SAMPLES, features: int = FEATURES) -> Task:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((samples, features), dtype=np.float32)
    y = rng.integers(0, CLASSES, samples)
    rows = rng.integers(0, samples, (1000, batch))
    W1 = (1e-2 * rng.standard_normal((features, hidden))).astype(np.float32)
    W2 = (1e-2 * rng.standard_normal((hidden, CLASSES))).astype(np.float32)
    return Task(X, y, rows, W1, W2)


def no_wait() -> None:
    """Do nothing: on a CPU, the work is complete when a call returns."""


def turns(rows: Any) -> Callable[[], Any]:
    """Return a function that returns the rows of the next batch, and starts again after the last."""
    turn = [-1]

    def following() -> Any:
        turn[0] = (turn[0] + 1) % len(rows)
        return rows[turn[0]]

    return following


def repeated(step: Callable[[], object], wait: Callable[[], object], n: int) -> Contestant:
    """Return a contestant whose call takes ``n`` steps and then waits for the device."""

    def steps() -> None:
        for _ in range(n):
            step()
        wait()

    return Contestant(steps, n)


def products(
    Xb: Any, W1: Any, W2: Any, dZ1: Any, dlogits: Any, wait: Callable[[], object], n: int
) -> Contestant:
    """Return the five matrix products of a step, on arrays of any library."""

    def step() -> None:
        Xb @ W1
        dZ1 @ W2
        dlogits @ W2.T
        dZ1.T @ dlogits
        Xb.T @ dZ1

    return repeated(step, wait, n)


def numpy_products(t: Task, xp: Any = np, wait: Callable[[], object] = no_wait, n: int = 1) -> Contestant:
    """Return the five matrix products of a step, on NumPy or CuPy arrays."""
    Xb, W1, W2 = (xp.asarray(np.ascontiguousarray(a)) for a in (t.X[: t.batch], t.W1, t.W2))
    dZ1 = xp.ones((t.batch, t.hidden), xp.float32)
    dlogits = xp.ones((t.batch, CLASSES), xp.float32)

    return products(Xb, W1, W2, dZ1, dlogits, wait, n)


def numpy_step(t: Task, xp: Any = np, wait: Callable[[], object] = no_wait, n: int = 1) -> Contestant:
    """Return a fast step on NumPy or CuPy arrays, which works in place wherever possible."""
    X, y = xp.asarray(t.X), xp.asarray(t.y)
    W1, W2 = xp.array(t.W1), xp.array(t.W2)
    b1, b2 = xp.zeros(t.hidden, xp.float32), xp.zeros(CLASSES, xp.float32)
    following, rate = turns(xp.asarray(t.rows)), np.float32(LEARNING_RATE)
    decay, sample = np.float32(1 - 2 * REG * LEARNING_RATE), xp.arange(t.batch)
    scale = -rate / t.batch  # the learning rate, applied here, costs no pass over an array like W1

    def step() -> None:
        rows = following()
        Xb, yb = X[rows], y[rows]
        H1 = Xb @ W1
        xp.add(H1, b1, out=H1)
        xp.maximum(H1, 0, out=H1)
        P = H1 @ W2
        P += b2
        P -= P.max(axis=1, keepdims=True)
        xp.exp(P, out=P)
        P /= P.sum(axis=1, keepdims=True)
        P[sample, yb] -= 1
        P *= scale
        dZ1 = P @ W2.T
        dZ1 *= H1 > 0
        dW2, dW1 = H1.T @ P, Xb.T @ dZ1
        xp.multiply(W1, decay, out=W1)
        xp.multiply(W2, decay, out=W2)
        xp.add(W1, dW1, out=W1)
        xp.add(W2, dW2, out=W2)
        xp.add(b1, dZ1.sum(axis=0), out=b1)
        xp.add(b2, P.sum(axis=0), out=b2)

    return repeated(step, wait, n)


def torch_layers(features: int, hidden: int, device: str, *, compiled: bool) -> tuple[Any, Any]:
    """Return PyTorch's layers and the loss function of a batch, which CUDA graphs speed up if compiled."""
    import torch

    net = torch.nn.Sequential(
        torch.nn.Linear(features, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, CLASSES)
    ).to(device)
    cross_entropy = torch.nn.CrossEntropyLoss()

    def loss(Xb: Any, yb: Any) -> Any:
        return cross_entropy(net(Xb), yb)

    return net, torch.compile(loss, mode="reduce-overhead") if compiled else loss


def torch_descent(net: Any, reg: float, *, fused: bool) -> Any:
    """Return PyTorch's gradient descent, with the penalty only on weights; ``fused`` uses a single kernel."""
    import torch

    weights, biases = [net[0].weight, net[2].weight], [net[0].bias, net[2].bias]
    groups = [{"params": weights, "weight_decay": 2 * reg}, {"params": biases, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=LEARNING_RATE, fused=fused or None)


def torch_steps(t: Task, device: str = "cpu") -> dict[str, Contestant]:
    """Return PyTorch's products and steps: layers, autograd and `torch.optim.SGD`, on a GPU also compiled."""
    import torch

    gpu = device != "cpu"
    wait, n = (torch.cuda.synchronize, GPU_STEPS) if gpu else (no_wait, 1)
    X, y, rows = (torch.from_numpy(a).to(device) for a in (t.X, t.y, t.rows))
    Xb, dZ1 = X[: t.batch].clone(), torch.ones(t.batch, t.hidden, device=device)
    W1, W2 = torch.from_numpy(t.W1).to(device), torch.from_numpy(t.W2).to(device)
    dlogits = torch.ones(t.batch, CLASSES, device=device)

    def stepping(compiled: bool) -> Contestant:
        net, loss = torch_layers(t.X.shape[1], t.hidden, device, compiled=compiled)
        optimizer, following = torch_descent(net, REG, fused=compiled), turns(rows)

        def step() -> None:
            batch = following()
            optimizer.zero_grad()
            loss(X[batch], y[batch]).backward()
            optimizer.step()

        return repeated(step, wait, n)

    found = {
        "PyTorch, products": products(Xb, W1, W2, dZ1, dlogits, wait, n),
        "PyTorch, eager": stepping(compiled=False),
    }
    if gpu:
        found["PyTorch, compiled"] = stepping(compiled=True)
    return found


def jax_steps(t: Task, n: int = 1, scanned: int = 50) -> dict[str, Contestant]:
    """Return compiled JAX steps with automatic differentiation: one per call, and many in one loop."""
    import jax
    import jax.numpy as jnp

    X, y, rows = jnp.asarray(t.X), jnp.asarray(t.y), jnp.asarray(t.rows)
    params = {
        "W1": jnp.asarray(t.W1),
        "b1": jnp.zeros(t.hidden),
        "W2": jnp.asarray(t.W2),
        "b2": jnp.zeros(CLASSES),
    }

    def loss(p: Any, Xb: Any, yb: Any) -> Any:
        log_probs = jax.nn.log_softmax(jax.nn.relu(Xb @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"])
        data_loss = -jnp.take_along_axis(log_probs, yb[:, None], axis=1).mean()
        return data_loss + REG * ((p["W1"] ** 2).sum() + (p["W2"] ** 2).sum())

    def update(p: Any, rows: Any) -> Any:
        gradients = jax.grad(loss)(p, X[rows], y[rows])
        return jax.tree.map(lambda a, g: a - LEARNING_RATE * g, p, gradients)

    one = jax.jit(update, donate_argnums=0)
    many = jax.jit(
        lambda p, takes: jax.lax.scan(lambda q, r: (update(q, r), None), p, takes)[0], donate_argnums=0
    )
    state = {"one": jax.tree.map(jnp.copy, params), "many": jax.tree.map(jnp.copy, params)}
    following = turns(list(rows))

    def step() -> None:
        state["one"] = one(state["one"], following())

    def steps() -> None:
        state["many"] = jax.block_until_ready(many(state["many"], rows[:scanned]))

    return {
        "JAX, jit": repeated(step, lambda: jax.block_until_ready(state["one"]), n),
        "JAX, scan": Contestant(steps, scanned),
    }


def sklearn_epoch(t: Task) -> Contestant:
    """Return an epoch of scikit-learn's MLPClassifier, which reports the loss."""
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(
        (t.hidden,),
        solver="sgd",
        batch_size=t.batch,
        alpha=2 * REG * t.batch,
        learning_rate_init=LEARNING_RATE,
        max_iter=1,
        momentum=0,
        nesterovs_momentum=False,
    )

    def epoch() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.partial_fit(t.X, t.y, classes=np.arange(CLASSES))

    return Contestant(epoch, len(t.X) / t.batch)


def all_of_them(t: Task, *, gpu: bool) -> dict[str, Contestant]:
    """Return every hand-written contestant whose library is installed."""
    found = {}
    if gpu and has("cupy"):
        import cupy

        wait = cupy.cuda.get_current_stream().synchronize
        found["CuPy, products"] = numpy_products(t, cupy, wait, GPU_STEPS)
        found["CuPy, by hand"] = numpy_step(t, cupy, wait, GPU_STEPS)
    if not gpu:
        found["NumPy, products"] = numpy_products(t)
        found["NumPy, by hand"] = numpy_step(t)
    if has("torch", gpu=gpu):
        found |= torch_steps(t, "cuda" if gpu else "cpu")
    if has("jax", gpu=gpu):
        found |= jax_steps(t, GPU_STEPS if gpu else 1)
    if has("sklearn") and not gpu:
        found["scikit-learn"] = sklearn_epoch(t)
    return found
