"""
Which classes are taken for which
=================================

An accuracy says how often a network is wrong, a confusion matrix in which way: a row
for each true class, a column for each predicted one.
"""

import matplotlib.pyplot as plt
import numpy as np

import twolayer
from twolayer import plotting
from twolayer.report import confusion_matrix

digits = twolayer.datasets.load_digits()
scaling = twolayer.preprocessing.Standardizer.fit(digits.train.X)

# %%
# A network of six hidden units, few enough to make mistakes:

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
net = run.folded  # it takes the pixels as they are
predicted = net.predict(digits.test.X)
confusion = confusion_matrix(digits.test.y, predicted, 10)

_, axes = plt.subplots(figsize=(6.5, 5.5), layout="constrained")
plotting.plot_confusion(confusion, digits.classes, ax=axes)
plt.show()

# %%
# The commonest mistakes:

mistakes = confusion - np.diag(np.diag(confusion))
for i in np.argsort(-mistakes, axis=None, kind="stable")[:5]:
    true, taken = np.unravel_index(i, mistakes.shape)
    of = f"{mistakes[true, taken]} of {confusion[true].sum()}"
    print(f"{of} images of a {true} were taken for a {taken}")
