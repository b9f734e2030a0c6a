"""The settings, the history and the network of a run, logged with MLflow.

Usage: python examples/recipes/mlflow_log.py [FOLDER]  (needs mlflow; or mlflow-skinny, sqlalchemy, alembic)
Then:  mlflow ui --backend-store-uri sqlite:///FOLDER/mlflow.db
"""

from __future__ import annotations

import sys
from pathlib import Path

import mlflow

import twolayer

digits = twolayer.datasets.load_digits()
scaling = twolayer.preprocessing.Standardizer.fit(digits.train.X)
settings = {"n_hidden": 50, "learning_rate": 0.01, "reg": 1e-4, "batch_size": 50, "epochs": 10}


def to_mlflow(progress: twolayer.Progress) -> None:
    if progress.epoch_ended:
        history = progress.history()
        names = ("train_accuracy", "validation_loss", "validation_accuracy", "learning_rate")
        mlflow.log_metrics({name: getattr(history, name)[-1] for name in names}, step=progress.step)


folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/mlflow").resolve()
folder.mkdir(parents=True, exist_ok=True)
mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
with mlflow.start_run():
    mlflow.log_params(settings)
    run = twolayer.train(
        twolayer.TwoLayerNet.initialize(64, settings["n_hidden"], 10, rng=0),
        digits.train.X,
        digits.train.y,
        validation=(digits.validation.X, digits.validation.y),
        preprocessing=scaling,
        rng=0,
        callbacks=[to_mlflow],
        **{name: value for name, value in settings.items() if name != "n_hidden"},
    )
    twolayer.save(run.folded, folder / "network.safetensors", classes=digits.classes)
    mlflow.log_artifact(str(folder / "network.safetensors"))
print(f"validation accuracy {run.validation_accuracy:.3f}; logged in {folder}")
