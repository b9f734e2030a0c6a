"""An Optuna study that draws 32 trials at a time, which a sweep trains as one stack.

Usage: python examples/recipes/optuna_search.py [ROUNDS]      (needs optuna)
"""

from __future__ import annotations

import sys

import optuna

import twolayer

digits = twolayer.datasets.load_digits()
scaling = twolayer.preprocessing.Standardizer.fit(digits.train.X)
X, X_val = scaling.apply(digits.train.X), scaling.apply(digits.validation.X)


def suggested(trial: optuna.Trial) -> dict[str, float]:
    """Return settings in which the networks of a stack may differ."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-3, 1.0, log=True),
        "reg": trial.suggest_float("reg", 1e-6, 1e-2, log=True),
        "dropout": trial.suggest_float("dropout", 0.0, 0.5),
    }


# `constant_liar` treats trials without a value as bad ones, so the trials of a round differ from each other.
study = optuna.create_study(
    direction="maximize", sampler=optuna.samplers.TPESampler(seed=0, constant_liar=True)
)
for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 4):
    trials = [study.ask() for _ in range(32)]
    shape = {"n_hidden": 100, "batch_size": 50}  # the same for all trials, so that they train together
    result = twolayer.sweep(
        X,
        digits.train.y,
        validation=(X_val, digits.validation.y),
        grid=[shape | suggested(trial) for trial in trials],
        epochs=10,
    )
    for trial, row in zip(trials, result.table, strict=True):
        if row["diverged"]:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, row["validation_accuracy"])
    print(f"{len(study.trials)} trials: validation accuracy {study.best_value:.3f} with {study.best_params}")
