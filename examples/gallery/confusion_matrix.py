"""
Which classes are confused
==========================

An accuracy shows how often a network is wrong; a confusion matrix also shows how. It
has a row for each true class, and a column for each predicted class.
"""

import matplotlib.pyplot as plt
import numpy as np

import twolayer
from twolayer import plotting
from twolayer.report import confusion_matrix

digits = twolayer.datasets.load_digits()
scaling = twolayer.preprocessing.Standardizer.fit(digits.train.X)

# %%
# A network of six hidden units makes some mistakes:

run = twolayer.train(
    twolayer.TwoLayerNet.initialize(64, 6, 10, rng=0),
    digits.train.X,
    digits.train.y,
    preprocessing=scaling,
    learning_rate=0.05,
    batch_size=50,
    epochs=20,
    rng=0,
)
net = run.folded  # takes raw pixels
predicted = net.predict(digits.test.X)
confusion = confusion_matrix(digits.test.y, predicted, 10)

_, axes = plt.subplots(figsize=(6.5, 5.5), layout="constrained")
plotting.plot_confusion(confusion, digits.classes, ax=axes)
plt.show()

# %%
# The most frequent mistakes:

mistakes = confusion - np.diag(np.diag(confusion))
for i in np.argsort(-mistakes, axis=None, kind="stable")[:5]:
    true, taken = np.unravel_index(i, mistakes.shape)
    of = f"{mistakes[true, taken]} of {confusion[true].sum()}"
    print(f"{of} images of a {true} were classified as {taken}")
