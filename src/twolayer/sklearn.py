"""The network as a scikit-learn estimator."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Set
from numbers import Integral, Real
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ._checks import (
    check_choice,
    check_current_device,
    check_finite,
    check_integer,
    check_number,
    check_plain,
    check_predictions,
)
from ._extras import missing
from ._namespace import (
    Array,
    HostArray,
    array_namespace,
    cast,
    device,
    dtype_name,
    from_host,
    is_array_api_obj,
    library_name,
    to_host,
    undisturbed,
)
from .mathematics import log_softmax
from .network import TwoLayerNet, rescaled
from .training import History, Progress, Run, optimizers, schedules
from .training.loop import train
from .training.optimizers import Optimizer
from .training.schedules import Schedule

try:
    from sklearn import get_config
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.metrics import accuracy_score
    from sklearn.model_selection import train_test_split
    from sklearn.utils import check_array, check_random_state
    from sklearn.utils.class_weight import compute_class_weight
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except Exception as error:
    raise missing("sklearn", error, extra="sklearn", purpose="twolayer.sklearn") from error

__all__ = ["TwoLayerClassifier"]

SOLVERS: Mapping[str, Optimizer] = {
    "adam": optimizers.Adam(),
    "sgd": optimizers.SGD(momentum=0.9, nesterov=True),
}
SCHEDULES: Mapping[str, Schedule] = {"cosine": schedules.Cosine(), "constant": schedules.Constant()}
AUTOMATIC_BATCH = 200  # or all samples, where they are fewer: `train` takes what there is


class Settings(NamedTuple):
    """An estimator's parameters, checked."""

    n_hidden: int
    optimizer: Optimizer
    learning_rate: float
    schedule: Schedule
    reg: float
    dropout: float
    label_smoothing: float
    batch_size: int
    epochs: int
    tol: float
    patience: float
    early_stopping: bool
    validation_fraction: float

    def method(self) -> dict[str, Any]:
        """Return what `train` is given whatever it trains on."""
        return dict(
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
            reg=self.reg,
            dropout=self.dropout,
            label_smoothing=self.label_smoothing,
            batch_size=self.batch_size,
        )


class TwoLayerClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """The two-layer network with a softmax classifier, as a scikit-learn estimator.

    It trains a `TwoLayerNet` with `train`, on the loss of `TwoLayerNet.loss`: cross-entropy + reg · (‖W1‖² +
    ‖W2‖²). Samples are taken as they are: put a `sklearn.preprocessing.StandardScaler` before it in a
    pipeline. Parameters that `sklearn.neural_network.MLPClassifier` has too mean the same here.

    With scikit-learn's array API dispatch it fits and predicts where the arrays are: X of PyTorch or CuPy
    gives a network and predictions there. Only labels and sample weights, N of each, go by way of the host.

    Parameters
    ----------
    hidden_layer_size : int
        Number of hidden units, H.
    solver : {"adam", "sgd"} or Optimizer
        `optimizers.Adam`, stochastic gradient descent with Nesterov momentum 0.9, or another of
        `twolayer.optimizers`: for example ``AdamW(weight_decay=0.1)``.
    learning_rate_init : float
        The learning rate, which the schedule multiplies. The default suits scaled samples; of many features
        that are not scaled, such as raw images, networks learn nothing at it, and 0.001 is better.
    learning_rate : {"cosine", "constant"} or Schedule
        How the learning rate goes on: falling along a cosine, to 0 at ``max_iter``; constant; or as another
        of `twolayer.schedules` has it.
    reg : float
        Strength of the L2 penalty: ``alpha`` / (2 · batch size) of `MLPClassifier`, half of PyTorch's
        ``weight_decay``.
    dropout : float
        Probability in [0, 1) with which each hidden unit is left out for each sample, in training.
    label_smoothing : float
        ε in [0, 1]: the network is trained towards (1 - ε) onehot(y) + ε / C.
    batch_size : int or "auto"
        "auto" is min(200, N).
    max_iter : int
        Number of epochs, unless ``tol`` ends them before.
    tol : float
        The training ends when more than ``n_iter_no_change`` epochs one after another have not brought the
        epoch's mean loss (with ``early_stopping`` the validation accuracy) this much beyond the best before.
    n_iter_no_change : int or inf
        inf never ends the training before ``max_iter``.
    early_stopping : bool
        Keep the network of the highest validation accuracy, of the samples given to `fit` for that or of a
        share of the training samples that is set aside, and let ``tol`` go by that accuracy.
    validation_fraction : float
        The share in (0, 1) that is set aside, of every class alike.
    class_weight : dict, "balanced" or None
        Weight of each class, {label: weight}, by which its samples' weights are multiplied; classes that are
        left out have 1. "balanced" is Σ s / (C · Σ of the class's s), s being the sample weights.
    warm_start : bool
        Let `fit` go on from the network that there is, with the moments of the solver at zero.
    random_state : int, RandomState instance or None
        The seed of everything random. An int s trains as ``TwoLayerNet.initialize(…, rng=s)`` and
        ``train(…, rng=s)`` do.

    Attributes
    ----------
    classes_ : array (C,)
        The labels, sorted. Beside X if its library has their dtype; else, as for strings, a NumPy array.
    net_ : TwoLayerNet
        The network, in the dtype and the place of X. ``net_.W1`` and ``net_.W2`` are the ``coefs_`` of
        `MLPClassifier`, ``net_.b1`` and ``net_.b2`` its ``intercepts_``; two classes have two outputs here.
    n_features_in_ : int
        Number of features, D.
    feature_names_in_ : host array (D,) of str
        Names of the features, where X had some.
    n_iter_ : int
        Number of epochs that the network was trained for; with ``warm_start`` and `partial_fit` all of them.
    loss_curve_ : list of float
        The mean loss of each of these epochs, penalty included, each batch before its step.
    loss_ : float
        The last of these.
    validation_scores_ : list of float or None
        With ``early_stopping``: the validation accuracy after each epoch of the last `fit`.
    best_validation_score_ : float or None
        With ``early_stopping``: the highest of these, which is that of ``net_``.

    See Also
    --------
    twolayer.train : Everything else that a training can have.

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

    classes_: Any
    net_: TwoLayerNet
    n_features_in_: int
    n_iter_: int
    loss_curve_: list[float]
    loss_: float
    validation_scores_: list[float] | None
    best_validation_score_: float | None
    _partial: tuple[Optimizer, Run] | None

    def __init__(
        self,
        hidden_layer_size: int = 100,
        *,
        solver: Any = "adam",
        learning_rate_init: float = 0.01,
        learning_rate: Any = "cosine",
        reg: float = 1e-4,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
        batch_size: Any = "auto",
        max_iter: int = 200,
        tol: float = 1e-4,
        n_iter_no_change: float = 20,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        class_weight: Any = None,
        warm_start: bool = False,
        random_state: Any = None,
    ) -> None:
        self.hidden_layer_size = hidden_layer_size
        self.solver = solver
        self.learning_rate_init = learning_rate_init
        self.learning_rate = learning_rate
        self.reg = reg
        self.dropout = dropout
        self.label_smoothing = label_smoothing
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.random_state = random_state

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
            Training samples. float32 and float64 stay what they are, and are the network's dtype; anything
            else becomes float64.
        y : array-like (N,)
            A label for each: integers, strings, truth values.
        sample_weight : array-like (N,), optional
            Weight of each sample in its batch's mean, at least 0; their scale does not matter. A sample of
            weight 0 is left out.
        X_val : array-like (M, D), optional
            Validation samples for ``early_stopping``, instead of a share of the training samples.
        y_val : array-like (M,), optional
            Their labels.
        sample_weight_val : array-like (M,), optional
            Their weights in the validation accuracy. Samples that are set aside keep their own there.

        Returns
        -------
        TwoLayerClassifier
            The estimator itself.

        Raises
        ------
        TypeError
            If a parameter is not of its kind, or an array is masked or sparse.
        ValueError
            If a parameter is out of its bounds; if X, y or a weight is not as it must be, or y holds one
            class alone; or if the training diverges.
        """
        settings = self._settings()
        goes_on = bool(self.warm_start) and hasattr(self, "net_")
        X, labels = self._samples(X, y, reset=not goes_on, method="fit")
        if goes_on:
            classes = _host(self.classes_)
            codes = _codes(labels, classes, name="y")
            if self.net_.n_hidden != settings.n_hidden:
                raise ValueError(
                    f"`hidden_layer_size` must stay {self.net_.n_hidden} with `warm_start`; "
                    f"got {settings.n_hidden}"
                )
        else:
            classes, codes = np.unique(labels, return_inverse=True)
            _check_several(classes, name="y")
        if (X_val is None) != (y_val is None):
            raise ValueError("`X_val` and `y_val` must be given together; got one of them")
        if sample_weight_val is not None and X_val is None:
            raise ValueError("`X_val` must be given where `sample_weight_val` is; got None")
        if X_val is not None and not settings.early_stopping:
            raise ValueError("`early_stopping` must be True where `X_val` is given; got False")
        X, codes, weights = _weighed(X, codes, sample_weight, name="sample_weight")
        done = self.n_iter_ if goes_on else 0
        seed = self._seed()
        if done:  # other batches than those of the epochs before
            seed = int(np.random.default_rng([seed, done]).integers(2**63))
        validation = None
        if X_val is not None:
            X_val, labels_val = self._samples(X_val, y_val, reset=False, method="fit", like=X, dtype=X.dtype)
            codes_val = _codes(labels_val, classes, name="y_val")
            validation = _placed(*_weighed(X_val, codes_val, sample_weight_val, name="sample_weight_val"))
        elif settings.early_stopping:
            rows, aside = train_test_split(
                np.arange(len(codes)),
                test_size=settings.validation_fraction,
                stratify=codes,
                random_state=seed % 2**32,
            )
            X_val, weights_val = _rows(X, aside), None if weights is None else weights[aside]
            validation = _placed(X_val, codes[aside], weights_val)
            X, codes, weights = _rows(X, rows), codes[rows], None if weights is None else weights[rows]
        stopping = Stopping(settings, len(codes))
        net = self.net_.astype(X.dtype) if goes_on else _new_net(X, classes, settings, seed)
        run = train(
            net,
            X,
            _beside(codes, X),
            validation=validation,
            sample_weight=_weights_beside(weights, X),
            class_weight=self._class_weights(classes, codes, weights),
            schedule=settings.schedule,
            epochs=settings.epochs,
            rng=seed,
            callbacks=[stopping],
            **settings.method(),
        )
        self._check_converged(run)
        losses = epoch_losses(run.history, len(codes), settings.batch_size)
        self._keep(run, classes, X, [*self.loss_curve_, *losses] if goes_on else losses)
        self._partial = None
        if settings.early_stopping:
            self.validation_scores_ = run.history.validation_accuracy.tolist()
            self.best_validation_score_ = float(run.validation_accuracy)
        return self

    @undisturbed
    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> TwoLayerClassifier:
        """Train the network for one epoch more, on these samples.

        The moments of the solver go on from call to call. "cosine" is constant here, as there is no end that
        the learning rate could fall to; another schedule counts the epochs of all calls.

        Parameters
        ----------
        X : array-like (N, D)
            Samples, as for `fit`.
        y : array-like (N,)
            A label for each.
        classes : array-like (C,) or set, optional
            All labels that will ever come; needed in the first call.
        sample_weight : array-like (N,), optional
            As for `fit`.

        Returns
        -------
        TwoLayerClassifier
            The estimator itself.

        Raises
        ------
        TypeError
            As `fit`.
        ValueError
            As `fit`; if ``early_stopping`` is True or ``class_weight`` "balanced", which need all samples at
            once; if ``classes`` is missing in the first call or another one than then.
        """
        settings = self._settings()
        if settings.early_stopping:
            raise ValueError("`early_stopping` must be False for `partial_fit`; got True")
        if isinstance(self.class_weight, str):
            raise ValueError(
                f"`class_weight` must be a dict or None for `partial_fit`; got {self.class_weight!r}"
            )
        first = not hasattr(self, "net_")
        if first and classes is None:
            raise ValueError("`classes` must be given in the first call of `partial_fit`; got None")
        if classes is not None:
            classes = list(classes) if isinstance(classes, Set) else classes
            classes = np.unique(_labels(classes, name="classes"))
        X, labels = self._samples(
            X, y, reset=first, method="partial_fit", dtype=None if first else self.net_.W1.dtype
        )
        known = classes if first else _host(self.classes_)
        if first:
            _check_several(known, name="classes")
        elif classes is not None and not np.array_equal(classes, known):
            raise ValueError("`classes` must hold the labels of the first call, or be left out; got others")
        X, codes, weights = _weighed(X, _codes(labels, known, name="y"), sample_weight, name="sample_weight")
        per_epoch = -(-len(codes) // settings.batch_size)
        start: TwoLayerNet | Run
        optimizer, run = (None, None) if first or self._partial is None else self._partial
        if run is not None and optimizer == settings.optimizer:
            # Other samples than the run began with, and perhaps other settings, are what this is for.
            start, seed = in_epochs_of(dataclasses.replace(run, _fingerprint={}), per_epoch), None
        else:
            seed = self._seed()
            start = _new_net(X, known, settings, seed) if first else self.net_
        done = start.n_steps if isinstance(start, Run) else 0
        schedule = settings.schedule
        run = train(
            start,
            X,
            _beside(codes, X),
            sample_weight=_weights_beside(weights, X),
            class_weight=self._class_weights(known, codes, weights),
            schedule=SCHEDULES["constant"] if schedule == SCHEDULES["cosine"] else schedule,
            steps=done + per_epoch,
            rng=seed,
            **settings.method(),
        )
        self._check_converged(run)
        (loss,) = epoch_losses(run.history.until(run.n_steps), len(codes), settings.batch_size, start=done)
        self._keep(run, known, X, [loss] if first else [*self.loss_curve_, loss])
        self._partial = settings.optimizer, run
        return self

    @undisturbed
    def decision_function(self, X: Any) -> Array:
        """Return how much each sample looks like each class.

        Parameters
        ----------
        X : array-like (N, D)
            Samples.

        Returns
        -------
        array (N, C), or (N,) for two classes
            The logits; of two classes the second's minus the first's, the logarithm of the odds. In the dtype
            of X, if that is float32 or float64.

        Raises
        ------
        NotFittedError
            If there is no network yet.
        ValueError
            If X is not as it must be, or is of another array library or device than in `fit`; if it holds a
            value that is too large for the network's dtype, or its logits are nan.
        """
        logits, _ = self._logits(X, "decision_function")
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
            As `decision_function`.
        """
        found, xp = self._log_probabilities(X, "predict_proba")
        return xp.exp(found)

    @undisturbed
    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of the probability of each class, exact where that rounds to 0.

        Parameters
        ----------
        X : array-like (N, D)
            Samples.

        Returns
        -------
        array (N, C)
            As `predict_proba`.

        Raises
        ------
        NotFittedError, ValueError
            As `decision_function`.
        """
        return self._log_probabilities(X, "predict_log_proba")[0]

    @undisturbed
    def predict(self, X: Any) -> Array:
        """Return the label of the largest logit of each sample; of equal ones the first.

        Parameters
        ----------
        X : array-like (N, D)
            Samples.

        Returns
        -------
        array (N,)
            Labels, where ``classes_`` is.

        Raises
        ------
        NotFittedError, ValueError
            As `decision_function`.
        """
        logits, xp = self._logits(X, "predict")
        codes = xp.argmax(logits, axis=-1)
        if array_namespace(self.classes_) is xp:
            return xp.take(self.classes_, codes, axis=0)
        return self.classes_[to_host(codes)]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the share of samples whose predicted label is right.

        Parameters
        ----------
        X : array-like (N, D)
            Samples.
        y : array-like (N,)
            Their labels.
        sample_weight : array-like (N,), optional
            Their weights in the share.

        Returns
        -------
        float

        Raises
        ------
        NotFittedError, ValueError
            As `decision_function`.
        TypeError
            If an array is masked or sparse.
        """
        check_plain("sample_weight", sample_weight)
        weights = None if sample_weight is None else rescaled(_host(sample_weight), xp=np)
        return float(accuracy_score(_labels(y, name="y"), _host(self.predict(X)), sample_weight=weights))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        return tags

    def _settings(self) -> Settings:
        """Return the parameters, or raise unless they are as they must be."""
        batch_size = self.batch_size
        if isinstance(batch_size, str):
            check_choice("batch_size", batch_size, ("auto",))
            batch_size = AUTOMATIC_BATCH
        else:
            batch_size = check_integer("batch_size", batch_size, least=1)
        patience = self.n_iter_no_change
        if patience != math.inf:
            patience = check_integer("n_iter_no_change", patience, least=1)
        fraction = check_number("validation_fraction", self.validation_fraction, least=0.0, below=1.0)
        if fraction == 0:
            raise ValueError("`validation_fraction` must be above 0; got 0")
        for name in ("early_stopping", "warm_start"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise TypeError(f"`{name}` must be a bool; got {type(getattr(self, name)).__name__}")
        if isinstance(self.class_weight, str):
            check_choice("class_weight", self.class_weight, ("balanced",))
        elif not isinstance(self.class_weight, Mapping | None):
            raise TypeError(
                f"`class_weight` must be a dict, 'balanced' or None; got {type(self.class_weight).__name__}"
            )
        return Settings(
            n_hidden=check_integer("hidden_layer_size", self.hidden_layer_size, least=1),
            optimizer=_named("solver", self.solver, SOLVERS, "move", "twolayer.optimizers.AdamW()"),
            learning_rate=check_number("learning_rate_init", self.learning_rate_init, above=0.0),
            schedule=_named(
                "learning_rate", self.learning_rate, SCHEDULES, "__call__", "twolayer.schedules.Step()"
            ),
            reg=check_number("reg", self.reg, least=0.0),
            dropout=check_number("dropout", self.dropout, least=0.0, below=1.0),
            label_smoothing=check_number("label_smoothing", self.label_smoothing, least=0.0, most=1.0),
            batch_size=batch_size,
            epochs=check_integer("max_iter", self.max_iter, least=1),
            tol=check_number("tol", self.tol, least=0.0),
            patience=patience,
            early_stopping=bool(self.early_stopping),
            validation_fraction=fraction,
        )

    def _seed(self) -> int:
        if isinstance(self.random_state, Integral):
            return check_integer("random_state", self.random_state, least=0)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _samples(
        self,
        X: Any,
        y: Any,
        *,
        reset: bool,
        method: str,
        like: Array | None = None,
        dtype: Any = None,
    ) -> tuple[Array, HostArray]:
        """X (N, D) where it is, in a dtype that a network has, and y (N,) on the host, both checked.

        ``like`` is the X of the training samples where these are the validation samples; ``dtype`` is that of
        the network, where X may have another.
        """
        suffix = "" if like is None else "_val"
        _check_samples(X, name=f"X{suffix}")
        y = _labels(y, name=f"y{suffix}")
        X, y = validate_data(self, X, y, reset=reset, dtype=_float_dtypes(X))
        if not reset:
            self._check_place(X, method, like)
        if dtype is not None and X.dtype != dtype:
            check_finite(X, name=f"X{suffix}", dtype=dtype)
        check_classification_targets(y)
        return X, y

    def _logits(self, X: Any, method: str) -> tuple[Array, ModuleType]:
        """Logits (N, C) in the dtype of X, which is checked, and their namespace."""
        check_is_fitted(self, "net_")
        _check_samples(X)
        X = validate_data(self, X, reset=False, dtype=_float_dtypes(X))
        self._check_place(X, method, None)
        if X.dtype != self.net_.W1.dtype:
            check_finite(X, dtype=self.net_.W1.dtype)
        logits, xp = self.net_.logits(X), array_namespace(X)
        check_predictions(logits)
        return cast(logits, X.dtype, xp=xp), xp

    def _log_probabilities(self, X: Any, method: str) -> tuple[Array, ModuleType]:
        """Logarithms (N, C) of the probabilities in the dtype of X, and their namespace."""
        logits, xp = self._logits(X, method)
        found = log_softmax(logits, axis=-1, xp=xp)
        check_predictions(found)
        return found, xp

    def _check_place(self, X: Array, method: str, like: Array | None) -> None:
        """Raise unless X is where the network is, or will be: where ``like`` is."""
        like = self.net_.W1 if like is None else like
        wanted, came = ((array_namespace(array), device(array)) for array in (like, X))
        if wanted != came:
            wanted_name, came_name = (f"{library_name(xp)} on {where}" for xp, where in (wanted, came))
            raise ValueError(
                f"Inputs of {type(self).__name__}.{method}() must use the same namespace and the same device "
                f"as those of fit(), {wanted_name}; got {came_name}"
            )

    def _class_weights(
        self, classes: HostArray, codes: HostArray, weights: HostArray | None
    ) -> HostArray | None:
        if self.class_weight is None:
            return None
        if isinstance(self.class_weight, str):
            sums = np.bincount(codes, weights=weights, minlength=len(classes))
            return np.where(sums > 0, sums.sum() / (len(classes) * np.where(sums > 0, sums, 1.0)), 0.0)
        return np.asarray(compute_class_weight(dict(self.class_weight), classes=classes, y=classes[codes]))

    def _check_converged(self, run: Run) -> None:
        if run.diverged is not None:
            raise ValueError(
                "`learning_rate_init` must be low enough, and X be scaled, for the training to converge; "
                f"with {self.learning_rate_init:g} it diverged at step {run.diverged}"
            )

    def _keep(self, run: Run, classes: HostArray, X: Array, losses: list[float]) -> None:
        self.net_ = run.net
        self.classes_ = _labels_beside(classes, X)
        self.loss_curve_ = losses
        self.loss_ = losses[-1]
        self.n_iter_ = len(losses)
        self.validation_scores_ = None
        self.best_validation_score_ = None


class Stopping:
    """A callback that ends a run when it has not become better by ``tol`` for too many epochs."""

    def __init__(self, settings: Settings, n_samples: int) -> None:
        self.settings, self.n_samples = settings, n_samples
        self.best, self.waited = -math.inf, 0

    def __call__(self, progress: Progress) -> None:
        if not progress.epoch_ended:
            return
        history = progress.history()
        if self.settings.early_stopping:
            score = float(history.validation_accuracy[-1])
        else:
            start = progress.step - -(-self.n_samples // self.settings.batch_size)
            score = -epoch_losses(history, self.n_samples, self.settings.batch_size, start=start)[0]
        self.waited = 0 if score >= self.best + self.settings.tol else self.waited + 1  # nan is no better
        self.best = max(self.best, score)
        if self.waited > self.settings.patience:
            progress.stop()


def epoch_losses(history: History, n_samples: int, batch_size: int, *, start: int = 0) -> list[float]:
    """Mean loss of each epoch from step ``start`` on, a short last batch counting for what it is."""
    starts = np.arange(0, n_samples, batch_size)
    sizes = np.minimum(batch_size, n_samples - starts)
    losses: list[float] = (history.loss[start:].reshape(-1, len(sizes)) @ sizes / n_samples).tolist()
    return losses


def in_epochs_of(run: Run, n_steps: int) -> Run:
    """Return a run as one whose steps were whole epochs of ``n_steps`` each: so new data begin with an epoch.

    Where they are not, it is taken as a few steps longer than it was.
    """
    total = -(-run.n_steps // n_steps) * n_steps
    if total == run.n_steps:
        return run
    nothing, entry = np.zeros(total), np.full(1, np.nan)
    history = History(nothing, nothing, np.full(1, total), entry, entry, entry, entry)
    return dataclasses.replace(run, history=history)


def _named(name: str, value: Any, known: Mapping[str, Any], method: str, example: str) -> Any:
    """The object that a name stands for, or the object that was given in its place."""
    if isinstance(value, str):
        check_choice(name, value, tuple(known))
        return known[value]
    if isinstance(value, type) or not hasattr(value, method):
        shown = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        listed = ", ".join(repr(choice) for choice in known)
        raise TypeError(f"`{name}` must be one of {listed}, or such as {example}; got {shown}")
    return value


def _dispatched(array: Any) -> bool:
    """Whether scikit-learn leaves an array in its library."""
    return bool(get_config()["array_api_dispatch"]) and is_array_api_obj(array)


def _host(array: Any) -> Any:
    """Labels or weights on the host, if they are an array that scikit-learn would leave where it is."""
    return to_host(array) if _dispatched(array) else array


def _labels(labels: Any, *, name: str) -> Any:
    """Return labels as scikit-learn takes them, or raise if one is missing.

    scikit-learn would make float64 of nullable integers and truth values, which lacks many large integers.
    """
    check_plain(name, labels)
    labels = _host(labels)
    dtype = getattr(labels, "dtype", None)
    if labels is None or (isinstance(dtype, np.dtype) and dtype.kind != "O"):
        return labels
    values = np.asarray(labels, dtype=object)
    missing = [_is_missing(value) for value in values.flat]
    if any(missing):
        raise ValueError(
            f"`{name}` must hold no missing label; got one, first in row {missing.index(True)} "
            "(counted from 0)"
        )
    if hasattr(labels, "to_numpy"):
        kinds = {type(value) for value in values.flat}
        if kinds == {bool}:
            return values.astype(bool)
        if kinds == {int}:
            return values.astype(np.uint64 if max(values.flat) >= 2**63 else np.int64)
    return labels


def _is_missing(value: Any) -> bool:
    """Whether a value is None, nan or NaT, which equal nothing, or pandas.NA, which has no truth value."""
    try:
        return value is None or bool(value != value)
    except TypeError:
        return True


def _check_samples(X: Any, *, name: str = "X") -> None:
    """Raise if X is not plain or not on CuPy's current device, before scikit-learn makes a copy of it."""
    check_plain(name, X)
    if _dispatched(X):
        check_current_device(name, X)


def _float_dtypes(X: Any) -> list[Any]:
    """Dtypes that samples may keep, the one that others are cast to first."""
    if not _dispatched(X):
        return [np.float64, np.float32]
    there = array_namespace(X).__array_namespace_info__().dtypes(device=device(X), kind="real floating")
    return [there[name] for name in ("float64", "float32") if name in there]


def _codes(labels: HostArray, classes: HostArray, *, name: str) -> HostArray:
    """Place of each label among the sorted classes, (N,) int64, or raise if one is not among them."""
    unknown = ~np.isin(labels, classes)
    if unknown.any():
        raise ValueError(
            f"`{name}` must hold labels that are in the classes; got {labels[unknown].tolist()[0]!r}"
        )
    return np.searchsorted(classes, labels).astype(np.int64)


def _check_several(classes: HostArray, *, name: str) -> None:
    if len(classes) < 2:
        raise ValueError(f"`{name}` must hold at least two classes; got one class")


def _placed(X: Array, codes: HostArray, weights: HostArray | None) -> tuple[Array, Array, Array | None]:
    """Samples, labels and weights, all of them where X is."""
    return X, _beside(codes, X), _weights_beside(weights, X)


def _weights_beside(weights: HostArray | None, X: Array) -> Array | None:
    return None if weights is None else _beside(weights.astype(dtype_name(X.dtype)), X)


def _weighed(
    X: Array, codes: HostArray, sample_weight: Any, *, name: str
) -> tuple[Array, HostArray, HostArray | None]:
    """Samples, labels and weights (N,) float64 or None, without the samples of weight 0."""
    if sample_weight is None:
        return X, codes, None
    check_plain(name, sample_weight)
    n_samples = len(codes)
    if isinstance(sample_weight, Real):
        sample_weight = np.full(n_samples, sample_weight)
    weights = check_array(_host(sample_weight), ensure_2d=False, dtype=np.float64, input_name=name)
    if weights.shape != (n_samples,):
        raise ValueError(f"`{name}` must have shape ({n_samples},); got {weights.shape}")
    if weights.min() < 0:
        raise ValueError(f"`{name}` must be at least 0; got a weight of {weights.min():g}")
    if not weights.any():
        raise ValueError(f"`{name}` must hold a weight above zero; got 0 for every sample")
    weights = rescaled(weights, xp=array_namespace(weights))
    if weights.all():
        return X, codes, weights
    rows = np.flatnonzero(weights)
    return _rows(X, rows), codes[rows], weights[rows]


def _rows(X: Array, rows: HostArray) -> Array:
    return array_namespace(X).take(X, _beside(rows, X), axis=0)


def _beside(host: HostArray, X: Array) -> Array:
    """Copy a host array to the library and the device of X."""
    return from_host(host, xp=array_namespace(X), device=device(X))


def _labels_beside(classes: HostArray, X: Array) -> Array:
    """Classes beside X, or as they are where X's library cannot have them."""
    xp = array_namespace(X)
    there = xp.__array_namespace_info__().dtypes(device=device(X))
    return _beside(classes, X) if dtype_name(classes.dtype) in there else classes


def _new_net(X: Array, classes: HostArray, settings: Settings, seed: int) -> TwoLayerNet:
    return TwoLayerNet.initialize(
        X.shape[1],
        settings.n_hidden,
        len(classes),
        rng=seed,
        xp=array_namespace(X),
        dtype=X.dtype,
        device=device(X),
    )
