"""
Digits in a minute
==================

This tutorial goes from images to a trained network that reads digits, saved in a file.
It needs twolayer and, for the pictures, matplotlib: ``python -m pip install
"twolayer[plots]"``.

The data
--------

The package includes 1,797 handwritten digits of 8 × 8 pixels. They are divided into
three parts: one for *training*, one to choose by (*validation*), and one to measure the
result once, at the end (*test*).
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
# ``X`` is a NumPy array of images, and ``y`` is a NumPy array of labels.

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
# The network has 64 inputs, one for each pixel, 100 hidden units and 10 classes. A
# network *is* its four arrays: two of weights and two of biases.

net = twolayer.TwoLayerNet.initialize(n_features=64, n_hidden=100, n_classes=10, rng=0)
net

# %%
# It has learnt nothing yet, so its accuracy is about that of chance:

print(f"{net.accuracy(digits.test.X, digits.test.y):.3f}")

# %%
# Training
# --------
#
# Networks learn best from numbers around zero, so a ``Standardizer`` computes the mean
# and the standard deviation of the training images, and ``train`` applies them to each
# batch. Thirty epochs of the 1,097 images, in batches of 50, take a fraction of a
# second. After each epoch, the network is evaluated on the validation images. ``train``
# keeps the best network.

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
# The initial weights and the batches follow from ``rng=0``, so the same code always
# gives the same network. These curves show the course of the training:

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
plotting.plot_loss(run.history, ax=left)
plotting.plot_accuracy(run.history, ax=right)
plt.show()

# %%
# What has it learnt?
# -------------------
#
# Each hidden unit has a weight for every pixel, so its weights are an image of the
# pattern it looks for.

_, axes = plt.subplots(figsize=(8, 4), layout="constrained")
plotting.plot_weights(run.net, (8, 8), max_units=50, columns=10, ax=axes)
plt.show()

# %%
# Saving it
# ---------
#
# Standardizing is an affine map, and the first layer begins with an affine map, so the
# two become one map. ``run.folded`` is a network that takes raw pixels: save this one.

twolayer.save(run.folded, "digits.safetensors", classes=digits.classes)
again = twolayer.load("digits.safetensors")

# %%
# The test, once
# --------------
#
# The validation images were used to choose, for example the best epoch. The test images
# chose nothing, so they measure how well the network does on new images of the same
# kind:

accuracy = float(again.accuracy(digits.test.X, digits.test.y))
print(f"{accuracy:.3f} of {len(digits.test.y)} test images right")

# %%
# The network gives a probability for each class of a single image:

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
# These are the images it got wrong, the most wrong first:

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
# This trains a network on the digits, and writes the network, its results and its
# pictures into a new folder under ``runs/``.
#
# Continue with :doc:`your own arrays </tutorials/arrays>`, or with :doc:`many
# candidates at once </tutorials/sweep>`.
