"""The network as a scikit-learn estimator."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Set
from functools import partial
from numbers import Integral
from types import SimpleNamespace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from .._namespace import Array, HostArray, array_namespace, cast, to_host, undisturbed
from .._validation import check_finite, check_integer, check_plain, check_predictions
from ..mathematics import log_softmax
from ..network import TwoLayerNet, rescaled
from ..training import Run
from ..training.arguments import train
from ..training.diagnosis import NothingLearntWarning, nothing_learnt_by, warn
from ..training.optimizers import Optimizer
from . import inputs
from .epochs import Stopping, in_epochs_of
from .fitted import converted, fitted_attributes
from .inputs import Samples
from .parameters import SCHEDULES, checked_parameters, training_arguments
from .stacked import Trained, next_trained
from .tasks import CallbackSupportMixin, Task, begin_fit, with_callbacks

_SCALER = "a `StandardScaler` before the classifier, in a pipeline,"


@dataclasses.dataclass(eq=False, repr=False)
class TwoLayerClassifier(CallbackSupportMixin, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """The two-layer network with a softmax classifier, as a scikit-learn estimator.

    It trains a `TwoLayerNet` with `train`, on the loss of `TwoLayerNet.loss`: cross-entropy + reg · (‖W1‖² +
    ‖W2‖²). Samples are not scaled: put a `sklearn.preprocessing.StandardScaler` before the classifier in a
    pipeline. Parameters with the name of a parameter of `sklearn.neural_network.MLPClassifier` have the same
    meaning.

    With scikit-learn's array API dispatch, it fits and predicts in the library and on the device of X, for
    example PyTorch or CuPy; the network and the predictions stay there. Only labels and sample weights, N of
    each, are copied to the host. With scikit-learn 1.9 or later, ``set_callbacks`` sets callbacks, which
    receive each epoch as a task.

    Parameters
    ----------
    hidden_layer_size : int
        Number of hidden units, H.
    solver : {"adam", "sgd"} or Optimizer
        "adam" is `optimizers.Adam`. "sgd" is stochastic gradient descent with Nesterov momentum 0.9. Other
        optimizers of `twolayer.optimizers` can be given, for example ``AdamW(weight_decay=0.1)``.
    learning_rate_init : float
        The learning rate, which is multiplied by the schedule. The default suits scaled samples. With many
        unscaled features, for example raw images, networks learn nothing at it; 0.001 is better.
    learning_rate : {"cosine", "constant"} or Schedule
        Schedule of the learning rate. "cosine" decreases it along a cosine to 0 at ``max_iter``. "constant"
        keeps it. Other schedules of `twolayer.schedules` can be given.
    reg : float
        Strength of the L2 penalty. It is ``alpha`` / (2 · batch size) of `MLPClassifier`, and half of
        PyTorch's ``weight_decay``. The default suits tables of scaled features. Images and other samples with
        little noise often have a lower log loss with a smaller value.
    dropout : float
        Probability in [0, 1) of dropping each hidden unit, for each sample, in training.
    label_smoothing : float
        ε in [0, 1]. The training targets are (1 - ε) onehot(y) + ε / C.
    batch_size : int or "auto"
        Number of samples in a batch. "auto" is min(200, N).
    max_iter : int
        Largest number of epochs. With a few hundred samples or fewer, more epochs may be better, because each
        epoch has only one or two steps.
    tol : float
        Least improvement. Training stops when, for more than ``n_iter_no_change`` consecutive epochs, the
        epoch's mean loss (with ``early_stopping``, the validation score) has not been better than the best
        earlier value by at least ``tol``.
    n_iter_no_change : int or inf
        Number of epochs without improvement before training stops. With inf, it always runs ``max_iter``
        epochs.
    early_stopping : bool
        Whether to keep the network with the best validation score, and to apply ``tol`` to that score. The
        validation samples are those given to `fit`, or a random part of the training samples.
    monitor : {"accuracy", "loss"}
        The validation score: the accuracy, or minus the log loss.
    validation_fraction : float
        Share in (0, 1) of the training samples to set aside for validation, stratified by class. It is used
        only if `fit` gets no validation samples.
    class_weight : dict, "balanced" or None
        Weight of each class, {label: weight}. The weights of its samples are multiplied by it. Classes that
        are not in the dict have weight 1. "balanced" is Σ s / (C · Σ of the class's s), with the sample
        weights s.
    warm_start : bool
        Whether `fit` continues from the existing network, with the solver's moments reset to zero.
    random_state : int, RandomState instance or None
        Seed of all random numbers. An int s gives the same training as ``TwoLayerNet.initialize(…, rng=s)``
        and ``train(…, rng=s)``.

    Attributes
    ----------
    classes_ : array (C,)
        The sorted labels, in the library and on the device of X if the library has their dtype; otherwise,
        for example for strings, a NumPy array.
    net_ : TwoLayerNet
        The network, in the library, on the device and in the dtype of X. ``net_.W1`` and ``net_.W2``
        correspond to ``coefs_`` of `MLPClassifier`, ``net_.b1`` and ``net_.b2`` to ``intercepts_``. Unlike
        there, two classes have two outputs.
    n_features_in_ : int
        Number of features, D.
    feature_names_in_ : host array (D,) of str
        Names of the features, if X has names.
    n_iter_ : int
        Number of epochs for which the network was trained, summed over all calls with ``warm_start`` or
        `partial_fit`.
    loss_curve_ : list of float
        Mean loss of each of these epochs, including the penalty. The loss of a batch is that before its step.
    loss_ : float
        The last value of ``loss_curve_``.
    history_ : History
        History of the last `fit`, or of the epoch of the last `partial_fit`: the loss of every step, and the
        learning rate, training and validation accuracy of every epoch.
    validation_scores_ : list of float or None
        With ``early_stopping``, the validation score after each epoch of the last `fit`.
    best_validation_score_ : float or None
        With ``early_stopping``, the highest of these scores, which is the score of ``net_``.

    See Also
    --------
    twolayer.train : The underlying function, with more options.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from twolayer.sklearn import TwoLayerClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), TwoLayerClassifier(random_state=0))
    >>> bool(cross_val_score(model, X, y).mean() > 0.93)
    True
    """

    hidden_layer_size: int = 100
    _: dataclasses.KW_ONLY
    solver: Any = "adam"
    learning_rate_init: float = 0.01
    learning_rate: Any = "cosine"
    reg: float = 3e-3
    dropout: float = 0.0
    label_smoothing: float = 0.0
    batch_size: Any = "auto"
    max_iter: int = 60
    tol: float = 1e-4
    n_iter_no_change: float = 20
    early_stopping: bool = False
    monitor: str = "accuracy"
    validation_fraction: float = 0.1
    class_weight: Any = None
    warm_start: bool = False
    random_state: Any = None

    @with_callbacks  # type: ignore[untyped-decorator]
    @undisturbed
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> TwoLayerClassifier:
        """Train the network.

        Parameters
        ----------
        X : array-like (N, D)
            Training samples. float32 and float64 are kept and become the network's dtype. Other dtypes are
            converted to float64 (to float32 if the device has no float64).
        y : array-like (N,)
            Label of each sample: integers, strings or booleans. Nullable and categorical columns are
            converted to their values.
        sample_weight : array-like (N,), optional
            Weight of each sample in its batch's mean, at least 0. The scale of the weights does not matter.
            Samples with weight 0 are left out.
        X_val : array-like (M, D), optional
            Validation samples for ``early_stopping``, instead of a part of the training samples.
        y_val : array-like (M,), optional
            Labels of the validation samples.
        sample_weight_val : array-like (M,), optional
            Weights of the validation samples in the validation score. Without ``X_val``, the validation
            samples keep their weights from ``sample_weight``.

        Returns
        -------
        TwoLayerClassifier
            The estimator itself.

        Raises
        ------
        TypeError
            If a parameter has the wrong type, or an array is masked or sparse.
        ValueError
            If a parameter is out of range; if X, y or the weights are not valid; if y contains only one
            class; if validation samples are given without labels or without ``early_stopping``; if
            ``hidden_layer_size`` changes with ``warm_start``; if the training diverges.

        Warns
        -----
        NothingLearntWarning
            If, by its accuracy and its loss, the network is no better than always predicting the most
            frequent class. The warning names the likely cause.
        """
        trained = next_trained()
        parameters = checked_parameters(self.get_params(deep=False))
        task = begin_fit(self, X, y, sample_weight, parameters.max_iter)
        if (X_val is None) != (y_val is None):
            raise ValueError("`X_val` and `y_val` must be given together; got one of them")
        if sample_weight_val is not None and X_val is None:
            raise ValueError("`X_val` must be given where `sample_weight_val` is; got None")
        if X_val is not None and not parameters.early_stopping:
            raise ValueError("`early_stopping` must be True where `X_val` is given; got False")
        net = classes = like = None
        seed = self._seed() if trained is None else trained.seed
        if parameters.warm_start and hasattr(self, "net_"):
            net, classes, like = self.net_, inputs.on_host(self.classes_), self.net_.W1
            if net.n_hidden != parameters.hidden_layer_size:
                raise ValueError(
                    f"`hidden_layer_size` must stay {net.n_hidden} with `warm_start`; "
                    f"got {parameters.hidden_layer_size}"
                )
            # A new seed, so that the batches differ from those of the earlier epochs.
            seed = int(np.random.default_rng([seed, self.n_iter_]).integers(2**63))
        samples = self._samples(X, y, sample_weight, classes, like=like)
        validation = None
        if X_val is not None:
            known = dict(classes=samples.classes, like=samples.X, dtype=samples.X.dtype)
            validation = self._samples(X_val, y_val, sample_weight_val, suffix="_val", **known)
        elif parameters.early_stopping:
            rows, aside = inputs.set_aside(samples.codes, parameters, seed)
            samples, validation = samples.take(rows), samples.take(aside)
        start = net.astype(samples.X.dtype) if net else None
        how = {"epochs": parameters.max_iter, "validation": validation.arrays() if validation else None}
        self._train(start, samples, parameters, seed, task, trained, **how)
        task.end({})
        return self

    @with_callbacks  # type: ignore[untyped-decorator]
    @undisturbed
    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> TwoLayerClassifier:
        """Train the network for one more epoch, on these samples.

        The solver's moments are kept between calls, unless ``solver`` changes. "cosine" acts as "constant"
        here, because the number of epochs is not known. Other schedules count the epochs of all calls.

        Parameters
        ----------
        X : array-like (N, D)
            Samples, as for `fit`.
        y : array-like (N,)
            Label of each sample.
        classes : array-like (C,) or set, optional
            All labels that may occur in any call. Required in the first call.
        sample_weight : array-like (N,), optional
            As for `fit`.

        Returns
        -------
        TwoLayerClassifier
            The estimator itself.

        Raises
        ------
        TypeError
            As for `fit`.
        ValueError
            As for `fit`; if ``early_stopping`` is True or ``class_weight`` is "balanced", which need all
            samples at once; if ``classes`` is missing in the first call or differs in a later one.
        """
        parameters = checked_parameters(self.get_params(deep=False))
        task = begin_fit(self, X, y, sample_weight, 1)
        if parameters.early_stopping:
            raise ValueError("`early_stopping` must be False for `partial_fit`; got True")
        if isinstance(self.class_weight, str):
            raise ValueError(
                f"`class_weight` must be a dict or None for `partial_fit`; got {self.class_weight!r}"
            )
        if classes is not None:
            classes = list(classes) if isinstance(classes, Set) else classes
            classes = np.unique(inputs.checked_labels(classes, name="classes"))
        net = getattr(self, "net_", None)
        like = dtype = None
        if net is not None:
            known, like, dtype = inputs.on_host(self.classes_), net.W1, net.W1.dtype
            if classes is not None and not np.array_equal(classes, known):
                raise ValueError(
                    "`classes` must hold the labels of the first call, or be left out; got others"
                )
            classes = known
        elif classes is None:
            raise ValueError("`classes` must be given in the first call of `partial_fit`; got None")
        classes = inputs.classes_of(classes, name="classes")
        samples = self._samples(X, y, sample_weight, classes, like=like, dtype=dtype, method="partial_fit")
        per_epoch = math.ceil(len(samples.codes) / parameters.batch_size)
        start, done, seed = net, 0, None
        if net and self._partial and self._partial[0] == parameters.solver:
            start = in_epochs_of(self._partial[1], per_epoch)
            done = start.n_steps
        else:
            seed = self._seed()
        if parameters.learning_rate == SCHEDULES["cosine"]:
            parameters.learning_rate = SCHEDULES["constant"]
        run = self._train(start, samples, parameters, seed, task, steps=done + per_epoch)
        self._partial: tuple[Optimizer, Run] | None = (parameters.solver, run)
        task.end({})
        return self

    @undisturbed
    def decision_function(self, X: Any) -> Array:
        """Return the logits of each sample.

        Parameters
        ----------
        X : array-like (N, D)
            Samples.

        Returns
        -------
        array (N, C), or (N,) for two classes
            The logits. For two classes, the second logit minus the first, which is the log-odds of the second
            class. In the dtype of X, if that is float32 or float64.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If X is not valid, or is of another array library or on another device than in `fit`; if it
            contains a value that is too large for the network's dtype, or its logits are nan.
        """
        logits = self._logits(X, "decision_function")
        return logits[:, 1] - logits[:, 0] if self.net_.n_classes == 2 else logits

    @undisturbed
    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, softmax(logits).

        Parameters
        ----------
        X : array-like (N, D)
            Samples.

        Returns
        -------
        array (N, C)
            In the dtype of X, if that is float32 or float64; the columns are those of ``classes_``.

        Raises
        ------
        NotFittedError, ValueError
            As for `decision_function`.
        """
        found = self._log_probabilities(X, "predict_proba")
        return array_namespace(found).exp(found)

    @undisturbed
    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of the probability of each class, precise even if the probability rounds to 0.

        Parameters
        ----------
        X : array-like (N, D)
            Samples.

        Returns
        -------
        array (N, C)
            As for `predict_proba`.

        Raises
        ------
        NotFittedError, ValueError
            As for `decision_function`.
        """
        return self._log_probabilities(X, "predict_log_proba")

    @undisturbed
    def predict(self, X: Any) -> Array:
        """Return the label of the largest logit of each sample, the first in a tie.

        Parameters
        ----------
        X : array-like (N, D)
            Samples.

        Returns
        -------
        array (N,)
            Labels, in the library, on the device and in the dtype of ``classes_``.

        Raises
        ------
        NotFittedError, ValueError
            As for `decision_function`.
        """
        logits = self._logits(X, "predict")
        xp = array_namespace(logits)
        codes = xp.argmax(logits, axis=-1)
        if array_namespace(self.classes_) is xp:
            return xp.take(self.classes_, codes, axis=0)
        return self.classes_[to_host(codes)]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy, the share of samples whose predicted label is right.

        Parameters
        ----------
        X : array-like (N, D)
            Samples.
        y : array-like (N,)
            Label of each sample.
        sample_weight : array-like (N,), optional
            Weight of each sample in the accuracy.

        Returns
        -------
        float
            The accuracy, in [0, 1].

        Raises
        ------
        NotFittedError, ValueError
            As for `decision_function`.
        TypeError
            If an array is masked or sparse.
        """
        check_plain("sample_weight", sample_weight)
        weights = None if sample_weight is None else rescaled(inputs.on_host(sample_weight), xp=np)
        labels = inputs.checked_labels(y, name="y")
        return float(accuracy_score(labels, inputs.on_host(self.predict(X)), sample_weight=weights))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        return tags

    def __sklearn_array_api_convert__(self, converter: Callable[[Array], Array]) -> TwoLayerClassifier:
        return converted(self, converter)  # type: ignore[no-any-return]

    def _seed(self) -> int:
        if isinstance(self.random_state, Integral):
            return check_integer("random_state", self.random_state, least=0)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _samples(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        classes: HostArray | None,
        *,
        like: Array | None = None,
        dtype: Any = None,
        method: str = "fit",
        suffix: str = "",
    ) -> Samples:
        """Check samples, labels and weights, and return the samples whose weight is not 0.

        X must be in the library and on the device of ``like``, which is None for the first samples, and its
        values in the range of ``dtype``. Without ``classes``, the labels in y are the classes.
        """
        y = inputs.checked_labels(y, name=f"y{suffix}")
        X, y = inputs.validated(self, X, y, reset=like is None, suffix=suffix)
        if like is not None:
            inputs.check_place(X, like, f"{type(self).__name__}.{method}()")
        if dtype is not None and X.dtype != dtype:
            check_finite(X, name=f"X{suffix}", dtype=dtype)
        check_classification_targets(y)
        if classes is None:
            classes = inputs.classes_of(y, name="y")
        codes = inputs.numbered(y, classes, name=f"y{suffix}")
        weights = inputs.checked_weights(sample_weight, codes, name=f"sample_weight{suffix}")
        samples = Samples(X, codes, weights, classes)
        return samples if weights is None or weights.all() else samples.take(np.flatnonzero(weights))

    def _train(
        self,
        start: TwoLayerNet | Run | None,
        samples: Samples,
        parameters: SimpleNamespace,
        seed: int | None,
        task: Task,
        trained: Trained | None = None,
        **more: Any,
    ) -> Run:
        """Train from a new network, a given one or a run, set the fitted attributes, and return the run.

        A run that `TwoLayerSearchCV` has already trained for this estimator is used instead of training.
        Raises a ValueError if the training diverges.
        """
        earlier = [] if start is None else self.loss_curve_
        attributes = partial(fitted_attributes, samples=samples, parameters=parameters, earlier=earlier)
        if trained is not None and start is None and trained.belongs_to(parameters, samples.codes):
            run, attributes = trained.run, partial(attributes, losses=trained.losses)
        else:
            attributes = partial(attributes, done=start.n_steps if isinstance(start, Run) else 0)
            stopping = Stopping(parameters, len(samples.codes), task, attributes)
            names = "X", "y", "sample_weight"
            given = dict(zip(names, samples.arrays(), strict=True)) | training_arguments(parameters)
            given["class_weight"] = self._class_weights(samples)
            net = samples.network(parameters.hidden_layer_size, seed) if start is None else start
            run = train(net, rng=seed, callbacks=[stopping], **given, **more)
            if not isinstance(start, Run):  # do not warn in every call of `partial_fit`
                warn(NothingLearntWarning, nothing_learnt_by(run, given, _SCALER))
        if run.diverged is not None:
            raise ValueError(
                "`learning_rate_init` must be low enough, and X scaled, for the training to converge; "
                f"with {self.learning_rate_init:g} it diverged at step {run.diverged}"
            )
        self.__dict__.update(attributes(run))
        return run

    def _class_weights(self, samples: Samples) -> HostArray | None:
        if self.class_weight is None:
            return None
        _, codes, weights, classes = samples
        if isinstance(self.class_weight, str):
            sums = np.bincount(codes, weights=weights, minlength=len(classes))
            return np.where(sums > 0, sums.sum() / (len(classes) * np.where(sums > 0, sums, 1.0)), 0.0)
        return np.asarray(compute_class_weight(dict(self.class_weight), classes=classes, y=classes[codes]))

    def _logits(self, X: Any, method: str) -> Array:
        """Check samples and return their logits (N, C) in the dtype of X."""
        check_is_fitted(self, "net_")
        X = inputs.validated(self, X, reset=False)
        inputs.check_place(X, self.net_.W1, f"{type(self).__name__}.{method}()")
        if X.dtype != self.net_.W1.dtype:
            check_finite(X, dtype=self.net_.W1.dtype)
        logits = self.net_.logits(X)
        check_predictions(logits)
        return cast(logits, X.dtype, xp=array_namespace(X))

    def _log_probabilities(self, X: Any, method: str) -> Array:
        """Check samples and return the logarithms of their probabilities (N, C) in the dtype of X."""
        logits = self._logits(X, method)
        found = log_softmax(logits, axis=-1, xp=array_namespace(logits))
        check_predictions(found)
        return found
