"""Plans of sweeps: the parts to train, and the joining of their results."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from .comparison import Row
from .halving import Rung, rows_at, worst
from .outcome import outcome, with_network
from .parts import Networks, Part, PartResult
from .results import SweepResult


@dataclass(frozen=True, repr=False, eq=False)
class SweepPlan:
    """A sweep in parts, as `plan` returns it.

    Run each of ``parts``, in any order and by any processes that have the samples, and pass their results to
    `join`. It returns the next plan. Repeat this until a plan has no parts. The ``result`` of that plan is
    the result of `sweep`, with NumPy to the bit. A plan never changes.

    Parameters
    ----------
    parts : tuple of Part
        The parts that can be run now. With ``halving`` they are the parts of one rung, and `join` returns the
        plan of the next rung. With ``folds`` and ``refit="all"``, a last part trains the best candidate on
        all samples. The plan that has the result has no parts.
    result : SweepResult or None
        The result of the sweep; None if there are parts to run.
    rungs, rung_of, judged, networks
        The state that `join` needs. It may change in any version.

    Examples
    --------
    >>> import twolayer
    >>> digits = twolayer.datasets.load_digits()
    >>> data = {"X": digits.train.X, "y": digits.train.y, "validation": digits.validation}
    >>> plan = twolayer.plan(**data, grid={"learning_rate": [1e-4, 1e-3], "seed": [0, 1]}, epochs=2)
    >>> plan
    SweepPlan(4 networks, 2 parts to run)
    >>> while plan.parts:
    ...     results = [part.run(**data) for part in plan.parts]  # in this process, or elsewhere
    ...     plan = plan.join(results)
    >>> plan.result.best.settings["learning_rate"]
    0.001
    """

    parts: tuple[Part, ...]
    result: SweepResult | None = None
    networks: Networks = field(kw_only=True)
    rungs: tuple[Rung, ...] = ()  # the rungs ahead
    rung_of: dict[int, Rung] = field(
        default_factory=dict
    )  # the rung at which each network left, by its number
    judged: SweepResult | None = None  # the result so far, before the network of all samples is trained

    def __repr__(self) -> str:
        return f"SweepPlan({len(self.networks.rows)} networks, {len(self.parts)} parts to run)"

    def join(self, results: Iterable[PartResult]) -> SweepPlan:
        """Return the plan of the parts that come next, or the plan that has the result.

        Parameters
        ----------
        results : iterable of PartResult
            One result for each of ``parts``, in any order.

        Returns
        -------
        SweepPlan

        Raises
        ------
        ValueError
            If a part has no result or two; if a result is that of another plan; or if a callback stopped the
            training of a part.
        """
        found = sorted(results, key=lambda one: one.number)
        came, wanted = ([one.number for one in ones] for ones in (found, self.parts))
        if came != wanted:
            raise ValueError(f"`results` must hold one result for each of the parts {wanted}; got {came}")
        for part, one in zip(self.parts, found, strict=True):
            if not part.is_source_of(one):
                raise ValueError(f"`results` must be those of this plan; {part!r} got another plan's result")
        for one in found:
            if not one.complete:
                raise ValueError(
                    "`results` must be those of parts that were trained to the end; a callback stopped part "
                    f"{one.number} after {one.run.n_steps} steps"
                )
        if self.judged is not None:
            return replace(self, parts=(), result=with_network(self.judged, found[0]))
        if self.rungs:
            return self._after_rung(found)
        judged, n_epochs = outcome(self.networks, found, self.rung_of, stopped=False)
        if judged.best is None or not self.networks.trains_on_all:
            return replace(self, parts=(), result=judged)
        shared, last = self.networks.shared, self.parts[0].n_parts
        of_all = replace(shared.settings, validation=None, folds=None, patience=None, judge="last")
        shared = replace(shared, settings=of_all)
        part = Part(last, last, [judged.best.settings], shared, epochs=n_epochs)
        return replace(self, parts=(part,), judged=judged)

    def stopped(self, results: Iterable[PartResult]) -> SweepResult:
        """Return the result of a sweep that a callback stopped, from the results of some of the parts."""
        if self.judged is None:
            reached = (replace(one, complete=one.complete and not self.rungs) for one in results)
            return outcome(self.networks, reached, self.rung_of, stopped=True)[0]
        for one in results:
            if one.complete:
                return with_network(self.judged, one)
        return replace(self.judged, complete=False)

    def _after_rung(self, results: list[PartResult]) -> SweepPlan:
        """Return the plan of the next rung, or of the epochs after the last rung."""
        (rung, *others), networks = self.rungs, self.networks
        assert networks.halving is not None
        settings = networks.shared.settings
        rows: dict[int, Row] = {}
        for one, members in zip(results, networks.stacks, strict=True):
            rows |= rows_at(rung, one.run, members, networks.rows, settings)
        present = {i: rows[i] for i in sorted(rows) if i not in self.rung_of}
        leaving = worst(present, networks.names, networks.halving, settings.folds, settings.monitor)
        rung_of = self.rung_of | dict.fromkeys(leaving, rung)
        parts = tuple(
            replace(
                part,
                epochs=others[0].epochs if others else None,
                is_rung=bool(others),
                left=np.asarray([i in rung_of for i in members]),
                earlier=one.run,
            )
            for part, one, members in zip(self.parts, results, networks.stacks, strict=True)
        )
        return replace(self, parts=parts, rungs=tuple(others), rung_of=rung_of)


def begun(networks: Networks, rungs: tuple[Rung, ...]) -> SweepPlan:
    """Return the plan of a sweep before any part is run."""
    n_parts = len(networks.stacks) + networks.trains_on_all
    parts = tuple(
        Part(
            number,
            n_parts,
            [networks.rows[i] for i in members],
            networks.shared,
            epochs=rungs[0].epochs if rungs else None,
            is_rung=bool(rungs),
        )
        for number, members in enumerate(networks.stacks, start=1)
    )
    return SweepPlan(parts, networks=networks, rungs=rungs)
