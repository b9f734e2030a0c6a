"""
A mean over shifts, folded in
=============================

A digit that was written a pixel further to the left is the same digit. So ask the
network about the image and about the image shifted, and take the mean: of a two-layer
network, that mean is one wider two-layer network, as a shift only moves weights about
(:doc:`/mathematics`). ``symmetrize`` writes it out.
"""

import matplotlib.pyplot as plt
import numpy as np

import twolayer
from twolayer import plotting

digits = twolayer.datasets.load_digits()
scaling = twolayer.preprocessing.Standardizer.fit(digits.train.X)
run = twolayer.train(
    twolayer.TwoLayerNet.initialize(64, 8, 10, rng=0),
    digits.train.X,
    digits.train.y,
    preprocessing=scaling,
    augmentation=twolayer.augmentation.FlipAndShift(
        (8, 8), flip=False, shift=1, border="zero"
    ),
    learning_rate=0.1,
    batch_size=50,
    epochs=30,
    rng=0,
)
net = run.folded
wide = twolayer.symmetrize(
    net,
    (8, 8),
    flip=False,
    shifts=[(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)],
    border="zero",
)
print(net)
print(wide)

# %%
# Its hidden units are those of the narrow network, five times, each moved by a pixel:

figure, (top, bottom) = plt.subplots(
    2, 1, figsize=(8, 6.8), height_ratios=[1, 5], layout="constrained"
)
plotting.plot_weights(net, (8, 8), columns=8, ax=top)
plotting.plot_weights(wide, (8, 8), columns=8, ax=bottom)
plt.show()

# %%
# On test images as they are, and on the same ones moved by a pixel to the right:

moved = np.zeros_like(digits.test.X)
moved[:, :, 1:] = digits.test.X[:, :, :-1]
for name, one in (("as trained", net), ("mean over shifts", wide)):
    still, shifted = (one.accuracy(X, digits.test.y) for X in (digits.test.X, moved))
    print(f"{name}: {still:.3f} of the images right, {shifted:.3f} of the moved ones")
