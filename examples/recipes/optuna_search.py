"""Optuna searches for the hyper-parameters, and ends what does not look promising.

Usage: python examples/recipes/optuna_search.py [TRIALS]      (needs optuna)
"""

from __future__ import annotations

import sys

import optuna

import twolayer

digits = twolayer.datasets.load_digits()
scaling = twolayer.preprocessing.Standardizer.fit(digits.train.X)


def objective(trial: optuna.Trial) -> float:
    def report(progress: twolayer.Progress) -> None:
        if progress.epoch_ended:
            trial.report(progress.history().validation_accuracy[-1], progress.epoch)
            if trial.should_prune():
                progress.stop()

    net = twolayer.TwoLayerNet.initialize(64, trial.suggest_int("n_hidden", 10, 200, log=True), 10, rng=0)
    run = twolayer.train(
        net,
        digits.train.X,
        digits.train.y,
        validation=(digits.validation.X, digits.validation.y),
        preprocessing=scaling,
        learning_rate=trial.suggest_float("learning_rate", 1e-3, 1.0, log=True),
        reg=trial.suggest_float("reg", 1e-6, 1e-2, log=True),
        dropout=trial.suggest_float("dropout", 0.0, 0.5),
        batch_size=50,
        epochs=10,
        rng=0,
        callbacks=[report],
    )
    if trial.should_prune() or run.diverged is not None:
        raise optuna.TrialPruned
    return run.validation_accuracy


trials = int(sys.argv[1]) if len(sys.argv) > 1 else 20
study = optuna.create_study(
    direction="maximize", sampler=optuna.samplers.TPESampler(seed=0), pruner=optuna.pruners.MedianPruner()
)
study.optimize(objective, n_trials=trials)
print(f"validation accuracy {study.best_value:.3f} with {study.best_params}")
