"""The arguments of `train`, checked and carried out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .._namespace import Array, array_namespace, device, is_array_api_obj, undisturbed
from .._streams import RandomState
from .._validation import check_network
from ..augmentation import Augmentation
from ..network import TwoLayerNet
from ..preprocessing import Preprocessing
from .checkpoint import load_run
from .fingerprint import check_same, described_network
from .optimizers import SGD, Optimizer
from .plan import Settings, checked_data, planned
from .run import Callback, Run
from .schedules import Cosine, Schedule
from .trainer import carry_out

NESTEROV = SGD(momentum=0.9, nesterov=True)
COSINE = Cosine()


@undisturbed
def train(
    net: TwoLayerNet | Run | None,
    X: Array,
    y: Array,
    *,
    validation: tuple[Array, ...] | None = None,
    sample_weight: Array | None = None,
    class_weight: Sequence[float] | Array | str | None = None,
    preprocessing: Preprocessing | None = None,
    augmentation: Augmentation | None = None,
    teacher: Callable[[Array], Array] | Array | None = None,
    temperature: float = 1.0,
    teacher_weight: float = 0.5,
    reg: Any = 0.0,
    dropout: Any = 0.0,
    input_dropout: float = 0.0,
    label_smoothing: Any = 0.0,
    optimizer: Optimizer = NESTEROV,
    learning_rate: Any = 1e-2,
    schedule: Schedule = COSINE,
    batch_size: int = 200,
    epochs: int | None = None,
    steps: int | None = None,
    replacement: bool = False,
    ema_decay: float | None = None,
    patience: int | None = None,
    monitor: str = "accuracy",
    judge: str = "best",
    stream: bool = False,
    rng: RandomState = None,
    resume: Run | str | os.PathLike[str] | None = None,
    callbacks: Iterable[Callback] = (),
) -> Run:
    """Train a network, or every network of a stack, by minibatch gradient descent.

    Each step lowers, on one batch, the loss of `TwoLayerNet.loss`: cross-entropy + reg · (‖W1‖² + ‖W2‖²).
    The networks of a stack see the same batches, each with its own ``reg``, ``learning_rate``, ``dropout``
    and ``label_smoothing``, and each ends as it would have if trained alone, up to rounding. One that
    diverged, or whose ``patience`` ended, leaves the stack with the epoch; the steps of the others then take
    less time.

    A batch is gathered, augmented, preprocessed, and cast to the network's dtype, in this order; then
    ``input_dropout`` and ``dropout`` thin it. Everything random is drawn on the host from the seed's streams,
    so any mix of these gives the same run with every array library.

    Parameters
    ----------
    net : TwoLayerNet, Run or None
        Where to start; its arrays are copied, not changed. A `Run` goes on, as with ``resume``; beside this,
        None is enough.
    X : array (N, D) or (N, ...)
        Training samples, of any real dtype, which is what they stay in: each batch is cast. Scale them first,
        or give a ``preprocessing``: mean 0 and standard deviation 1 suit the default learning rate. JAX
        arrays may be divided by rows over several devices, each of which has the whole network.
    y : integer array (N,) or floating array (N, C)
        Class labels, or class probabilities.
    validation : (X, y) or (X, y, sample_weight), optional
        Samples by which the best network is kept (see ``monitor``); given weights (N,), by their
        weighted means. They are preprocessed, but never augmented.
    sample_weight : array (N,), optional
        Weight of each sample in its batch's mean, at least 0; their scale does not matter.
    class_weight : sequence or array (C,), or "balanced", optional
        Weight of each class, by which its samples' weights are multiplied; "balanced" is
        N / (C · number of samples of the class).
    preprocessing : Preprocessing, optional
        Applied to each batch after augmentation: a fitted `Standardizer` or `Whitener`, for example. The
        network ``run.net`` takes its results; ``run.folded`` takes samples as they are. These two
        subtract the mean before samples are rounded to float32, as their `apply` does. If the device has no
        float64, samples of 32-bit and 64-bit integers, and streamed ones of float64, are centred on the host
        beforehand; samples with features too far from 0 for float32 cannot be augmented there.
    augmentation : Augmentation, optional
        Applied to the samples of each batch as they are in ``X``; see `twolayer.augmentation`.
    teacher : callable or array (N, C), optional
        Another model, whose outputs become a part of the targets [2]_: ``teacher(X)`` returns the logits
        (B, C) of a batch, or the array holds those of each training sample. A callable gets a copy of the
        samples as they are in ``X`` and of its shape, augmented, but neither mixed by `Mixup` nor
        preprocessed, in its library and on its device (with ``stream`` NumPy arrays), and may return any
        library's array. ``resume`` tells callables apart by their attribute ``name``, or else by the name of
        the function or class.
    temperature : float
        τ > 0, by which the teacher's logits are divided: above 1 its probabilities are softer.
    teacher_weight : float
        λ in [0, 1]: the targets are λ · softmax(logits / τ) + (1 - λ) · labels, before ``label_smoothing``.
    reg : float, or (K,) for a stack
        Strength of the L2 penalty on W1 and W2; half of PyTorch's ``weight_decay``.
    dropout : float, or (K,) for a stack
        Probability in [0, 1) with which each hidden unit is left out for each sample [1]_, rounded to a
        256th; those that remain count 1 / (1 - p) times. When predicting, none is left out.
    input_dropout : float
        The same for the features of each sample, of the whole stack.
    label_smoothing : float, or (K,) for a stack
        ε in [0, 1]: the targets are (1 - ε) T + ε / C.
    optimizer : Optimizer
        See `twolayer.optimizers`; stochastic gradient descent with Nesterov momentum 0.9 by default.
    learning_rate : float, or (K,) for a stack
    schedule : Schedule
        Factor of the learning rate at each step; see `twolayer.schedules`. By default it falls to zero along
        a cosine.
    batch_size : int
    epochs, steps : int, optional
        How long: one of them; 10 epochs where neither is given.
    replacement : bool
        Draw each batch with replacement instead of shuffling the samples anew for each epoch.
    ema_decay : float, optional
        Keep an exponential moving average of the weights, average ← d · average + (1 - d) · weights after
        each step, d being this in [0, 1). It begins with the weights after the first step. It is then the
        average that is validated, kept as the best and judged.
    patience : int, optional
        End the training of a network after so many epochs without a better validation accuracy, or loss, as
        ``monitor`` names it. The other networks of a stack go on.
    monitor : "accuracy" or "loss"
        Choose the best network, and apply ``patience``, by the validation accuracy or by the validation loss,
        the mean cross-entropy. Choose by the loss for good probabilities, or if there are few validation
        samples: it moves with every sample, the accuracy only where a label changes.
    judge : "best" or "last"
        Which network ``run.net`` is.
    stream : bool
        ``X``, ``y``, ``sample_weight`` and ``validation`` are NumPy arrays (for example images in a
        `numpy.memmap` larger than memory) for a network that may be anywhere: each batch is copied to it.
    rng : int, numpy.random.Generator or None
        The seed of everything random. The same seed gives the same run with every array library.
    resume : Run or path, optional
        A run to go on with from where it stopped, or the file of its checkpoint: see
        `twolayer.checkpoints`. What is a network in ``net`` then says only where a checkpoint is loaded to;
        without one, it is beside ``X``.

        Pass the same data and settings: others are refused, but for ``epochs`` or ``steps`` (the new total),
        ``patience``, ``judge``, ``stream``, ``callbacks``, and the array library. (Of each array of the data,
        shape, dtype and at most 2^18 values in evenly lying rows are compared.) A run that was stopped by a
        callback or ended with an epoch, and one that goes on from any checkpoint, then ends exactly as if
        it had not stopped, with NumPy to the bit; where the total is another one, if the schedule does not
        depend on it: `Cosine`, the default, does.
    callbacks : iterable of callables
        Each is called with a `Progress` after every step (with JAX, which takes up to 32 steps of an epoch at
        once, after those) and after every epoch's entry in the history. ``progress.stop()`` ends the run
        there; at the last step of an epoch, after its entry. A method ``on_end`` of a callback is called
        without arguments when the training ends, even by an error.

    Returns
    -------
    Run

    Raises
    ------
    TypeError
        If dtypes or argument types are not as said, or arrays of several libraries meet.
    ValueError
        If shapes do not fit, a value is not finite in the network's dtype or out of range, arrays of several
        devices meet, both ``epochs`` and ``steps`` are given, or what is to go on was begun with other
        settings or data.
    FileNotFoundError
        If there is no such file as ``resume``.

    Warns
    -----
    DivergenceWarning
        If a network of the run diverged: once, at its end.
    NothingLearntWarning
        If no network ends better than always naming the commonest class, by its accuracy and its loss. It
        names the likely cause: for example, features of very different sizes without a ``preprocessing``, or
        one step an epoch.

    References
    ----------
    .. [1] N. Srivastava et al.: Dropout: A Simple Way to Prevent Neural Networks from Overfitting,
       JMLR 15 (2014), 1929-1958. https://jmlr.org/papers/v15/srivastava14a.html
    .. [2] G. Hinton, O. Vinyals, J. Dean: Distilling the Knowledge in a Neural Network, 2015.
       https://arxiv.org/abs/1503.02531

    Examples
    --------
    >>> import twolayer
    >>> digits = twolayer.datasets.load_digits()
    >>> scaling = twolayer.preprocessing.Standardizer.fit(digits.train.X)
    >>> net = twolayer.TwoLayerNet.initialize(64, 50, 10, rng=0)
    >>> run = twolayer.train(net, digits.train.X, digits.train.y, preprocessing=scaling, epochs=20,
    ...                      validation=(digits.validation.X, digits.validation.y), batch_size=50, rng=0)
    >>> run.validation_accuracy > 0.9
    True
    >>> run.folded.accuracy(digits.test.X, digits.test.y) > 0.9
    np.True_
    """
    arguments = {**locals()}
    if isinstance(net, Run):
        if resume is not None:
            raise ValueError("`net` must be a network or None where `resume` is given; got a Run")
        net, resume = None, net
    earlier = None if resume is None else _earlier(resume, net, X, streamed=bool(stream))
    if earlier is not None:
        if rng is not None and rng != earlier.seed:
            raise ValueError(f"`rng` must be left out or be the run's seed, {earlier.seed}, to go on with it")
        rng, net = earlier.seed, earlier.last
    check_network(net)
    assert isinstance(net, TwoLayerNet)
    settings = Settings.of(arguments, stream=bool(stream), rng=rng)
    settings.check_forms()
    plan = planned(net, checked_data(net, X, y, settings), settings)
    if earlier is not None:
        plan.check_continues(earlier)
    return carry_out(net, plan, earlier)


def _earlier(
    resume: Run | str | os.PathLike[str], net: TwoLayerNet | None, X: Array, *, streamed: bool
) -> Run:
    """Return the run that is to go on, beside the network, or beside the samples."""
    if net is not None:
        check_network(net)
    if isinstance(resume, Run):
        earlier = resume
    elif not isinstance(resume, str | os.PathLike):
        raise TypeError(f"`resume` must be a Run or the path of a checkpoint; got {type(resume).__name__}")
    elif net is None and (streamed or not is_array_api_obj(X)):
        earlier = load_run(resume)
    else:
        place = X if net is None else net.W1
        earlier = load_run(resume, array_namespace(place), device(place))
    if net is not None:
        check_same({"net": described_network(net)}, {"net": described_network(earlier.last)})
    return earlier
