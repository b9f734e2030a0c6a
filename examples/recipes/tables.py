"""The results of a sweep as pandas and polars tables.

Usage: python examples/recipes/tables.py      (needs pandas and polars)
"""

from __future__ import annotations

import pandas
import polars

import twolayer

digits = twolayer.datasets.load_digits()
result = twolayer.sweep(
    digits.train.X,
    digits.train.y,
    validation=(digits.validation.X, digits.validation.y),
    preprocessing=twolayer.preprocessing.Standardizer.fit(digits.train.X),
    grid={"learning_rate": [0.01, 0.03], "n_hidden": [20, 50], "seed": [0, 1]},
    epochs=5,
)

# A row for each candidate (in `result.runs`, for each candidate and seed), which both libraries accept.
table = pandas.DataFrame(result.table)
print(table.pivot(index="n_hidden", columns="learning_rate", values="validation_accuracy"))
print(polars.DataFrame(result.table).sort("validation_accuracy", descending=True))
