"""`train`: its documentation, the checks of its arguments, and the run that they start or resume."""

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
    and ``label_smoothing``. Each ends as it would have if trained alone, up to rounding. A network that
    diverged, or whose ``patience`` ended, leaves the stack at the end of that epoch. The steps of the others
    then take less time; with JAX, once half of the networks have left.

    A batch is gathered, augmented, preprocessed, and cast to the network's dtype, in this order. Then
    ``input_dropout`` and ``dropout`` are applied. Everything random is drawn on the host from the seed's
    streams, so the same settings give the same run with every array library.

    Parameters
    ----------
    net : TwoLayerNet, Run or None
        The network or stack to start from; its arrays are copied, not changed. A `Run` is resumed, as with
        ``resume``. With ``resume``, None is enough.
    X : array (N, D) or (N, ...)
        Training samples of any real dtype. They keep their dtype; each batch is cast. Scale them first, or
        give a ``preprocessing``: mean 0 and standard deviation 1 suit the default learning rate. JAX arrays
        may be divided by rows over several devices, each of which holds the whole network.
    y : integer array (N,) or floating array (N, C)
        Class labels, or class probabilities.
    validation : (X, y) or (X, y, sample_weight), optional
        Samples that determine the best network (see ``monitor``). With weights (N,), means over them are
        weighted. They are preprocessed, but never augmented.
    sample_weight : array (N,), optional
        Weight of each sample in its batch's mean, at least 0. The scale of the weights does not matter.
    class_weight : sequence or array (C,), or "balanced", optional
        Weight of each class, which multiplies the weights of its samples. "balanced" is
        N / (C · number of samples of the class).
    preprocessing : Preprocessing, optional
        Applied to each batch after augmentation: for example, a fitted `Standardizer` or `Whitener`. The
        network ``run.net`` takes preprocessed samples; ``run.folded`` takes samples as they are in ``X``.
        These two classes subtract the mean before samples are rounded to float32, as their `apply` does. If
        the device has no float64, samples of 32-bit and 64-bit integers, and streamed samples of float64,
        are centred on the host first. An augmentation then raises an error if float32 cannot hold the
        samples accurately enough before they are centred.
    augmentation : Augmentation, optional
        Applied to the samples of each batch as they are in ``X``; see `twolayer.augmentation`.
    teacher : callable or array (N, C), optional
        Another model, whose outputs become part of the targets [2]_: ``teacher(X)`` returns the logits
        (B, C) of a batch, or the array holds the logits of all training samples. A callable gets a copy of
        the samples in the shape, library and device of ``X`` (NumPy arrays with ``stream``). They are
        augmented, but neither mixed by `Mixup` nor preprocessed. It may return an array of any library.
        ``resume`` compares callables by their attribute ``name``, or else by the name of the function or
        class; methods of a `TwoLayerNet` by its values too.
    temperature : float
        τ > 0, the divisor of the teacher's logits: above 1, its probabilities become softer.
    teacher_weight : float
        λ in [0, 1]: the targets are λ · softmax(logits / τ) + (1 - λ) · labels, before ``label_smoothing``.
    reg : float, or (K,) for a stack
        Strength of the L2 penalty on W1 and W2; half of PyTorch's ``weight_decay``.
    dropout : float, or (K,) for a stack
        Probability p in [0, 1) of dropping each hidden unit for each sample [1]_. A p above 0 is rounded to
        a multiple of 1/256 from 1/256 to 255/256. The units that remain are scaled by 1 / (1 - p). When
        predicting, no unit is dropped.
    input_dropout : float
        The same for the features of each sample; one probability for a whole stack.
    label_smoothing : float, or (K,) for a stack
        ε in [0, 1]: the targets are (1 - ε) T + ε / C.
    optimizer : Optimizer
        See `twolayer.optimizers`; by default stochastic gradient descent with Nesterov momentum 0.9.
    learning_rate : float, or (K,) for a stack
        At least 0; ``schedule`` multiplies it at each step.
    schedule : Schedule
        Factor of the learning rate at each step; see `twolayer.schedules`. By default it falls to zero along
        a cosine.
    batch_size : int
    epochs, steps : int, optional
        Length of the run: give one of them, or neither for 10 epochs.
    replacement : bool
        Draw each batch with replacement instead of shuffling the samples anew for each epoch.
    ema_decay : float, optional
        Decay d in [0, 1) of an exponential moving average of the weights, average ← d · average + (1 - d) ·
        weights after each step. The average begins with the weights after the first step. With it, the
        average is validated, kept as the best and judged, instead of the weights.
    patience : int, optional
        Stop training a network after this many epochs without a better validation accuracy or loss (see
        ``monitor``). The other networks of a stack continue.
    monitor : "accuracy" or "loss"
        Choose the best network, and apply ``patience``, by the validation accuracy or by the validation loss,
        the mean cross-entropy. Use the loss for good probabilities, or with few validation samples: every
        sample changes it a little, while the accuracy changes only with a predicted label.
    judge : "best" or "last"
        Whether ``run.net`` is the best network on the validation samples or the last one.
    stream : bool
        Copy each batch from the host to the network's device. ``X``, ``y``, ``sample_weight`` and
        ``validation`` must then be NumPy arrays, for example images in a `numpy.memmap` larger than memory.
    rng : int, numpy.random.Generator or None
        The seed of everything random, or a generator to draw it from. None draws a fresh seed, kept as
        ``run.seed``. The same seed gives the same run with every array library.
    resume : Run or path, optional
        A run to resume from where it stopped, or its checkpoint file: see `twolayer.checkpoints`. With a
        checkpoint, a network in ``net`` only selects the library and device to load it to; the default is
        those of ``X``.

        Pass the same data and settings. Only ``epochs`` or ``steps`` (the new total), ``patience``,
        ``judge``, ``stream``, ``callbacks`` and the array library may differ. (The comparison covers the
        shape, the dtype and about 2^18 values of each data array, in evenly spaced rows.)

        A run resumed from any checkpoint, or after a callback stopped it or an epoch ended it, ends exactly
        as if it had not stopped: with NumPy to the bit. If the total changes, this holds only for schedules
        that do not depend on the total; `Cosine`, the default, depends on it.
    callbacks : iterable of callables
        Each is called with a `Progress` after every step, and after every epoch's entry in the history. (JAX
        runs up to 32 steps of an epoch per call, and callbacks are called after these.) ``progress.stop()``
        ends the run there; at the last step of an epoch, after its entry. If a callback has a method
        ``on_end``, it is called without arguments when the training ends, even by an error.

    Returns
    -------
    Run

    Raises
    ------
    TypeError
        If a dtype or the type of an argument is wrong, or arrays belong to several libraries.
    ValueError
        If shapes do not fit, a value is out of range or not finite in the network's dtype, arrays are on
        several devices, both ``epochs`` and ``steps`` are given, or the run to resume was begun with other
        settings or data, or its checkpoint is damaged.
    FileNotFoundError
        If the file ``resume`` does not exist.

    Warns
    -----
    DivergenceWarning
        If a network of the run diverged: once, at the end of the run.
    NothingLearntWarning
        If no network is better at the end than always predicting the commonest class, by accuracy and by
        loss. The warning names the likely cause: for example, features of very different sizes without a
        ``preprocessing``, or only one step per epoch.

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
    arguments = {**locals()}  # taken first, before any other local name exists
    if isinstance(net, Run):
        if resume is not None:
            raise ValueError("`net` must be a network or None where `resume` is given; got a Run")
        net, resume = None, net
    earlier = None if resume is None else _earlier(resume, net, X, streamed=bool(stream))
    if earlier is not None:
        if rng is not None and rng != earlier.seed:
            raise ValueError(f"`rng` must be omitted or be the run's seed, {earlier.seed}; got {rng}")
        # From here on only the run's own network counts, not the argument `net`.
        rng, net = earlier.seed, earlier.last
    check_network(net)
    assert isinstance(net, TwoLayerNet)
    # The arguments whose names are settings, with the resumed run's seed in place of `rng`.
    settings = Settings.of(arguments, stream=bool(stream), rng=rng)
    settings.check_forms()
    plan = planned(net, checked_data(net, X, y, settings), settings)
    if earlier is not None:
        plan.check_continues(earlier)
    return carry_out(net, plan, earlier)


def _earlier(
    resume: Run | str | os.PathLike[str], net: TwoLayerNet | None, X: Array, *, streamed: bool
) -> Run:
    """Return the run to resume; a checkpoint is loaded to where the network is, or else the samples."""
    if net is not None:
        check_network(net)
    if isinstance(resume, Run):
        earlier = resume
    elif not isinstance(resume, str | os.PathLike):
        raise TypeError(f"`resume` must be a Run or the path of a checkpoint; got {type(resume).__name__}")
    elif net is None and (streamed or not is_array_api_obj(X)):
        # Streamed samples do not show where the network should be; an X that is no array fails a later check.
        earlier = load_run(resume)
    else:
        place = X if net is None else net.W1
        earlier = load_run(resume, array_namespace(place), device(place))
    if net is not None:
        check_same({"net": described_network(net)}, {"net": described_network(earlier.last)})
    return earlier
