"""
Merging many networks into one
==============================

Networks with different initial weights make different mistakes, so the mean of their
logits is right more often than each network. For two-layer networks, this mean *is* a
two-layer network: concatenate their hidden units, and divide the second layers by the
number of networks (:doc:`/mathematics`). ``merge`` does exactly this.
"""

import matplotlib.pyplot as plt
import numpy as np

import twolayer

digits = twolayer.datasets.load_digits()
scaling = twolayer.preprocessing.Standardizer.fit(digits.train.X)
X_test = scaling.apply(digits.test.X)

# %%
# 48 networks of 20 hidden units are trained on 200 images, as one stack. They see the
# same batches, and differ only in their initial weights.

nets = twolayer.stack(
    twolayer.TwoLayerNet.initialize(64, 20, 10, rng=seed) for seed in range(48)
)
run = twolayer.train(
    nets,
    digits.train.X[:200],
    digits.train.y[:200],
    preprocessing=scaling,
    learning_rate=0.1,
    batch_size=50,
    epochs=20,
    rng=0,
)
each = run.net.accuracy(X_test, digits.test.y)
print(
    f"one network: {each.mean():.3f} ± {each.std(ddof=1):.3f} of the test images right"
)

# %%
# Merge them in groups of two, four and so on. This is fast, because nothing is trained
# again:

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for size in (1, 2, 4, 8, 16, 48):
    groups = np.arange(48).reshape(-1, size)
    merged = [
        twolayer.merge(twolayer.stack(run.net.select(int(k)) for k in group))
        for group in groups
    ]
    accuracies = np.array([net.accuracy(X_test, digits.test.y) for net in merged])
    axes.plot(np.full(len(accuracies), size), accuracies, ".", color="C0", alpha=0.4)
    axes.plot(size, accuracies.mean(), "o", color="C1")
    width = merged[0].n_hidden
    print(f"{size:2} networks, {width:3} hidden units: {accuracies.mean():.3f}")
axes.set(xscale="log", xlabel="merged networks", ylabel="test accuracy")
axes.set_xticks(
    [1, 2, 4, 8, 16, 48], labels=["1", "2", "4", "8", "16", "48"], minor=False
)
axes.minorticks_off()
axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# One forward pass of the merged network returns the mean of the logits:

whole = twolayer.merge(run.net)
print(whole)
np.testing.assert_allclose(
    whole.logits(X_test), run.net.logits(X_test).mean(axis=0), rtol=1e-3, atol=1e-4
)
