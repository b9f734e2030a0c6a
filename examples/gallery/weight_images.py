"""
What the hidden units detect
============================

Each hidden unit multiplies an image by its weights, pixel by pixel, and sums the
result, so it responds to images that look like its weights. Drawn as images, the
weights show what the unit detects.
"""

# sphinx_gallery_thumbnail_number = 2
import matplotlib.pyplot as plt

import twolayer
from twolayer import plotting

digits = twolayer.datasets.load_digits()
scaling = twolayer.preprocessing.Standardizer.fit(digits.train.X)


def trained(reg):
    return twolayer.train(
        twolayer.TwoLayerNet.initialize(64, 40, 10, rng=0),
        digits.train.X,
        digits.train.y,
        validation=digits.validation,
        preprocessing=scaling,
        reg=reg,
        learning_rate=0.1,
        batch_size=50,
        epochs=40,
        rng=0,
    )


runs = {reg: trained(reg) for reg in (0.0, 1e-2)}

# %%
# Without a penalty, the weights keep much of their initial noise, because nothing in
# the loss removes it.

_, axes = plt.subplots(figsize=(8, 3.5), layout="constrained")
plotting.plot_weights(runs[0.0].net, (8, 8), columns=10, ax=axes)
plt.show()

# %%
# The L2 penalty removes the parts that do not help to distinguish the classes. The
# weights then show strokes, and places without strokes.

_, axes = plt.subplots(figsize=(8, 3.5), layout="constrained")
plotting.plot_weights(runs[1e-2].net, (8, 8), columns=10, ax=axes)
plt.show()

# %%
# Compare the two networks:

for reg, run in runs.items():
    print(f"reg {reg:g}: validation accuracy {run.validation_accuracy:.3f}")
