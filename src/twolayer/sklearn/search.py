"""The search for the parameters of a network, which trains candidates and folds in stacks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid, ParameterSampler, check_cv
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils.validation import _check_method_params

from .._namespace import HostArray, array_namespace, dtype_name, own_dtypes
from .._validation import check_integer
from ..network import TwoLayerNet, rescaled
from ..stacks import stack
from ..training.data import check_class_weight
from ..training.execution import most_networks, running
from ..training.folds import Folds
from ..training.plan import PER_NETWORK, Plan, Settings, checked_data, planned
from ..training.run import Run, select
from ..training.trainer import Trainer, begun
from . import inputs
from .classifier import TwoLayerClassifier
from .epochs import Patience, validation_scores
from .inputs import Samples
from .parameters import OF_SETTINGS, checked_parameters, training_arguments
from .stacked import Trained, trained_ahead
from .tasks import NoContext, Task

# The parameters in which the networks of a stack may differ.
_OWN = tuple(name for name, setting in OF_SETTINGS.items() if setting in PER_NETWORK)
Split = tuple[HostArray, HostArray]


class TwoLayerSearchCV(BaseSearchCV):  # type: ignore[misc]
    """Search for the parameters of a `TwoLayerClassifier` by cross-validation.

    It has the parameters, attributes and methods of `sklearn.model_selection.GridSearchCV` and
    `RandomizedSearchCV`, but for ``n_jobs`` and ``pre_dispatch``. Candidates that differ in nothing but
    ``learning_rate_init``, ``reg``, ``dropout`` and ``label_smoothing`` train on all folds as one stack of
    networks, on the same batches, each without the samples that are held out from it; so batches are larger,
    by N over the samples that a fold trains on. With an integer ``random_state``, batches of all samples and
    no dropout, the scores are those of `GridSearchCV` up to rounding. Otherwise the two draw other batches,
    and their scores differ by chance.

    A network has as many outputs as its fold has classes: if a fold trains without a class, or on a sample
    twice, its networks are fitted one by one. So are all networks with ``X_val``, or with callbacks of the
    estimator; callbacks of the search see the epochs of the stacks. Put it last in a
    `sklearn.pipeline.Pipeline`; what comes before is then fitted to all samples of the search, those of all
    folds.

    Parameters
    ----------
    estimator : TwoLayerClassifier
        Its parameters hold where a candidate does not name others.
    param_grid : dict or list of dict, optional
        Values to combine, by the names of parameters, as for `sklearn.model_selection.ParameterGrid`.
    param_distributions : dict or list of dict, optional
        In place of these, values or distributions to draw candidates from, as for
        `sklearn.model_selection.ParameterSampler`; distributions of `twolayer.search` too.
    n_iter : int
        The number of candidates to draw.
    scoring : str, callable, list, tuple, dict or None
        What candidates are judged by, as for `GridSearchCV`; by default the accuracy.
    refit : bool, str or callable
        Whether the best candidate is fitted to all samples; and by which of several scores it is the best.
    cv : int, splitter, iterable or None
        How the samples are divided: 5 folds by default, each class alike.
    verbose : int
        As for `GridSearchCV`.
    random_state : int, RandomState instance or None
        The seed of the candidates that are drawn.
    error_score : "raise" or number
        The score of a network whose training diverges.
    return_train_score : bool
        Whether ``cv_results_`` has scores on the samples of training too.

    Attributes
    ----------
    cv_results_ : dict of arrays
        A row for each candidate, as of `GridSearchCV`. Times of fitting are without those of the stacks.
    best_estimator_ : TwoLayerClassifier
        The best candidate, fitted to all samples.
    best_params_ : dict
        Its parameters.
    best_score_ : float
        Its mean score over the folds.
    best_index_ : int
        Its row.
    scorer_ : callable or dict
        What it was judged by.
    n_splits_ : int
        The number of folds.
    refit_time_ : float
        Seconds that fitting it to all samples took.
    classes_, n_features_in_, feature_names_in_
        Those of ``best_estimator_``.

    See Also
    --------
    twolayer.sweep : The same without scikit-learn, for arrays of any library, with `folds`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from twolayer.sklearn import TwoLayerClassifier, TwoLayerSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> search = TwoLayerSearchCV(
    ...     TwoLayerClassifier(random_state=0), {"reg": [0, 1e-3, 1e-2], "dropout": [0, 0.2]}).fit(X, y)
    >>> len(search.cv_results_["params"])
    6
    >>> bool(search.best_score_ > 0.93)
    True
    """

    def __init__(
        self,
        estimator: TwoLayerClassifier,
        param_grid: Any = None,
        *,
        param_distributions: Any = None,
        n_iter: int = 10,
        scoring: Any = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        random_state: Any = None,
        error_score: Any = np.nan,
        return_train_score: bool = False,
    ) -> None:
        super().__init__(
            estimator,
            scoring=scoring,
            n_jobs=1,  # networks are fitted in their order, each with the run that was trained for it
            refit=refit,
            cv=cv,
            verbose=verbose,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.param_grid, self.param_distributions = param_grid, param_distributions
        self.n_iter, self.random_state = n_iter, random_state

    def fit(self, X: Any, y: Any = None, **params: Any) -> TwoLayerSearchCV:
        """Train all candidates on all folds, and the best of them on all samples.

        Parameters
        ----------
        X : array-like (N, D)
            Samples, as for `TwoLayerClassifier.fit`.
        y : array-like (N,)
            A label for each.
        **params
            Weights and validation samples, as for `TwoLayerClassifier.fit`, and ``groups`` for the splitter,
            as for `GridSearchCV.fit`.

        Returns
        -------
        TwoLayerSearchCV
            The search itself.

        Raises
        ------
        TypeError
            If ``estimator`` is another estimator.
        ValueError
            As `TwoLayerClassifier.fit`; and if not exactly one of ``param_grid`` and ``param_distributions``
            is given.
        """
        if not isinstance(self.estimator, TwoLayerClassifier):
            raise TypeError(f"`estimator` must be a TwoLayerClassifier; got {type(self.estimator).__name__}")
        self._given = X, y, params
        cv: Any = self.cv
        self.cv: Any = check_cv(cv, y, classifier=True)  # which keeps what a generator yields
        try:
            super().fit(X, y, **params)
        finally:
            del self._given
            self.cv = cv
        return self

    def _run_search(self, evaluate_candidates: Callable[..., Any], *, callback_ctx: Any = None) -> None:
        """Train all candidates on all folds, and let scikit-learn fit and score them."""
        X, y, params = self._given
        candidates = list(self._candidates())
        routed = self._get_routed_params_for_fit(_check_method_params(X, params))
        splits = list(self.cv.split(X, y, **routed.splitter.split))
        models = [clone(self.estimator).set_params(**clone(one, safe=False)) for one in candidates]
        context = NoContext() if callback_ctx is None else callback_ctx
        search = Task(context.subcontext(task_name="search", max_subtasks=2), estimator=self, X=X, y=y)
        stacks = search.part("train-stacks", max_subtasks=None)
        fit = {name: value for name, value in routed.estimator.fit.items() if value is not None}
        runs: list[Trained | None] = []
        # Callbacks of the estimator see its epochs and may end it; a stack has no other validation samples.
        if not hasattr(self.estimator, "_skl_callbacks") and fit.keys() <= {"sample_weight"}:
            runs = _trained_together(models, X, y, fit.get("sample_weight"), splits, stacks)
        stacks.end()
        n_fits = len(candidates) * len(splits)
        fits = search.part("fit-and-score", max_subtasks=n_fits, sequential_subtasks=False)
        options = {} if callback_ctx is None else {"callback_ctx": fits.context}
        with trained_ahead(runs):
            evaluate_candidates(candidates, cv=check_cv(splits), **options)
        fits.end()
        search.end()

    def _candidates(self) -> Iterable[Mapping[str, Any]]:
        given = [one for one in (self.param_grid, self.param_distributions) if one is not None]
        if len(given) != 1:
            came = "both" if given else "neither"
            raise ValueError(f"`param_grid` or `param_distributions` must be given, not both; got {came}")
        if self.param_grid is not None:
            return ParameterGrid(self.param_grid)  # type: ignore[no-any-return]
        n_iter = check_integer("n_iter", self.n_iter, least=1)
        return ParameterSampler(self.param_distributions, n_iter, random_state=self.random_state)  # type: ignore[no-any-return]


def _trained_together(
    models: list[TwoLayerClassifier],
    X: Any,
    y: Any,
    sample_weight: Any,
    splits: list[Split],
    task: Task,
) -> list[Trained | None]:
    """Return the run of each model on each split; None where a model must be fitted by itself."""
    found: list[Trained | None] = [None] * (len(models) * len(splits))
    each: dict[int, SimpleNamespace] = {}  # the checked parameters of the models that can train
    shared: list[dict[str, Any]] = []  # the parameters of each group that trains together
    groups: list[list[int]] = []
    for i, model in enumerate(models):
        try:
            if model.random_state is not None:  # else all have one seed of chance
                model.set_params(random_state=model._seed())
            each[i] = checked_parameters(model.get_params(deep=False))
        except (TypeError, ValueError):
            continue  # its own `fit` raises this again
        same = {name: value for name, value in model.get_params(deep=False).items() if name not in _OWN}
        if same not in shared:
            shared.append(same)
            groups.append([])
        groups[shared.index(same)].append(i)
    for members in groups:
        model, parameters = models[members[0]], each[members[0]]
        seed = model._seed()
        samples = model._samples(X, y, None, None)
        weights = inputs.checked_weights(sample_weight, samples.codes, name="sample_weight")
        samples = samples._replace(weights=weights)
        folds = _folds(model, samples, splits, parameters, seed)
        sizes = parameters.hidden_layer_size, min(parameters.batch_size, len(samples.codes))
        size = max(1, most_networks(array_namespace(samples.X), *sizes, samples.X.dtype) // len(splits))
        for first in range(0, len(members) if folds else 0, size):
            part = members[first : first + size]
            for i, split, trained in _trained_stack([each[i] for i in part], samples, folds, seed, task):
                found[part[i] * len(splits) + split] = trained
    return found


class _Fold(NamedTuple):
    """A split of the samples that estimators train on in a stack."""

    split: int
    rows: HostArray  # of the samples that are trained on
    aside: HostArray  # of those that are set aside for `early_stopping`
    weights: HostArray | None  # (N,) with class weights, 0 where a sample is not trained on


def _folds(
    model: TwoLayerClassifier,
    samples: Samples,
    splits: list[Split],
    parameters: SimpleNamespace,
    seed: int,
) -> list[_Fold]:
    """Return the splits that can train in a stack; on the others an estimator must be fitted by itself."""
    folds = []
    for split, (train, _) in enumerate(splits):
        rows = np.arange(len(samples.codes))[np.asarray(train)]  # of a mask too
        rows = rows if samples.weights is None else rows[samples.weights[rows] > 0]
        codes, aside = samples.codes[rows], rows[:0]
        if len(np.unique(codes)) < len(samples.classes) or len(np.unique(rows)) < len(rows):
            continue  # its network has fewer outputs; or a sample comes twice, as in a bootstrap
        try:
            if parameters.early_stopping:
                own, others = inputs.set_aside(codes, parameters, seed)
                rows, aside = rows[own], rows[others]
            folds.append(_Fold(split, rows, aside, _weights(model, samples, rows)))
        except (TypeError, ValueError):
            continue  # its own `fit` raises this again
    return folds


def _trained_stack(
    each: list[SimpleNamespace], samples: Samples, folds: list[_Fold], seed: int, task: Task
) -> Iterator[tuple[int, int, Trained]]:
    """Train models that differ in ``_OWN`` alone, on all folds; yield the place, the split and the run."""
    parameters, n_models, n_folds = each[0], len(each), len(folds)
    arguments = [training_arguments(one) for one in each]
    own = {name: [one[name] for one in arguments] * n_folds for name in PER_NETWORK}
    X, labels, weights = samples.arrays()
    settings = Settings(
        sample_weight=weights,
        **(arguments[0] | own),
        input_dropout=0.0,
        epochs=parameters.max_iter,
        rng=seed,
        folds=Folds(tuple(fold.rows for fold in folds), tuple(fold.aside for fold in folds)),
        fold=np.repeat(np.arange(n_folds, dtype=np.int32), n_models),
    )
    nets = stack([samples.network(parameters.hidden_layer_size, seed)] * (n_models * n_folds))
    data = checked_data(nets, X, labels, settings)
    of_folds = [fold.weights for fold in folds if fold.weights is not None]
    if of_folds:
        weights = inputs.beside(X, np.stack(of_folds, axis=1).astype(dtype_name(X.dtype)))
        data = replace(data, train=data.train._replace(sample_weight=weights))
    if not parameters.early_stopping:
        data = replace(data, validation=None)
    runs, losses, ended = _run(nets, planned(nets, data, settings), parameters, task)
    for k, (fold, i) in enumerate(itertools.product(folds, range(n_models))):
        run = select(runs, k)
        run = replace(run, history=run.history.until(ended[k]))
        of_epochs = losses[: len(run.history.step), k].tolist()
        yield i, fold.split, Trained(run, of_epochs, each[i], seed, samples.codes[fold.rows])


def _weights(model: TwoLayerClassifier, samples: Samples, rows: HostArray) -> HostArray | None:
    """Return the weight of each sample (N,) for a fold that trains on these rows, 0 for others.

    None without weights of classes; raise unless these are as they must be.
    """
    taken = None if samples.weights is None else samples.weights[rows]
    of_class = model._class_weights(Samples(None, samples.codes[rows], taken, samples.classes))
    if of_class is None:
        return None
    of_class = check_class_weight(of_class, samples.codes, len(samples.classes), xp=np)
    weights = np.zeros(len(samples.codes))
    weights[rows] = of_class[samples.codes[rows]] * (1.0 if taken is None else taken)
    return np.asarray(rescaled(weights, xp=array_namespace(weights)))


def _run(
    nets: TwoLayerNet, plan: Plan, parameters: SimpleNamespace, task: Task
) -> tuple[Run, HostArray, HostArray]:
    """Train a stack; return its run, the epochs' mean losses (n, K), and the steps of each network (K,)."""
    n_networks, per_epoch = len(plan.learning_rate), plan.batches.steps_per_epoch
    patience, losses = Patience(parameters, n_networks), []
    ended = np.full(n_networks, plan.steps)
    task = task.part("stack", max_subtasks=parameters.max_iter)
    with running(array_namespace(nets.W1)), own_dtypes(nets.W1):
        trainer = Trainer(plan, begun(nets, plan))
        for first in range(0, plan.steps, per_epoch):
            epoch = task.part("epoch")
            trainer.run(until=first + per_epoch)
            history = trainer.history()
            losses.append(trainer.judge.epoch_means(history.loss[:, first:].T, first))
            judged = parameters.early_stopping
            over = patience.ended(validation_scores(history, parameters)[:, -1] if judged else -losses[-1])
            ended = np.where(over, np.minimum(ended, first + per_epoch), ended)
            trainer.leave(over)
            if epoch.end() or not trainer.members.present.size:
                break
        task.end()
        return trainer.result(measured=parameters.early_stopping), np.stack(losses), ended
