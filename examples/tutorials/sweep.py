"""
A sweep, and how far to trust its winner
========================================

Which learning rate is best? How strong a penalty? The usual answer is to try several,
and to use the best. That works, but it is easy to trust the figures of such a
comparison too much. This page makes a sweep, and then examines how far each figure can
be trusted. The code on the page computes all its figures.

Your own sweep
--------------

``twolayer sweep`` prints a verdict first: the best candidate, how many others may be as
good, and a command for the next step. Its table shows how far each candidate is behind
the best, with a margin for chance. ``result.table`` and the report contain the same.
The sweep writes the accuracy of every candidate and seed to ``runs.csv``. The lines
below compute from it the mean of the differences seed by seed, and its standard error.
They need pandas, and at least two seeds.

.. code-block:: python

   import pandas as pd

   runs = pd.read_csv("runs/digits-sweep-001/runs.csv")
   settings = runs.columns[: runs.columns.get_loc("seed")]
   varied = [name for name in settings if runs[name].nunique() > 1]
   table = runs.pivot(index="seed", columns=varied, values="validation_accuracy")
   table = table.dropna(axis="columns")  # without those that diverged
   behind = -table.sub(table[table.mean().idxmax()], axis="rows")
   error = behind.std() / len(behind) ** 0.5
   print(pd.DataFrame({"behind": behind.mean(), "±": error}).sort_values("behind"))

A candidate that is behind by less than two or three of its ± may be as good as the
best (with only three seeds, by less than four). The rest of this page explains what
that means, and what it leaves out.
"""

import matplotlib.pyplot as plt
import numpy as np

import twolayer
from twolayer import plotting

# %%
# To make the task harder, only 200 digits are used for training, and 300 to choose by.

digits = twolayer.datasets.load_digits()
X, y = digits.train.X[:200], digits.train.y[:200]
scaling = twolayer.preprocessing.Standardizer.fit(X)

# %%
# The sweep
# ---------
#
# Six learning rates and three strengths of the L2 penalty make 18 candidates. Each is
# trained from ten *seeds*: ten draws of initial weights and of the order of the
# batches. That makes 180 networks. The networks of one seed train together as one
# stack.

seeds = range(10)
result = twolayer.sweep(
    X,
    y,
    validation=digits.validation,
    preprocessing=scaling,
    grid={
        "learning_rate": [0.003, 0.01, 0.03, 0.1, 0.3, 1.0],
        "reg": [0.0, 1e-4, 1e-3],
        "batch_size": [50],
        "seed": seeds,
    },
    epochs=30,
)
print(f"{len(result.runs)} networks, {len(result.table)} candidates")

# %%

_, axes = plt.subplots(figsize=(8, 4), layout="constrained")
plotting.plot_heat_map(
    result.table, x="learning_rate", y="reg", value="validation_accuracy", ax=axes
)
plt.show()

# %%
# One seed shows little
# ---------------------
#
# This picture shows all 180 networks, with a column for each candidate, and the mean of
# each column.

runs = result.runs
ranked = sorted(result.table, key=lambda row: -row["validation_accuracy"])


def accuracies(candidate):
    """Return the validation accuracies of a candidate, in the order of the seeds."""
    settings = candidate["learning_rate"], candidate["reg"]
    same = [run for run in runs if (run["learning_rate"], run["reg"]) == settings]
    return np.array([run["validation_accuracy"] for run in same])


figure, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
for place, row in enumerate(ranked):
    axes.plot(np.full(len(seeds), place), accuracies(row), ".", color="C0", alpha=0.5)
    axes.plot(place, row["validation_accuracy"], "_", color="C3", markersize=14)
labels = [f"{row['learning_rate']:g}, {row['reg']:g}" for row in ranked]
axes.set_xticks(range(len(ranked)), labels, rotation=60, ha="right")
axes.set(xlabel="learning rate, reg", ylabel="validation accuracy", ylim=(0.7, 0.95))
axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# The same settings give different accuracies from different seeds. With a single seed,
# how often would each candidate have won?

winners = np.array([accuracies(row) for row in ranked]).argmax(
    axis=0
)  # argmax takes the first of equal accuracies, which has the better mean
for place in np.unique(winners):
    wins = int((winners == place).sum())
    print(f"learning rate, reg {labels[place]}: {wins} of {len(seeds)} seeds")

