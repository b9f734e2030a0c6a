"""
Are the probabilities calibrated?
=================================

If a network predicts a class with a probability of 0.8, it should be right in eight of
ten cases. A reliability diagram compares the two: on the diagonal the probabilities are
correct, and below it the network is overconfident.
"""

import matplotlib.pyplot as plt
import numpy as np

import twolayer
from twolayer import plotting

# %%
# The data are two overlapping clouds of points in 20 dimensions, so even the best
# classifier is often wrong. A network that is trained for a long time on few samples
# memorizes them, and becomes overconfident.

rng = np.random.default_rng(0)
y = rng.integers(0, 2, 4300)
X = rng.standard_normal((4300, 20)) + 0.5 * y[:, None] * np.array(
    [1.0] * 5 + [0.0] * 15
)
train, test = (X[:300], y[:300]), (X[300:], y[300:])


def trained(**settings):
    net = twolayer.TwoLayerNet.initialize(20, 50, 2, rng=0)
    run = twolayer.train(
        net, *train, learning_rate=0.1, batch_size=50, rng=0, **settings
    )
    return run.net


nets = {
    "100 epochs": trained(epochs=100),
    "100 epochs, reg = 0.03": trained(epochs=100, reg=0.03),
}
_, axes = plt.subplots(1, 2, figsize=(10, 5), layout="constrained", sharey=True)
for ax, (title, net) in zip(axes, nets.items(), strict=True):
    plotting.plot_calibration(test[1], net.predict_proba(test[0]), ax=ax)
    ax.set_title(title)
plt.show()

# %%
# The penalty keeps the weights small, and therefore the logits: the network is right
# more often, and its probabilities are nearly correct. The mean cross-entropy shows
# this in one number; the accuracy does not.

for title, net in nets.items():
    accuracy, loss = net.accuracy(*test), net.loss(*test)
    print(f"{title}: accuracy {accuracy:.3f}, mean cross-entropy {loss:.3f}")
