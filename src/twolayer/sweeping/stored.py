"""The folder of a sweep that can be resumed: its plan, and the run of each part."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

from .._files import remove_partial, written_whole
from .._records import Kind, checked, is_list, is_mapping, is_text, read_json_object
from ..training.checkpoint import save_run
from ..training.fingerprint import Fingerprint, check_same, described, described_preprocessing
from .candidates import stacks_of
from .parts import Checkpoint, Networks, Part, PartResult
from .plans import SweepPlan, begun

PLAN = "plan.json"

_ADVICE = "A sweep goes on with its own settings and data; only candidates and seeds may be added"
_FORMAT = {"format": "twolayer sweep", "format_version": 1}
_KINDS = {
    "format": Kind(repr(_FORMAT["format"]), lambda found: found == _FORMAT["format"]),
    "format_version": Kind(str(_FORMAT["format_version"]), lambda found: found == _FORMAT["format_version"]),
    "settings": Kind("an object of texts", lambda found: is_mapping(found, is_text)),
    "parts": Kind(
        "a list of lists of texts", lambda found: is_list(found, lambda part: is_list(part, is_text))
    ),
}
# Settings of `Settings` that a sweep keeps elsewhere, or that may change.
_LEFT_OUT = ("validation", "sample_weight", "callbacks", "stream", "fold", "rng", "batch_size")


class PartsFolder:
    """A folder with the plan of a sweep, and the run of each part.

    Parameters
    ----------
    path : Path
        The folder, which need not exist.
    seconds : float
        How many seconds pass at least between two checkpoints of a part.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self._path, self._seconds = path, seconds

    def resumed(self, plan: SweepPlan, data: Fingerprint | None = None) -> SweepPlan:
        """Return a plan with the parts that the folder has; its other networks make parts of their own.

        Parameters
        ----------
        plan : SweepPlan
        data : Fingerprint, optional
            Texts that distinguish the data from others, if they are not to be compared as the plan has them.

        Raises
        ------
        ValueError
            If two candidates cannot be told apart; if the folder is that of a sweep with other settings or
            data, or with candidates that the plan lacks; with halving, if it has other candidates at all.
        OSError
            If it cannot be written.
        """
        networks, file = plan.networks, self._path / PLAN
        if data is not None:
            networks = replace(networks, shared=replace(networks.shared, data=data))
        settings, names = described_settings(networks), [described(row) for row in networks.rows]
        twice = [name for name, n in Counter(names).items() if n > 1]
        if twice:
            raise ValueError(
                "with `resume`, candidates must have different descriptions, in which a function is only its "
                f"name; got two of {twice[0].removeprefix('dict')}"
            )
        stacks = networks.stacks
        if file.exists():
            stored = checked(read_json_object(file), _KINDS, file, needed=_KINDS)
            of_sweep = f"that of the sweep in {self._path}"
            check_same(settings, stored["settings"], whose=of_sweep, advice=_ADVICE)
            stacks = self._divided(networks, names, stored["parts"])
        self._path.mkdir(parents=True, exist_ok=True)
        remove_partial(file)
        record = _FORMAT | {"settings": settings, "parts": [[names[i] for i in own] for own in stacks]}
        with written_whole(file) as opened:
            opened.write(json.dumps(record, indent=1).encode())
        return begun(replace(networks, stacks=stacks), plan.rungs)

    def _divided(self, networks: Networks, names: list[str], parts: list[list[str]]) -> list[list[int]]:
        """Return the numbers of the networks of each part: those of the folder, and new ones."""
        earlier = [name for part in parts for name in part]
        if len({*earlier}) < len(earlier):
            raise ValueError(f"{self._path / PLAN} must have each network once; got one twice")
        numbers = {name: i for i, name in enumerate(names)}
        missing = [name for name in earlier if name not in numbers]
        if missing:
            raise ValueError(
                f"the candidates and seeds must include those of the sweep in {self._path}; "
                f"{missing[0].removeprefix('dict')} is missing"
            )
        if networks.halving is not None and len(earlier) < len(names):
            raise ValueError(
                f"the candidates and seeds must be those of the sweep in {self._path}, as `halving` compares "
                f"all of them; got {len(names)} networks in place of {len(earlier)}"
            )
        kept = [[numbers[name] for name in part] for part in parts]
        for part in kept:  # the file may have been edited
            rows, together = [networks.rows[i] for i in part], networks.shared.fit is None
            if len(stacks_of(rows, lambda _: len(names), folds_together=together)) != 1:
                raise ValueError(
                    f"`parts` in {self._path / PLAN} must be of networks that can train together; got others"
                )
        known = {i for part in kept for i in part}
        rest = ([i for i in members if i not in known] for members in networks.stacks)
        return [*kept, *filter(None, rest)]

    def checkpoint(self, part: Part) -> Checkpoint:
        """Return the file of a part's run."""
        text = described(part.members)
        if (
            part.epochs is not None and not part.is_rung
        ):  # the network of all samples, whose epochs depend on the folds
            text += f", {part.epochs} epochs"
        name = f"{blake2b(text.encode(), digest_size=8).hexdigest()}.safetensors"
        return Checkpoint(self._path / name, self._seconds)

    def save(self, part: Part, result: PartResult) -> None:
        """Save the run of a part."""
        save_run(result.run, self.checkpoint(part).path)


def described_settings(networks: Networks) -> Fingerprint:
    """Describe everything that the parts of a sweep have in common."""
    shared = networks.shared
    settings = {name: value for name, value in vars(shared.settings).items() if name not in _LEFT_OUT}
    fit, folds = shared.fit, shared.settings.folds
    return {
        **{name: described(value) for name, value in settings.items()},
        "preprocessing": described(fit) if fit else described_preprocessing(shared.settings.preprocessing),
        "folds": "None" if folds is None else f"{len(folds.trained)} folds, {described(folds)}",
        "n_classes": str(shared.n_classes),
        "dtype": shared.dtype,
        "halving": str(networks.halving),
        **shared.data,
    }
