"""
Averaging over shifts
=====================

A digit stays the same digit if it is shifted by a pixel. Averaging the logits over an
image and its shifted copies makes use of this. For a two-layer network, this average is
one wider two-layer network, because a shift only moves the weights
(:doc:`/mathematics`). ``symmetrize`` returns that network.
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
# The wide network has the hidden units of the narrow one five times: unshifted, and
# shifted by a pixel in each direction.

figure, (top, bottom) = plt.subplots(
    2, 1, figsize=(8, 6.8), height_ratios=[1, 5], layout="constrained"
)
plotting.plot_weights(net, (8, 8), columns=8, ax=top)
plotting.plot_weights(wide, (8, 8), columns=8, ax=bottom)
plt.show()

# %%
# Compare both on the test images, and on the same images shifted right by a pixel:

moved = np.zeros_like(digits.test.X)
moved[:, :, 1:] = digits.test.X[:, :, :-1]
for name, one in (("as trained", net), ("mean over shifts", wide)):
    still, shifted = (one.accuracy(X, digits.test.y) for X in (digits.test.X, moved))
    print(f"{name}: accuracy {still:.3f}, on shifted images {shifted:.3f}")
