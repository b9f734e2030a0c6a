"""The result of a sweep: its table, its runs, and the best network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._namespace import HostArray
from ..network import TwoLayerNet
from ..preprocessing import Preprocessing, folded
from ..training import History
from ..training.folds import n_networks
from .comparison import Row

_MOST_ROWS = 20  # of the table that a notebook shows


@dataclass(frozen=True, repr=False)
class Best:
    """The winner of a sweep.

    Parameters
    ----------
    settings : dict
        The learning_rate, reg, n_hidden, batch_size, weight_scale, dropout, input_dropout, label_smoothing
        and seed of the network, and any other setting that was varied.
    net : TwoLayerNet or None
        Without folds, the network that was judged. With folds, the network that ``refit`` makes. It is None
        with ``refit=None``, if a callback stopped the sweep before the refit ended, or if that network
        diverged.
    history : History or None
        The history of the network's training; None for a merged network.
    row : dict
        Without folds, the network's row of `SweepResult.runs`. With folds, its settings;
        ``validation_accuracy`` and ``validation_loss``, the means over the candidate's seeds and folds; and
        ``train_accuracy`` of the network of all samples, or the mean over seeds and folds without such a
        network.
    candidate : dict
        The candidate's row of `SweepResult.table`, which is for all seeds of these settings.
    preprocessing : Preprocessing or None
        The fitted preprocessing of the network's samples. It is not folded into ``net``, which takes
        preprocessed samples; ``folded`` takes samples as they are.
    """

    settings: dict[str, Any]
    net: TwoLayerNet | None
    history: History | None
    row: dict[str, Any]
    candidate: dict[str, Any]
    preprocessing: Preprocessing | None = None

    @property
    def folded(self) -> TwoLayerNet | None:
        """The network with any ``preprocessing`` folded into it, which takes samples as they are."""
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
        The best seed of the best candidate. The best candidate has the highest mean validation accuracy, or
        with ``monitor="loss"`` the lowest mean validation loss. Candidates with a diverged network come after
        all others. With ``halving``, a candidate that left at a rung is never the best. If a callback stopped
        the sweep before any candidate was trained to the end, it is the best so far. It is None if every
        network that could win diverged.
    table : list of dict
        A row for each candidate, in the order of the settings. A row has the settings; ``n_seeds``;
        ``diverged``, the number of networks that diverged; ``train_accuracy`` and ``validation_accuracy``,
        the means over the networks that did not diverge (nan if all diverged); ``validation_accuracy_std``,
        their sample standard deviation (nan for fewer than two); ``validation_accuracy_error``;
        ``validation_loss``, their mean cross-entropy; ``rank``, 1 for the best; and the comparison with the
        best, which the notes describe. With folds a row also has ``n_folds`` and ``n_networks``, and means
        and deviation are over all seeds and folds. With ``halving`` it also has ``rung``, the number of the
        rung at which the candidate left, from 1, or None if it was trained to the end.
    runs : list of dict
        A row for each network. A row has the settings and ``seed``; with folds ``fold``, counted from 0;
        ``n_steps``, the number of steps taken; ``diverged``, the step or None; ``best_step``, as in `Run`;
        ``train_accuracy``, ``validation_accuracy`` and ``validation_loss`` of the network that was judged;
        and with ``halving`` the ``rung`` of its candidate. A network that left at a rung is judged in its
        state at that rung.
    histories : list of History
        The history of each of ``runs``.
    complete : bool
        False if a callback stopped the sweep before its last step. ``runs`` then contains every network that
        was validated at least once. ``table`` and ``best`` use the networks that finished, or all networks if
        none was trained to the end.
    folds : tuple of (rows, rows), or None
        The rows that each fold trains on, and the rows that it holds out.
    monitor : "accuracy" or "loss"
        Whether candidates and seeds were ranked by the validation accuracy or by the validation loss.

    Notes
    -----
    An accuracy is uncertain for two reasons. The first is the choice of validation samples: other samples
    would give another accuracy. ``validation_accuracy_error`` of a row is the binomial standard error,
    √(p (1 − p) / N). More seeds do not make it smaller. All candidates are judged by the same samples, so it
    overstates the error of a difference between two candidates.

    The second reason is the seed. ``n_pairs`` of a row is the number of seeds that the candidate and the best
    one have in common, without seeds of which a network diverged. ``difference`` is the mean over these seeds
    of the candidate's validation accuracy minus the best's *in pairs* (with ``monitor="loss"``, the best's
    loss minus the candidate's). ``difference_error`` is the standard error of that mean, s / √n.
    ``difference_margin`` is the half width of its 95 % confidence interval, by Student's t distribution with
    n − 1 degrees of freedom [1]_: 12.7, 4.3, 3.2 and 2.8 standard errors for 2, 3, 4 and 5 pairs. For
    accuracies, the least s is 1 / (N √12), the standard deviation of an error of rounding to 1 / N.

    With folds, a pair has the same seed and the same fold. Different folds train on many of the same samples,
    so the standard error is s · √(1/n + n_test / n_train) [2]_. In √(p (1 − p) / N), N is the number of
    different samples that are held out. In 1 / (N √12), N is the mean number that a fold holds out.

    ``within_noise`` is True for a candidate whose difference can be chance, and for the best itself. It is
    False for a candidate that is clearly behind. It is None if that is unknown: with fewer than two pairs, or
    for a candidate that left at a rung, because its network is less trained than the best.

    Each interval is for one comparison that was chosen in advance. The best candidate is chosen afterwards
    from many, so luck has a part in it. On average its accuracy is too high, a difference is too large, and
    among many candidates a few are called clearly behind that are not. If it matters, train the first few
    again from other seeds.

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
        """Return a table of the best candidates for notebooks, the best first."""
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
    return f"of one {unit}" if n_alive == 1 else f"mean of {n_alive} {unit}s {mean:.4f}, SD {std:.4f}"
