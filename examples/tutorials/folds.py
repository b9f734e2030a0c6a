"""
From a table to a cross-validated network
=========================================

This tutorial predicts a column of a table of 600 customers. Which settings are best,
and how good is the network with them? With so few rows a single validation split
measures too coarsely. This page uses *cross-validation* instead: every row that is not
for the test is held out once.

It needs the extras ``cli`` and ``sklearn``: ``python -m pip install
"twolayer[cli,sklearn]"``. The code on the page computes all its figures.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import polars
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import twolayer
from twolayer import plotting
from twolayer.datasets import load_table, read_table
from twolayer.search import LogUniform, Uniform
from twolayer.sklearn import TwoLayerClassifier, TwoLayerSearchCV
from twolayer.storage import load_metadata

# %%
# A table
# -------
#
# The customers are artificial: customers of middle age, with many visits and a high
# income, renew their contract more often. One income in ten is missing. Put your own
# table in their place: a ``.csv``, ``.tsv`` or ``.parquet`` file, or a data frame.

rng = np.random.default_rng(0)
n = 600
age = rng.integers(18, 80, n)
income = np.round(rng.lognormal(10.8, 0.5, n), -2)
region = rng.choice(["north", "east", "south", "west"], n, p=[0.4, 0.3, 0.2, 0.1])
visits = rng.poisson(6, n)
score = 1.5 - ((age - 45) / 12) ** 2 + 2 * (np.log(income) - 10.8) + (visits - 6) / 4
renewed = score + (region == "south") + rng.logistic(0, 0.5, n) > 0
table = polars.DataFrame(
    {
        "customer": np.arange(1000, 1000 + n),
        "age": age,
        "income": np.where(rng.random(n) < 0.1, np.nan, income),
        "region": region,
        "visits": visits,
        "renewed": np.where(renewed, "yes", "no"),
    }
).fill_nan(None)
table.write_csv("people.csv")
print(table.head(4))

# %%
# A test part, set apart
# ----------------------
#
# ``load_table`` draws 15 % of the rows for validation and 15 % for the test, and
# converts the columns to features. Folds need no validation part, so its rows join the
# training rows. (``validation=0`` would draw none, but the test would then have other
# rows than on the command line below.)

data = load_table("people.csv", label="renewed", drop=["customer"])
X = np.concatenate([data.train.X, data.validation.X])
y = np.concatenate([data.train.y, data.validation.y])
print(X.shape, "for the folds,", data.test.X.shape, "for the test")
print(*data.encoder.get_feature_names_out(), sep=", ")

# %%
# The test rows are not used again until everything is chosen.
#
# Why not one validation split?
# -----------------------------
#
# A share p of N rows has the standard error √(p (1 − p) / N). For an accuracy near
# 0.85, these are the standard errors with the 90 rows of one validation split, and with
# all 510 rows that are not for the test:

for n_rows in (len(data.validation.y), len(y)):
    print(f"{n_rows} rows: ± {np.sqrt(0.85 * 0.15 / n_rows):.3f}")

# %%
# Good candidates often differ by less than the first figure. With five folds each
# candidate is trained five times, on four fifths of the rows, and evaluated on the
# remaining fifth. All rows therefore evaluate, and nearly as many train as before.
#
# The sweep
# ---------
#
# The sweep draws 16 candidates from the values of four settings, and trains each on
# five folds from two seeds. ``preprocessing="standardize"`` is fitted separately to the
# training rows of each fold: a scaler fitted to all rows would have seen the held-out
# rows. (``load_table`` fitted the encoder, which fills gaps with means, to
# ``data.train``, and each fold holds some of these rows out.)

result = twolayer.sweep(
    X,
    y,
    folds=5,
    preprocessing="standardize",
    grid={
        "learning_rate": LogUniform(0.01, 1.0),
        "reg": LogUniform(1e-5, 1e-1),
        "dropout": Uniform(0.0, 0.4),
        "n_hidden": [10, 40],
        "batch_size": [50],
        "seed": [0, 1],
    },
    candidates=16,
    epochs=20,
)
print(f"{len(result.runs)} networks, {len(result.table)} candidates")

# %%
# How to read its table
# ---------------------
#
# ``result.table`` has a row for each candidate. These are the ten best candidates:

names = ["learning_rate", "reg", "dropout", "n_hidden"]
ranked = sorted(result.table, key=lambda row: -row["validation_accuracy"])
print("   rate      reg  dropout hidden   accuracy        behind the best")
for row in ranked[:10]:
    settings = "{:7.3f} {:8.1e} {:8.2f} {:6}".format(*(row[name] for name in names))
    mean, std = row["validation_accuracy"], row["validation_accuracy_std"]
    behind, margin = row["difference"], row["difference_margin"]
    note = "≈ best" if row["within_noise"] else ""
    if row is ranked[0]:
        print(f"{settings}  {mean:.3f} ± {std:.3f}    the best")
    else:
        print(
            f"{settings}  {mean:.3f} ± {std:.3f}  {behind:+.3f} ± {margin:.3f}  {note}"
        )

# %%
# - **accuracy** is the mean over the ten networks of a candidate, each evaluated on the
#   rows held out from it, ± their standard deviation: how far one network is from
#   another.
# - **behind the best** is the mean difference from the best, in pairs of the same seed
#   and fold, ± the half width of its 95 % confidence interval. Networks of different
#   folds train on many of the same rows, so they are not independent, and the interval
#   is `wider for this reason <https://doi.org/10.1023/A:1024068626366>`_.
# - A candidate whose interval reaches 0 is marked **≈ best**: these rows do not show
#   that it is worse.
#
# A single fold is about as large as a single validation split. These are the candidates
# that each fold alone would have chosen, from the networks of one seed:

for fold in range(5):
    runs = [run for run in result.runs if (run["fold"], run["seed"]) == (fold, 0)]
    first = max(runs, key=lambda run: run["validation_accuracy"])
    settings = ", ".join(f"{name} {first[name]:.3g}" for name in names)
    print(f"fold {fold}: {first['validation_accuracy']:.3f}  {settings}")

# %%
# A choice by all folds depends less on the division of the rows.
#
# In the picture each candidate is a line through its settings, coloured by its
# accuracy. A setting matters if the good lines agree on it; if they fan out, any value
# will do.

_, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
plotting.plot_parallel_coordinates(result.table, value="validation_accuracy", ax=axes)
plt.show()

# %%
# The network
# -----------
#
# The networks of the folds served to evaluate the settings. ``result.best.net`` is
# another network: it was trained with the best settings on *all* rows of the five
# folds, with a scaler fitted to all of them. ``result.best.folded`` contains the
# scaler, so it takes raw features. (``refit="merge"`` instead merges the networks of
# the folds into one, whose logits are their mean; ``refit=None`` makes no network.)

best = result.best
net = best.folded
print({name: round(best.settings[name], 5) for name in (*names, "seed")})
print(net)

# %%
# The test, once
# --------------
#
# The accuracy on the held-out rows chose the best of 16 candidates, so it is too high
# on average. The test rows have chosen nothing.


def tested(accuracy):
    """Return an accuracy on the test rows, with its standard error."""
    error = np.sqrt(accuracy * (1 - accuracy) / len(data.test.y))
    return f"{accuracy:.3f} ± {error:.3f}"


commonest = np.bincount(y).argmax()
X_test = data.test.X.astype("float32")  # the dtype of the network
print("the commonest class:", tested(np.mean(data.test.y == commonest)))
print("the network:", tested(float(net.accuracy(X_test, data.test.y))))

# %%
# ± is wide again, because there are only 90 test rows. Cross-validation makes the
# *choice* more certain, not the test.
#
# Saving the network, and new rows
# --------------------------------
#
# The file holds the network, the names of the classes, and the encoder that converts
# columns to features.

twolayer.save(net, "people.safetensors", classes=data.classes, encoder=data.encoder)

# %%
# Later, in another program, with a file of new customers:

Path("new.csv").write_text(
    "customer,age,income,region,visits\n2001,44,61000,south,9\n2002,71,,north,2\n",
    encoding="utf-8",
)
net = twolayer.load("people.safetensors")
encoder = twolayer.load_encoder("people.safetensors")
classes = load_metadata("people.safetensors").classes
new = read_table("new.csv", encoder=encoder)
probs = net.predict_proba(encoder.apply(new).astype("float32"))
for row in probs:
    print({name: round(float(p), 3) for name, p in zip(classes, row, strict=True)})

# %%
# The same in scikit-learn
# ------------------------
#
# ``TwoLayerSearchCV`` is ``GridSearchCV`` or ``RandomizedSearchCV`` of scikit-learn for
# this network, and also trains folds and candidates in stacks. :doc:`/scikit-learn`
# lists the differences. It does not scale features. A scaler before it in the pipeline
# is fitted to all training rows, also to the rows that a fold holds out.

search = TwoLayerSearchCV(
    TwoLayerClassifier(batch_size=50, max_iter=20, random_state=0),
    param_distributions={
        "learning_rate_init": LogUniform(1e-3, 1e-1),
        "reg": LogUniform(1e-5, 1e-1),
        "dropout": Uniform(0.0, 0.4),
        "hidden_layer_size": [10, 40],
    },
    n_iter=16,
    cv=5,
    random_state=0,
)
model = make_pipeline(StandardScaler(), search).fit(X, y)
print({name: round(value, 5) for name, value in search.best_params_.items()})
print(f"held out: {search.best_score_:.3f}")

# %%
# The learning rates are lower here, because ``TwoLayerClassifier`` trains with Adam by
# default, and ``sweep`` with momentum. The command line also trains tables with Adam;
# it has its own defaults for each kind of data.
#
# The same on the command line
# ----------------------------
#
# .. code-block:: console
#
#    $ twolayer sweep people.csv --label renewed --drop customer --folds 5 \
#        --learning-rate 1e-3..0.1 --reg 1e-5..1e-1 --hidden 10,40 \
#        --dropout 0..0.4 --candidates 16
#    $ twolayer report runs/people-sweep-001
#    $ twolayer predict runs/people-sweep-001 new.csv --id-columns customer
#
# The sweep prints the table with the margins, tests the network of all these rows once,
# and writes the accuracy of each seed and fold to ``runs.csv``. :doc:`/command-line`
# has the details.
#
# In short
# --------
#
# - Set the test rows aside first, and use them last, once.
# - With a few hundred rows, choose by folds: all rows evaluate, and all rows train.
# - Pass the preprocessing unfitted, so that no fold sees its held-out rows.
# - Candidates marked ≈ best may be as good as the best: use the simplest of them.
# - :doc:`/tutorials/sweep` explains how far to trust a winner, and why it looks better
#   than it is.
