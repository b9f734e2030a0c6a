"""The result of a sweep: its table, its runs, and the best of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._namespace import HostArray
from ..network import TwoLayerNet
from ..preprocessing import Preprocessing, folded
from ..training import History
from ..training.folds import n_networks
from .comparison import Row

_MOST_ROWS = 20  # that a notebook shows


@dataclass(frozen=True, repr=False)
class Best:
    """The winner of a sweep.

    Parameters
    ----------
    settings : dict
        Its learning_rate, reg, n_hidden, batch_size, weight_scale, dropout, input_dropout, label_smoothing
        and seed, and what else was varied.
    net : TwoLayerNet or None
        Without folds the network that was judged; with folds the one that ``refit`` asks for. None with
        ``refit=None``, if a callback stopped the sweep before the refit ended, or if that network diverged.
    history : History or None
        The course of its training; None for a network that was merged.
    row : dict
        Without folds, its row of `SweepResult.runs`. With folds its settings; ``validation_accuracy`` and
        ``validation_loss``, means over the candidate's seeds and folds; and ``train_accuracy``, that
        of the network of all samples, or the same kind of mean if there is none.
    candidate : dict
        Its row of `SweepResult.table`: of all seeds of these settings.
    preprocessing : Preprocessing or None
        The fitted preprocessing of the network's samples. It is not folded into ``net``, which takes what it
        returns; ``folded`` takes samples as they are.
    """

    settings: dict[str, Any]
    net: TwoLayerNet | None
    history: History | None
    row: dict[str, Any]
    candidate: dict[str, Any]
    preprocessing: Preprocessing | None = None

    @property
    def folded(self) -> TwoLayerNet | None:
        """The network that takes samples as they are: ``net``, with any ``preprocessing`` folded into it."""
        return None if self.net is None else folded(self.net, self.preprocessing)

    def __repr__(self) -> str:
        return (
            f"Best({self.settings}, validation_accuracy={self.row['validation_accuracy']:.4f}, "
            f"{_mean_in_words(self.candidate)})"
        )


@dataclass(frozen=True, repr=False)
class SweepResult:
    """Result of `sweep`.

    Parameters
    ----------
    best : Best or None
        The best seed of the candidate with the highest mean validation accuracy, or with ``monitor="loss"``
        the lowest mean validation loss; candidates of which a network diverged come after all others. None if
        every network that could win diverged. With ``halving`` it is a candidate that never left at a rung.
        If a callback stopped the sweep before any candidate was trained to the end, it is the best so far.
    table : list of dict
        A row for each candidate, in the order of the settings: its settings; ``n_seeds``; ``diverged``, how
        many of them diverged; ``train_accuracy`` and ``validation_accuracy``, means over the seeds that did
        not (nan without any); ``validation_accuracy_std``, their sample standard deviation (nan below two);
        ``validation_loss``, their mean cross-entropy; ``rank``, 1 for the best; and how sure that is, see
        below. With folds also ``n_folds`` and ``n_networks``; means and
        deviation are then over all networks, of seeds and folds. With ``halving`` also ``rung``, the number
        of the rung at which it left, from 1, or None where it was trained to the end.
    runs : list of dict
        A row for each network: its settings and ``seed``; with folds ``fold``, counted from 0;
        ``n_steps``, the steps taken; ``diverged``, the step or None; ``best_step``, as of `Run`;
        ``train_accuracy``, ``validation_accuracy`` and ``validation_loss`` of the network that was judged;
        and with ``halving``
        the ``rung`` of its candidate. A network that left at a rung is judged as it was then.
    histories : list of History
        The history of each of ``runs``.
    complete : bool
        False if a callback stopped the sweep before its last step. ``runs`` then contains every network that
        was validated at least once; ``table`` and ``best`` use those that finished, or all of them if none
        was trained to the end.
    folds : tuple of (rows, rows), or None
        The rows that each fold trains on, and those that it holds out.
    monitor : "accuracy" or "loss"
        Whether candidates and seeds were ranked by the validation accuracy or by the validation loss.

    Notes
    -----
    Two things make an accuracy uncertain. The first is the validation samples: on as many others it would be
    another. ``validation_accuracy_error`` of a row is the binomial standard error, √(p (1 − p) / N). More
    seeds do not make it smaller. All candidates are judged by the same samples, so it overstates the error of
    a difference between two.

    The second is the seed. ``n_pairs`` of a row is how many seeds the candidate and the best one have in
    common, of those that did not diverge; ``difference`` the mean over these of its validation accuracy minus
    the best's *in pairs* (with ``monitor="loss"`` the best's loss minus its own); ``difference_error`` the
    standard error of that mean, s / √n; and ``difference_margin`` the half width of its 95 % confidence
    interval, by Student's t distribution with n − 1 degrees of freedom [1]_: 12.7, 4.3, 3.2 and 2.8 standard
    errors for 2, 3, 4 and 5 pairs. For accuracies, s is taken as no less than 1 / (N √12), by which the grain
    of an accuracy alone would scatter.

    With folds the pairs are of a seed and a fold. As they train on many of the same samples, the standard
    error is then s · √(1/n + n_test / n_train) [2]_. N is the number of different samples that are held out
    in √(p (1 − p) / N), and the mean number that a fold holds out in 1 / (N √12).

    ``within_noise`` is True of a candidate whose difference such scatter explains (and of the best itself),
    False of one that is clearly behind, and None where it is not known: of fewer than two pairs, or of a
    candidate that left at a rung, whose network is less trained than the best.

    Each interval is of one comparison that was chosen beforehand. The best is chosen afterwards, as the best
    of many, and so partly for its luck: its accuracy is too high on average, a difference too large, and of
    many candidates a few are called clearly behind that are not. Where it matters, train the first few again
    from other seeds.

    References
    ----------
    .. [1] Student, "The probable error of a mean", Biometrika 6 (1908), doi:10.1093/biomet/6.1.1
    .. [2] C. Nadeau and Y. Bengio, "Inference for the generalization error", Machine Learning 52 (2003),
       doi:10.1023/A:1024068626366
    """

    best: Best | None
    table: list[dict[str, Any]]
    runs: list[dict[str, Any]]
    histories: list[History]
    complete: bool
    folds: tuple[tuple[HostArray, HostArray], ...] | None = None
    monitor: str = "accuracy"

    def __repr__(self) -> str:
        return f"SweepResult(candidates={len(self.table)}, runs={len(self.runs)}, best={self.best!r})"

    def _repr_html_(self) -> str:
        """Return the best candidates as a table, the best first, which notebooks show."""
        from .._html import table
        from ..report.formatting import count
        from ..report.tables import legend, ranked, sweep_columns

        columns = sweep_columns(ranked(self.table), self.runs, self.monitor)
        notes = legend(self.table)
        if len(self.table) > _MOST_ROWS:
            notes.insert(0, f"and {count(len(self.table) - _MOST_ROWS, 'other candidate')}")
        title = f"Sweep: {count(len(self.table), 'candidate')}, {count(len(self.runs), 'network')}"
        rows = zip(*(one.texts[:_MOST_ROWS] for one in columns), strict=True)
        return table(title, rows, heads=[one.heading for one in columns], notes=notes)


def _mean_in_words(candidate: Row) -> str:
    """Describe the accuracy of a candidate over its seeds and folds."""
    unit = "network" if "n_folds" in candidate else "seed"
    n_alive = n_networks(candidate) - candidate["diverged"]
    mean, std = candidate["validation_accuracy"], candidate["validation_accuracy_std"]
    return f"of one {unit}" if n_alive == 1 else f"of {n_alive} {unit}s {mean:.4f} ± {std:.4f}"
