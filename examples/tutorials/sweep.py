"""
A sweep, and how sure one can be of its winner
==============================================

Which learning rate? How strong a penalty? The usual answer is to try some, and to take
what did best. That works, but the figures of such a comparison are easily believed too
much. This page makes a sweep and then asks of each figure how far it can be trusted.
All of the figures on it are computed by the code that stands above them.

Your own sweep, at once
-----------------------

``twolayer sweep`` prints a verdict first: the best candidate, how many others may be as
good, and a command for the next step. Its table has the difference of each candidate
from the best, with a 95 % margin; so do ``result.table`` and the report. The accuracy
of every candidate and seed is in ``runs.csv``. These lines compute the same from it:
the mean of the differences seed by seed, and its standard error. They need pandas, and
two seeds or more.

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
best, as far as these seeds can tell (with only three seeds, by less than four). What
that means, and what it leaves out, is what the rest of this page is about.
"""

import matplotlib.pyplot as plt
import numpy as np

import twolayer
from twolayer import plotting

# %%
# A task that is not too easy: only 200 digits to learn from, and 300 to choose by.

digits = twolayer.datasets.load_digits()
X, y = digits.train.X[:200], digits.train.y[:200]
scaling = twolayer.preprocessing.Standardizer.fit(X)

# %%
# The sweep
# ---------
#
# Six learning rates and three strengths of the L2 penalty make 18 candidates. Each is
# trained from ten *seeds*: ten draws of initial weights and of the order of the
# batches. That makes 180 networks. Those of one seed are trained together, as one
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
# One seed says little
# --------------------
#
# Here is every one of the 180 networks, a column for each candidate, and the mean of
# each column.

runs = result.runs
ranked = sorted(result.table, key=lambda row: -row["validation_accuracy"])


def accuracies(candidate):
    """The validation accuracies of a candidate, in the order of the seeds."""
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
# The same settings give now this accuracy, now that. With a single seed, how often
# would each candidate have won?

winners = np.array([accuracies(row) for row in ranked]).argmax(
    axis=0
)  # of equal ones, the better mean
for place in np.unique(winners):
    wins = int((winners == place).sum())
    print(f"learning rate, reg {labels[place]}: {wins} of {len(seeds)} seeds")

# %%
# So ``result.best`` is of the candidate with the highest *mean* over the seeds, not the
# luckiest of 180 networks.
#
# (The same candidate and seed in a sweep of other candidates may differ by a few
# images: the networks of a stack share their products, and sums in a product of another
# width are rounded otherwise. The whole sweep, repeated, is the same.)
#
# Two kinds of ±
# --------------
#
# In a table's column "± SD over 10 seeds", ± is the standard deviation: how far one
# network of these settings is from another. How well the *mean* of ten is known is
# another question. Its answer, the standard error of the mean, is the standard
# deviation divided by √10.

n = len(seeds)
for row in ranked[:6]:
    mean, std = row["validation_accuracy"], row["validation_accuracy_std"]
    settings = f"learning rate {row['learning_rate']:<5g} reg {row['reg']:<6g}"
    error = std / np.sqrt(n)
    print(f"{settings} {mean:.4f} ± {std:.4f} over seeds; mean known to ± {error:.4f}")

# %%
# Neither knows that there are only 300 validation images. On another 300, all of these
# means would be others. A share p of N images has the standard error √(p (1 − p) / N):

p = ranked[0]["validation_accuracy"]
print(f"{p:.3f} ± {np.sqrt(p * (1 - p) / len(digits.validation.y)):.3f}")

# %%
# That is the larger part by far, and more seeds do not make it any smaller. It is what
# one can say about *new images*. Of the difference between two candidates it says too
# much, though: they are judged by the same images, and what is hard about these is hard
# for both.
#
# Comparing two candidates: in pairs
# ----------------------------------
#
# Candidates of one seed begin with the same initial weights and see the same batches.
# So what the seed brings, good or bad, it brings to both, and the *differences* within
# a seed are known better than the two figures by themselves. Here is the penalty
# against none, at each of the learning rates.


def difference(one, other):
    """The mean difference of two candidates; its standard error apart, and in pairs."""
    one, other = accuracies(one), accuracies(other)
    apart = np.sqrt((one.var(ddof=1) + other.var(ddof=1)) / len(one))
    return (one - other).mean(), apart, (one - other).std(ddof=1) / np.sqrt(len(one))


for learning_rate in (0.003, 0.01, 0.03, 0.1, 0.3, 1.0):
    penalty, none = (
        {"learning_rate": learning_rate, "reg": reg}  # what `accuracies` looks for
        for reg in (1e-3, 0.0)
    )
    mean, apart, paired = difference(penalty, none)
    errors = f"± {apart:.4f} apart, ± {paired:.4f} in pairs"
    print(f"learning rate {learning_rate:<5g}  {mean:+.4f} {errors}")

# %%
# The seeds hide a small difference, and pairing brings it out. It costs nothing: a
# sweep pairs its candidates anyway.
#
# A difference of less than two of its standard errors is one that chance makes, too.
# And one of a little more than two may be chance as well, if it is the largest of the
# 153 pairs that one might have looked at.
#
# A winner at the edge
# --------------------
#
# The two best candidates have the strongest penalty of the grid, so the grid ends too
# early. A second sweep goes on from there, with the same seeds, so that its candidates
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
# The best against the next four, in pairs:

for row in ranked[1:5]:
    mean, _, paired = difference(ranked[0], row)
    settings = f"learning rate {row['learning_rate']:g}, reg {row['reg']:g}"
    print(f"{mean:+.4f} ± {paired:.4f} to {settings}")

# %%
# Where the difference is several standard errors the order is settled, as far as *these
# 300 images* can settle it.
#
# The winner's curse
# ------------------
#
# Of many figures that chance has a part in, the highest is likely to owe something to
# luck. So the validation accuracy of a winner is too high, and the more candidates
# there were, the more so.
#
# To see it undisturbed, forty networks that differ in nothing but their initial
# weights, so that hardly one is better than another; as one stack, in one call. The 700
# images that none of them was trained on are divided at random into 300 to choose by
# and 400 to test by, and of the first so many networks the one that is best on the 300
# is tested on the 400. This, a thousand times.

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
# line is no lie about the images it was measured on; it is merely no estimate of
# anything else.
#
# So: test once
# -------------
#
# The test images have had no say in anything up to here. (The forty networks above were
# a lesson; nothing was chosen by them.) They are looked at once, by the network that
# was chosen, and the figure is reported whatever it is. Who looks, changes something
# and looks again, has made a validation set of them.

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
# prints the verdict, and the mean ± the standard deviation over the seeds for each
# candidate, tests the winner once, and keeps the accuracy of every candidate and seed
# in ``runs.csv``.
#
# In short
# --------
#
# - Several seeds for each candidate; compare means, and differences seed by seed.
# - ± over seeds is how much one network differs from another; divided by √n it is how
#   well the mean is known.
# - √(p (1 − p) / N) for N images is how well the accuracy on *new* images is known,
#   whatever the number of seeds.
# - What was best among many is a little worse than it looks. Test it once.
