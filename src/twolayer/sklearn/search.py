"""A search for the parameters of the estimator, which trains candidates and folds in stacks."""

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
    `RandomizedSearchCV`, except ``n_jobs`` and ``pre_dispatch``. Candidates that differ only in
    ``learning_rate_init``, ``reg``, ``dropout`` and ``label_smoothing`` train on all folds as one stack of
    networks. The stack shares its batches, and each network ignores the samples that its fold holds out. To
    compensate, batches are larger by the factor N / (number of training samples of the fold). With an integer
    ``random_state``, batches of all samples and no dropout, the scores are those of `GridSearchCV` up to
    rounding. Otherwise the batches differ, and so do the scores, by chance.

    The networks of a fold are fitted one by one if its training samples contain a sample twice or lack a
    class, because a network has as many outputs as its training samples have classes. All networks are fitted
    one by one with ``X_val``, or with callbacks of the estimator. Callbacks of the search receive the epochs
    of the stacks. In a `sklearn.pipeline.Pipeline`, the search must be the last step. Earlier steps are then
    fitted to the samples of all folds.

    Parameters
    ----------
    estimator : TwoLayerClassifier
        The estimator. Its parameters apply unless a candidate sets them.
    param_grid : dict or list of dict, optional
        Values to combine, by the names of parameters, as for `sklearn.model_selection.ParameterGrid`.
    param_distributions : dict or list of dict, optional
        Alternative to ``param_grid``: values or distributions from which to draw candidates, as for
        `sklearn.model_selection.ParameterSampler`. Distributions of `twolayer.search` are accepted too.
    n_iter : int
        Number of candidates to draw from ``param_distributions``.
    scoring : str, callable, list, tuple, dict or None
        Score or scores of the candidates, as for `GridSearchCV`. The default is the accuracy.
    refit : bool, str or callable
        Whether to fit the best candidate to all samples; with several scores, the score or function that
        selects it, as for `GridSearchCV`.
    cv : int, splitter, iterable or None
        The splits, as for `GridSearchCV`. The default is 5 stratified folds.
    verbose : int
        As for `GridSearchCV`.
    random_state : int, RandomState instance or None
        Seed of the drawn candidates.
    error_score : "raise" or number
        Score of a network whose fit fails, for example because its training diverges.
    return_train_score : bool
        Whether ``cv_results_`` also contains scores on the training samples.

    Attributes
    ----------
    cv_results_ : dict of arrays
        One row for each candidate, as for `GridSearchCV`. Fit times do not include the training of stacks.
    best_estimator_ : TwoLayerClassifier
        The best candidate, fitted to all samples.
    best_params_ : dict
        Parameters of the best candidate.
    best_score_ : float
        Mean score of the best candidate over the folds.
    best_index_ : int
        Row of the best candidate in ``cv_results_``.
    scorer_ : callable or dict
        The scorer or scorers.
    n_splits_ : int
        Number of splits.
    refit_time_ : float
        Seconds for fitting the best candidate to all samples.
    classes_, n_features_in_, feature_names_in_
        Attributes of ``best_estimator_``.

    See Also
    --------
    twolayer.sweep : A search without scikit-learn for arrays of any library, with its argument ``folds``.

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
            n_jobs=1,  # `trained_ahead` relies on the order in which networks are fitted
            refit=refit,
            cv=cv,
            verbose=verbose,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.param_grid, self.param_distributions = param_grid, param_distributions
        self.n_iter, self.random_state = n_iter, random_state

    def fit(self, X: Any, y: Any = None, **params: Any) -> TwoLayerSearchCV:
        """Train all candidates on all folds, and fit the best candidate to all samples.

        Parameters
        ----------
        X : array-like (N, D)
            Samples, as for `TwoLayerClassifier.fit`.
        y : array-like (N,)
            Label of each sample.
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
            As for `TwoLayerClassifier.fit`; also if ``estimator`` is not a TwoLayerClassifier.
        ValueError
            As for `TwoLayerClassifier.fit`; also unless exactly one of ``param_grid`` and
            ``param_distributions`` is given.
        """
        if not isinstance(self.estimator, TwoLayerClassifier):
            raise TypeError(
                f"`estimator` must be a TwoLayerClassifier; got {type(self.estimator).__name__}; in a "
                "pipeline, the search itself is the last step"
            )
        self._given = X, y, params
        cv: Any = self.cv
        self.cv: Any = check_cv(cv, y, classifier=True)  # stores the splits of a generator, to use them twice
        try:
            super().fit(X, y, **params)
        finally:
            del self._given
            self.cv = cv
        return self

    def _run_search(self, evaluate_candidates: Callable[..., Any], *, callback_ctx: Any = None) -> None:
        """Train all candidates on all folds in stacks, then let scikit-learn fit and score them."""
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
        # No stacks with callbacks of the estimator, which need its own epochs and may stop it, nor with given
        # validation samples, because a stack can only validate on training samples that are set aside.
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
    """Return the run of each model on each split, or None if the model must be fitted on its own."""
    found: list[Trained | None] = [None] * (len(models) * len(splits))
    each: dict[int, SimpleNamespace] = {}  # the checked parameters of the models that can train
    shared: list[dict[str, Any]] = []  # the parameters of each group that trains together
    groups: list[list[int]] = []
    for i, model in enumerate(models):
        try:
            if model.random_state is not None:  # otherwise all models share one random seed
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
    """A split of the samples for training in a stack."""

    split: int  # index of the split
    rows: HostArray  # rows of the training samples
    aside: HostArray  # rows set aside for `early_stopping`
    weights: HostArray | None  # (N,) sample weights times class weights, 0 for samples not trained on


def _folds(
    model: TwoLayerClassifier,
    samples: Samples,
    splits: list[Split],
    parameters: SimpleNamespace,
    seed: int,
) -> list[_Fold]:
    """Return the splits that can train in a stack. On other splits, estimators are fitted one by one."""
    folds = []
    for split, (train, _) in enumerate(splits):
        rows = np.arange(len(samples.codes))[np.asarray(train)]  # `train` may be a mask
        rows = rows if samples.weights is None else rows[samples.weights[rows] > 0]
        codes, aside = samples.codes[rows], rows[:0]
        if len(np.unique(codes)) < len(samples.classes) or len(np.unique(rows)) < len(rows):
            continue  # the network would have fewer outputs, or a sample occurs twice, as in a bootstrap
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
    """Train models that differ only in ``_OWN`` on all folds; yield (index in ``each``, split, run)."""
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
    """Return the weight of each sample (N,) for a fold that trains on these rows, 0 for other samples.

    Returns None without class weights, and raises unless the class weights are valid.
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
