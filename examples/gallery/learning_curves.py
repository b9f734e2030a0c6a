"""
Learning curves
===============

Does a training still improve, has it begun to learn its samples by heart, is the
learning rate too high? The history of a run tells: the loss of every step, and the
accuracies of every epoch.
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
# The faint line is the loss of each batch, penalty included; the other one follows it.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
plotting.plot_loss(run.history, ax=left)
plotting.plot_accuracy(run.history, ax=right)
plt.show()

# %%
# The history is a tuple of NumPy arrays, so anything else can be drawn of it as well.
# And several of them go into one picture. Here are five learning rates, trained at
# once, as a stack of five networks that begin with the same weights and see the same
# batches. The lowest is slow, and the highest diverges: where its loss is no longer
# finite, the line ends.

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
left.set_ylim(1e-3, 1e3)  # the loss that diverges goes on to infinity
plotting.plot_accuracy(histories, ax=right)
plt.show()

# %%

print(runs.diverged)