# %%
# ``result.best`` therefore belongs to the candidate with the highest *mean* over the
# seeds. It is not the luckiest of 180 networks.
#
# The same candidate and seed may differ by a few images in a sweep of other candidates,
# because the networks of a stack share their products, and a product of another width
# rounds its sums differently. The same sweep gives the same figures again.
#
# Two kinds of ±
# --------------
#
# In the column "± SD over 10 seeds" of the table, ± is the standard deviation: how far
# one network is from another network with the same settings. The standard error of the
# *mean* of ten networks is smaller: the standard deviation divided by √10.

n = len(seeds)
for row in ranked[:6]:
    mean, std = row["validation_accuracy"], row["validation_accuracy_std"]
    settings = f"learning rate {row['learning_rate']:<5g} reg {row['reg']:<6g}"
    error = std / np.sqrt(n)
    print(f"{settings} {mean:.4f} ± {std:.4f} over seeds; mean ± {error:.4f}")

# %%
# Neither ± accounts for having only 300 validation images. Another 300 images would
# change all of these means. A share p of N images has the standard error
# √(p (1 − p) / N):

p = ranked[0]["validation_accuracy"]
print(f"{p:.3f} ± {np.sqrt(p * (1 - p) / len(digits.validation.y)):.3f}")

# %%
# This error is the larger part by far, and more seeds do not reduce it. It is the
# uncertainty for *new images*. It overstates the uncertainty of the difference between
# two candidates, because both are evaluated on the same images, and hard images are
# hard for both.
#
# Comparing two candidates in pairs
# ---------------------------------
#
# Candidates of one seed begin with the same initial weights and see the same batches. A
# lucky or unlucky seed affects both, so the *differences* within a seed are known more
# precisely than the two figures alone. These lines compare the penalty with no penalty,
# at each learning rate.


def difference(one, other):
    """Return the mean difference of two candidates, its error apart, and in pairs."""
    one, other = accuracies(one), accuracies(other)
    apart = np.sqrt((one.var(ddof=1) + other.var(ddof=1)) / len(one))
    return (one - other).mean(), apart, (one - other).std(ddof=1) / np.sqrt(len(one))


for learning_rate in (0.003, 0.01, 0.03, 0.1, 0.3, 1.0):
    penalty, none = (
        {"learning_rate": learning_rate, "reg": reg}  # the keys that `accuracies` reads
        for reg in (1e-3, 0.0)
    )
    mean, apart, paired = difference(penalty, none)
    errors = f"± {apart:.4f} apart, ± {paired:.4f} in pairs"
    print(f"learning rate {learning_rate:<5g}  {mean:+.4f} {errors}")

# %%
# The variation over seeds hides a small difference, and pairing reveals it. Pairing
# costs nothing, because a sweep always pairs its candidates.
#
# Chance alone often makes a difference of less than two standard errors. A difference
# of a little more than two may be chance as well, if it is the largest of the 153 pairs
# that could have been compared.
#
# A winner at the edge
# --------------------
#
# The two best candidates have the strongest penalty of the grid, so the grid ends too
# early. A second sweep continues from there with the same seeds, so that its candidates
# pair with the others.

further = twolayer.sweep(
    X,
    y,
    validation=digits.validation,
    preprocessing=scaling,
    grid={
        "learning_rate": [0.1, 0.3],
        "reg": [3e-3, 1e-2, 3e-2, 1e-1],
        "batch_size": [50],
        "seed": seeds,
    },
    epochs=30,
)
table, runs = result.table + further.table, result.runs + further.runs
ranked = sorted(table, key=lambda row: -row["validation_accuracy"])

_, axes = plt.subplots(figsize=(8, 4), layout="constrained")
plotting.plot_heat_map(
    [row for row in table if row["learning_rate"] in (0.1, 0.3)],
    x="reg",
    y="learning_rate",
    value="validation_accuracy",
    ax=axes,
)
plt.show()

# %%
# These are the differences between the best and the next four, in pairs:

for row in ranked[1:5]:
    mean, _, paired = difference(ranked[0], row)
    settings = f"learning rate {row['learning_rate']:g}, reg {row['reg']:g}"
    print(f"{mean:+.4f} ± {paired:.4f} to {settings}")

