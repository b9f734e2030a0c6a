"""
Learning curves
===============

Is a training still improving, is it overfitting, or is the learning rate too high? The
history of a run shows this: it has the loss of every step, and the accuracies of every
epoch.
"""

import matplotlib.pyplot as plt

import twolayer
from twolayer import plotting

digits = twolayer.datasets.load_digits()
run = twolayer.train(
    twolayer.TwoLayerNet.initialize(64, 100, 10, rng=0),
    digits.train.X,
    digits.train.y,
    validation=digits.validation,
    preprocessing=twolayer.preprocessing.Standardizer.fit(digits.train.X),
    learning_rate=0.05,
    batch_size=50,
    epochs=20,
    rng=0,
)

# %%
# The faint line is the loss of each batch, penalty included; the other is smoothed.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
plotting.plot_loss(run.history, ax=left)
plotting.plot_accuracy(run.history, ax=right)
plt.show()

# %%
# The history is a tuple of NumPy arrays, so you can also draw anything else from it.
# A figure can show several histories. Here, five learning rates train together, as a
# stack of five networks with the same initial weights and the same batches. The lowest
# rate is slow, and the highest diverges: its line ends where its loss is no longer
# finite.

learning_rates = [0.001, 0.01, 0.1, 0.5, 2.0]
stack = twolayer.stack(
    twolayer.TwoLayerNet.initialize(64, 100, 10, rng=0) for _ in learning_rates
)
runs = twolayer.train(
    stack,
    digits.train.X,
    digits.train.y,
    validation=digits.validation,
    preprocessing=twolayer.preprocessing.Standardizer.fit(digits.train.X),
    learning_rate=learning_rates,
    schedule=twolayer.schedules.Constant(),
    batch_size=50,
    epochs=8,
    rng=0,
)
histories = {
    f"{rate:g}": runs.history.select(k) for k, rate in enumerate(learning_rates)
}

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
plotting.plot_loss(histories, ax=left)
left.set_ylim(1e-3, 1e3)  # the diverging loss grows to infinity
plotting.plot_accuracy(histories, ax=right)
plt.show()

# %%

print(runs.diverged)
