"""
Digits in a minute
==================

From images to a network that reads digits, and a file that keeps it. All that it needs
is twolayer and, for the pictures, matplotlib: ``python -m pip install
"twolayer[plots]"``.

The data
--------

1,797 handwritten digits of 8 × 8 pixels come with the package, divided into three
parts: to learn from, to choose by (*validation*), and to judge by, once, at the end
(*test*).
"""

import matplotlib.pyplot as plt
import numpy as np

import twolayer
from twolayer import plotting

digits = twolayer.datasets.load_digits()
print(digits.train)
print(digits.validation)
print(digits.test)

# %%
# ``X`` is a NumPy array of images, ``y`` one of labels.

figure, axes = plt.subplots(2, 8, figsize=(8, 2.4), layout="constrained")
for ax, image, label in zip(axes.flat, digits.train.X, digits.train.y, strict=False):
    ax.imshow(image, cmap="gray_r")
    ax.set_title(label)
    ax.set_axis_off()
plt.show()

# %%
# A network
# ---------
#
# 64 pixels in, 100 hidden units, 10 classes out. A network *is* its four arrays: two of
# weights, two of biases.

net = twolayer.TwoLayerNet.initialize(n_features=64, n_hidden=100, n_classes=10, rng=0)
net

# %%
# It has learnt nothing yet, so it is right about as often as chance is:

print(f"{net.accuracy(digits.test.X, digits.test.y):.3f}")

# %%
# Training
# --------
#
# Networks learn best from numbers around zero, so a ``Standardizer`` learns mean and
# spread of the training images, and ``train`` applies it to each batch. Twenty times
# through the 1,097 images, 50 at a time, takes a fraction of a second. After each of
# the twenty epochs, the network is tried on the validation images, and the best one is
# kept.

scaling = twolayer.preprocessing.Standardizer.fit(digits.train.X)
run = twolayer.train(
    net,
    digits.train.X,
    digits.train.y,
    validation=digits.validation,
    preprocessing=scaling,
    learning_rate=0.1,
    reg=3e-3,
    batch_size=50,
    epochs=30,
    rng=0,
)
print(f"{run.validation_accuracy:.3f} of the validation images right,")
print(f"after step {run.best_step} of {run.n_steps}")

# %%
# Nothing of it is left to chance: initial weights and batches come from ``rng=0``, so
# the same lines give the same network whenever they are run. How it went:

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
plotting.plot_loss(run.history, ax=left)
plotting.plot_accuracy(run.history, ax=right)
plt.show()

# %%
# What has it learnt?
# -------------------
#
# Each hidden unit has a weight for every pixel, which makes an image: of what it looks
# for.

_, axes = plt.subplots(figsize=(8, 4), layout="constrained")
plotting.plot_weights(run.net, (8, 8), max_units=50, columns=10, ax=axes)
plt.show()

# %%
# Keeping it
# ----------
#
# Standardizing is an affine map, and so is a network's first layer: the two become one.
# ``run.folded`` is a network that takes the pixels as they are, and that is the one to
# keep.

twolayer.save(run.folded, "digits.safetensors", classes=digits.classes)
again = twolayer.load("digits.safetensors")

# %%
# The test, once
# --------------
#
# Whatever was chosen, the number of epochs for example, was chosen by the validation
# images. How well the network does on images that had no say in anything, the test
# images tell:

accuracy = float(again.accuracy(digits.test.X, digits.test.y))
print(f"{accuracy:.3f} of {len(digits.test.y)} test images right")

# %%
# A probability for each class, of a single image:

probs = again.predict_proba(digits.test.X[:1])[0]
figure, (left, right) = plt.subplots(
    1, 2, figsize=(6, 2.4), layout="constrained", width_ratios=[1, 2]
)
left.imshow(digits.test.X[0], cmap="gray_r")
left.set_axis_off()
right.bar(np.arange(10), probs)
right.set(xticks=np.arange(10), ylim=(0, 1), ylabel="probability")
right.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# And those that it got wrong, the most wrong first:

_, axes = plt.subplots(figsize=(8, 3), layout="constrained")
plotting.plot_mistakes(
    digits.test.X,
    digits.test.y,
    again.predict_proba(digits.test.X),
    digits.classes,
    (8, 8),
    ax=axes,
)
plt.show()

# %%
# The same without a line of Python
# ---------------------------------
#
# .. code-block:: console
#
#    $ twolayer train
#
# trains a network on the digits, and leaves it, its results and its pictures in a new
# folder under ``runs/``.
#
# What next: :doc:`your own arrays </tutorials/arrays>`, or :doc:`many candidates at
# once </tutorials/sweep>`.
