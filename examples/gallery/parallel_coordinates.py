"""
A sweep over more than two settings
===================================

A heat map has only two axes. With parallel coordinates, each setting has its own axis,
and each candidate is a line through its values, coloured by its accuracy.
"""

import matplotlib.pyplot as plt

import twolayer
from twolayer import plotting

digits = twolayer.datasets.load_digits()
result = twolayer.sweep(
    digits.train.X,
    digits.train.y,
    validation=digits.validation,
    preprocessing=twolayer.preprocessing.Standardizer.fit(digits.train.X),
    grid={
        "learning_rate": [0.01, 0.1, 0.3],
        "reg": [1e-4, 1e-2],
        "n_hidden": [10, 30, 100],
        "dropout": [0.0, 0.5],
        "seed": [0, 1],
    },
    epochs=8,
)

_, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
plotting.plot_parallel_coordinates(result.table, value="validation_accuracy", ax=axes)
plt.show()

# %%
# Settings that the best candidates share matter. Settings in which they differ do not,
# at this number of epochs.

for row in sorted(result.table, key=lambda row: -row["validation_accuracy"])[:5]:
    settings = ", ".join(
        f"{name} {row[name]:g}"
        for name in ("learning_rate", "reg", "n_hidden", "dropout")
    )
    print(f"{row['validation_accuracy']:.3f}  {settings}")
