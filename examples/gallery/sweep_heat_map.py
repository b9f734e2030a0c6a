"""
A sweep as a heat map
=====================

Which learning rate and which penalty are best? A sweep trains a network for every pair
of values and for several seeds, and the heat map shows the mean validation accuracy of
each pair.
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
        "learning_rate": [0.003, 0.01, 0.03, 0.1, 0.3, 1.0],
        "reg": [0.0, 1e-4, 1e-3, 1e-2, 1e-1],
        "seed": [0, 1, 2],
    },
    epochs=10,
)
print(f"{len(result.runs)} networks, {len(result.table)} candidates; {result.best}")

# %%

_, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
plotting.plot_heat_map(
    result.table, x="learning_rate", y="reg", value="validation_accuracy", ax=axes
)
plt.show()

# %%
# If the neighbours of the best candidate are as good, the choice is not critical. If
# the best is at the edge, extend the grid. :doc:`/tutorials/sweep` explains how
# confident you can be of a winner.