# %%
# A difference of several standard errors settles the order, as far as *these 300
# images* can settle it.
#
# The winner's curse
# ------------------
#
# If chance plays a part in many figures, the highest figure probably owes something to
# luck. The validation accuracy of a winner is therefore too high, and the error grows
# with the number of candidates.
#
# To show this effect alone, these lines train forty networks that differ only in their
# initial weights, so hardly any is truly better than another. They train as one stack,
# in one call. The 700 images that were not used for training are divided at random into
# 300 to choose by and 400 to test by. The best of the first n networks on the 300
# images is tested on the 400 images. This is repeated a thousand times.

nets = twolayer.stack(
    twolayer.TwoLayerNet.initialize(64, 50, 10, rng=seed) for seed in range(40)
)
stack = twolayer.train(
    nets,
    X,
    y,
    preprocessing=scaling,
    learning_rate=0.1,
    reg=1e-3,
    batch_size=50,
    epochs=30,
    rng=0,
)
images = np.concatenate([digits.validation.X, digits.test.X])
labels = np.concatenate([digits.validation.y, digits.test.y])
right = np.float64(
    stack.net.predict(scaling.apply(images)) == labels
)  # (40 networks, 700 images)

rng = np.random.default_rng(0)
chosen_by = rng.permuted(
    np.tile(np.arange(700) < 300, (1000, 1)), axis=1
).T  # (700 images, 1000 divisions)
order = rng.permuted(
    np.tile(np.arange(40), (1000, 1)), axis=1
).T  # of the networks, in each division
on_300 = np.take_along_axis(right @ chosen_by / 300, order, axis=0)
on_400 = np.take_along_axis(right @ ~chosen_by / 400, order, axis=0)

numbers = np.arange(1, 41)
winners = np.array([on_300[:number].argmax(axis=0) for number in numbers])  # (40, 1000)
divisions = np.arange(1000)
figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
axes.plot(
    numbers,
    on_300[winners, divisions].mean(axis=1),
    label="the winner, on the 300 it was chosen by",
)
axes.plot(
    numbers,
    on_400[winners, divisions].mean(axis=1),
    label="the winner, on the other 400",
)
axes.axhline(
    on_400.mean(), color="0.5", linestyle=":", label="all networks, on the other 400"
)
axes.set(xlabel="networks to choose from", ylabel="mean accuracy")
axes.legend()
axes.spines[["top", "right"]].set_visible(False)
plt.show()

for number in (1, 10, 40):
    seeming = on_300[winners[number - 1], divisions].mean()
    true = on_400[winners[number - 1], divisions].mean()
    print(
        f"best of {number:2}: {seeming:.4f} where it was chosen, {true:.4f} elsewhere"
    )

# %%
# The more networks there are to choose from, the better the winner seems. On images
# that had no part in the choice, most of its lead over the average is gone. The upper
# line is correct for the images it was measured on, but it is not an estimate for other
# images.
#
# Test once
# ---------
#
# The test images have chosen nothing so far. (The forty networks above were a
# demonstration, and nothing was chosen by them.) The chosen network is tested once, and
# the figure is reported, whatever it is. If you look at it, change something and look
# again, the test images have become validation images.

best = max(
    (result, further),
    key=lambda one: max(row["validation_accuracy"] for row in one.table),
).best  # by the mean, as within a sweep: `best.row` is of one seed
p = float(best.folded.accuracy(digits.test.X, digits.test.y))
print({key: best.settings[key] for key in ("learning_rate", "reg", "seed")})
print(f"test accuracy {p:.3f} ± {np.sqrt(p * (1 - p) / len(digits.test.y)):.3f}")

# %%
# The same from the command line
# ------------------------------
#
# .. code-block:: console
#
#    $ twolayer sweep --learning-rate 0.03,0.1,0.3 --reg 0,1e-3,1e-2 --seeds 0,1,2,3,4
#
# This prints the verdict, and the mean ± the standard deviation over the seeds for each
# candidate. It tests the winner once, and writes the accuracy of every candidate and
# seed to ``runs.csv``.
#
# In short
# --------
#
# - Use several seeds for each candidate. Compare means, and differences seed by seed.
# - ± over seeds is how much one network differs from another; divided by √n it is the
#   standard error of the mean.
# - √(p (1 − p) / N) for N images is the standard error of the accuracy on *new* images,
#   whatever the number of seeds.
# - The best of many is a little worse than it looks. Test it once.
