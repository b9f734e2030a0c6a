"""Training: `train`, its result, and the progress that it passes to callbacks.

The modules, in the order in which a run uses them:

- `arguments`: `train` itself. It makes a plan of its arguments and starts or resumes the run.
- `plan`: settings and data, checked (with `data`, `folds`, `teaching`), and everything that follows from
  them. `fingerprint` describes them, so that a run is resumed only with what it was begun with.
- `trainer`: the loop over steps and epochs, and the state of the run.
- `batches`: the random numbers of each step, drawn on the host ahead of their use.
- `step`: one step as a pure function of arrays, with `optimizers` and `schedules`.
- `execution`: how each array library runs the steps: one by one, or compiled in blocks.
- `judging`, `history`: what is measured, and its record. `members`: which networks of a stack still train.
- `run`, `checkpoint`, `diagnosis`: the result, its file, and the warnings at its end.
"""

from __future__ import annotations

from . import arguments, optimizers, schedules
from .diagnosis import with_warnings
from .history import History
from .run import Callback, Progress, Run

__all__ = ["Callback", "History", "Progress", "Run", "optimizers", "schedules", "train"]

# Callers that warn in their own words, such as the command line and the estimator, use `arguments.train`.
train = with_warnings(arguments.train)
