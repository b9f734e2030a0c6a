"""The folder of a sweep that can be resumed, with its plan and the run of each part."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

from .._files import remove_partial, written_whole
from .._records import Kind, checked, is_list, is_mapping, is_text, read_json_object
from ..training.fingerprint import Fingerprint, check_same, described
from .parts import Checkpoint, Networks, Part
from .plans import SweepPlan, begun

PLAN = "plan.json"

_ADVICE = "A sweep resumes with its own settings and data; only candidates and seeds may be added"
_FORMAT = {"format": "twolayer sweep", "format_version": 1}
_KINDS = {
    "format": Kind(repr(_FORMAT["format"]), lambda found: found == _FORMAT["format"]),
    "format_version": Kind(str(_FORMAT["format_version"]), lambda found: found == _FORMAT["format_version"]),
    "settings": Kind("an object of texts", lambda found: is_mapping(found, is_text)),
    "parts": Kind(
        "a list of lists of texts", lambda found: is_list(found, lambda part: is_list(part, is_text))
    ),
}


class PartsFolder:
    """A folder with the plan of a sweep, and the run of each part.

    Parameters
    ----------
    path : Path
        The folder, which need not exist.
    seconds : float
        The least number of seconds between two checkpoints of a part.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self._path, self._seconds = path, seconds

    def resumed(self, plan: SweepPlan, data: Fingerprint | None = None) -> SweepPlan:
        """Return a plan with the parts of the folder; networks that are new make parts of their own.

        Parameters
        ----------
        plan : SweepPlan
        data : Fingerprint, optional
            Texts that identify the data, in place of those of the plan.

        Raises
        ------
        ValueError
            If two candidates have the same description; if the folder is that of a sweep with other settings
            or data, or with candidates that the plan lacks; or, with halving, if its candidates differ at
            all.
        OSError
            If the folder cannot be written.
        """
        networks, file = plan.networks, self._path / PLAN
        if data is not None:
            networks = replace(networks, shared=replace(networks.shared, data=data))
        settings = networks.shared.described() | {"halving": str(networks.halving)}
        names = [described(row) for row in networks.rows]
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
        """Return the numbers of the networks of each part: first the parts of the folder, then new parts."""
        earlier = [name for part in parts for name in part]
        if len({*earlier}) < len(earlier):
            raise ValueError(f"{self._path / PLAN} must have each network once; got one twice")
        if networks.halving is not None and {*earlier} != {*names}:
            raise ValueError(
                f"the candidates and seeds must be those of the sweep in {self._path}, as `halving` compares "
                f"all of them; got {len(names)} networks, and the folder has {len(earlier)}"
            )
        # Only parts with a checkpoint stay as they are; others may be divided differently, or left out.
        begun_ones = [part for part in parts if self._file(part).is_file()]
        numbers = {name: i for i, name in enumerate(names)}
        missing = [name for part in begun_ones for name in part if name not in numbers]
        if missing:
            raise ValueError(
                f"the candidates and seeds must include those of the sweep in {self._path}; "
                f"{missing[0].removeprefix('dict')} is missing"
            )
        kept = [[numbers[name] for name in part] for part in begun_ones]
        known = {i for part in kept for i in part}
        rest = ([i for i in members if i not in known] for members in networks.stacks)
        return [*kept, *filter(None, rest)]

    def checkpoint(self, part: Part) -> Checkpoint:
        """Return the file of a part's run."""
        # The number of epochs of the network of all samples depends on the folds.
        of_all = [f"{part.epochs} epochs"] if part.epochs is not None and not part.is_rung else []
        return Checkpoint(self._file([*map(described, part.members), *of_all]), self._seconds)

    def _file(self, names: list[str]) -> Path:
        return self._path / f"{blake2b(', '.join(names).encode(), digest_size=8).hexdigest()}.safetensors"
