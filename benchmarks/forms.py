"""The time of a step of `train`, complete and without one of its optimizations at a time.

Usage: python benchmarks/forms.py [--libraries numpy,torch,jax] [--rounds 9] [--out FOLDER]

The optimizations are the fast forms of functions in mathematics.py (NumPy, PyTorch), the learning rate and
the decay in place, reports of many steps together (NumPy, PyTorch), and compiled blocks of many steps (JAX).

The cases are one network of 50, 512 and 1,024 hidden units, as in benchmarks/steps.py, and a stack of 8
networks of 1,024 units on 256 features with Nesterov momentum. Prints microseconds per step, and the ratio to
the complete step: median and quartiles over rounds in which all variants take turns.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import by_hand
from measuring import Contestant, has, in_turns, machine, ratios, spread, stored, table
from steps import library_steps

from twolayer._forms import WithForms, fast_namespace, laid_out
from twolayer._namespace import copied, standard_namespace
from twolayer.mathematics import Params
from twolayer.training import execution
from twolayer.training.optimizers import SGD

ALL = "complete"
FORMS = {
    "without product": ("product",),
    "without relu, through_relu": ("relu", "through_relu"),
    "without squares": ("squares",),
}
NESTEROV = {"optimizer": SGD(momentum=0.9, nesterov=True), "networks": 8}
CASES = {
    "50 hidden units, batch 200": ((50, 200, by_hand.FEATURES), {}),
    "512 hidden units, batch 200": ((512, 200, by_hand.FEATURES), {}),
    "1,024 hidden units, batch 500": ((1024, 500, by_hand.FEATURES), {}),
    "8 x 1,024 hidden units, batch 250": ((1024, 250, 256), NESTEROV),
}


class Unscaled(SGD):
    """Gradient descent that applies neither the learning rate to the logits' gradient nor decay in place."""

    @property
    def scaled(self) -> bool:
        """Return False: `train` then computes the gradient of the whole loss, and calls `move`."""
        return False


def row_by_row(params: Params, *, xp, copy) -> Params:
    """Return a copy in row-major order, which suits the general product; called like `laid_out`."""
    return Params(*(copied(array, xp=xp) for array in params))


def without(names: tuple[str, ...], namespace: WithForms, call: Callable[[], object]) -> Callable[[], None]:
    """Return a call in which the functions of these names have no fast form."""
    forms = {name: form for name, form in namespace.forms.items() if name not in names}

    def called() -> None:
        with patch.object(namespace, "forms", forms):
            call()

    return called


def in_blocks_of_one(call: Callable[[], object]) -> Callable[[], None]:
    """Return a call in which JAX runs one step at a time."""

    def called() -> None:
        with patch.object(execution, "BLOCK_STEPS", 1):
            call()

    return called


def contestants(t: by_hand.Task, library: str, settings: dict[str, Any]) -> dict[str, Contestant]:
    every = library_steps(t, library, **settings)
    found = {ALL: every}
    if library == "jax":
        found["without blocks of steps"] = Contestant(in_blocks_of_one(every.call), every.steps)
        return found
    namespace = fast_namespace(standard_namespace(__import__(library)))
    for name, left_out in FORMS.items():
        if set(left_out) <= namespace.forms.keys():
            # The fast product needs a column-major W1, which would slow down the general one.
            layout = row_by_row if "product" in left_out else laid_out
            steps = library_steps(t, library, layout=layout, **settings)
            found[name] = Contestant(without(left_out, namespace, steps.call), steps.steps)
    if not settings:  # Nesterov momentum uses neither
        found["without rate and decay in place"] = library_steps(t, library, optimizer=Unscaled())
    with patch.object(execution, "HELD_NUMBERS", 1):
        found["without reports together"] = library_steps(t, library, **settings)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--libraries", default="numpy,torch,jax")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    print(machine() + "\n")
    results = {}
    for library in filter(has, options.libraries.split(",")):
        for case, ((hidden, batch, features), settings) in CASES.items():
            t = by_hand.task(hidden, batch, features=features)
            times = in_turns(contestants(t, library, settings), rounds=options.rounds)
            rows = [
                [name, spread([1e6 * s for s in own], 0), spread(ratios(times, name, ALL))]
                for name, own in times.items()
            ]
            print(f"{library}, {case}\n")
            print(table(["", "µs per step", "× complete"], rows) + "\n", flush=True)
            results[f"{library}, {case}"] = times
    stored(options.out, "forms", results)


if __name__ == "__main__":
    main()
