"""
Misclassified images
====================

Before you blame a network, look at its mistakes. The figure begins with the worst: the
images whose true class has the lowest probability. Check their labels too, because
sometimes the label is wrong.
"""

import matplotlib.pyplot as plt

import twolayer
from twolayer import plotting

digits = twolayer.datasets.load_digits()
scaling = twolayer.preprocessing.Standardizer.fit(digits.train.X)
run = twolayer.train(
    twolayer.TwoLayerNet.initialize(64, 30, 10, rng=0),
    digits.train.X,
    digits.train.y,
    preprocessing=scaling,
    learning_rate=0.1,
    batch_size=50,
    epochs=10,
    rng=0,
)
net = run.folded
probs = net.predict_proba(digits.test.X)
wrong = int((probs.argmax(axis=1) != digits.test.y).sum())
print(f"{wrong} of {len(digits.test.y)} test images are misclassified")

# %%

_, axes = plt.subplots(figsize=(8, 6), layout="constrained")
plotting.plot_mistakes(
    digits.test.X, digits.test.y, probs, digits.classes, digits.image_shape, ax=axes
)
plt.show()
