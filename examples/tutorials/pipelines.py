"""
In scikit-learn's pipelines and searches
========================================

``TwoLayerClassifier`` is the network as a scikit-learn estimator. It works wherever an
estimator works: in a pipeline, a cross-validation, a search or a calibration. It needs
the extra ``sklearn``: ``python -m pip install "twolayer[sklearn]"``.
:doc:`/scikit-learn` compares its parameters with those of ``MLPClassifier``.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine, make_gaussian_quantiles
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    RepeatedStratifiedKFold,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import twolayer
from twolayer.sklearn import TwoLayerClassifier

# %%
# The data are wines of three growers, described by 13 figures of a chemical analysis. A
# quarter of the wines is set aside for the test.

X, y = load_wine(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
print(X_train.shape, X_test.shape)

# %%
# A pipeline
# ----------
#
# The figures are of very different sizes, so they are scaled first. A pipeline fits the
# scaler anew in each fold, to the training samples of the fold only.

model = make_pipeline(
    StandardScaler(), TwoLayerClassifier(20, max_iter=60, random_state=0)
)
model.fit(X_train, y_train)
model

# %%
# ``net_`` is the network, four arrays like any other network; ``loss_curve_`` is the
# course of its training.

classifier = model[-1]
print(classifier.net_)

_, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
axes.plot(classifier.loss_curve_)
axes.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Cross-validation against simpler models
# ---------------------------------------
#
# A network that is no better than a linear model is not worth its parameters. With 133
# samples, a single split shows little, so each model is evaluated on the same five
# folds, three times.

folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=3, random_state=0)
models = {
    "the commonest class": DummyClassifier(),
    "logistic regression": make_pipeline(StandardScaler(), LogisticRegression()),
    "two layers": make_pipeline(
        StandardScaler(), TwoLayerClassifier(20, max_iter=60, random_state=0)
    ),
}
scores = {
    name: cross_val_score(one, X_train, y_train, cv=folds)
    for name, one in models.items()
}
for name, accuracy in scores.items():
    print(f"{name:20} {accuracy.mean():.3f} ± {accuracy.std(ddof=1):.3f} over folds")

# %%
# Compare the models fold by fold, by the differences in pairs (:doc:`/tutorials/sweep`
# explains why):

difference = scores["two layers"] - scores["logistic regression"]
print(f"{difference.mean():+.3f} ± {difference.std(ddof=1):.3f} over folds")

# %%
# The samples are few, and planes separate the classes well, so the network has nothing
# to gain. That is a result, too.
#
# A search
# --------
#
# A hidden layer helps if no plane separates the classes. These are 3,000 artificial
# samples of 8 features, and their classes are shells around one another.

X, y = make_gaussian_quantiles(
    n_samples=3000, n_features=8, n_classes=3, random_state=0
)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)

model = make_pipeline(
    StandardScaler(), TwoLayerClassifier(50, max_iter=30, random_state=0)
)
search = GridSearchCV(
    model,
    {
        "twolayerclassifier__learning_rate_init": [0.003, 0.01, 0.03],
        "twolayerclassifier__reg": [1e-4, 1e-3],
    },
    cv=3,
)
search.fit(X_train, y_train)
columns = ("params", "mean_test_score", "std_test_score")
for settings, mean, std in zip(
    *(search.cv_results_[key] for key in columns), strict=True
):
    named = ", ".join(
        f"{key.partition('__')[2]} {value:g}" for key, value in settings.items()
    )
    print(f"{mean:.3f} ± {std:.3f}  {named}")

# %%
# The search has chosen. Now test once, and compare with a linear model:

linear = make_pipeline(StandardScaler(), LogisticRegression()).fit(X_train, y_train)
print(
    f"logistic regression: {linear.score(X_test, y_test):.3f} of the test samples right"
)
print(f"two layers: {search.score(X_test, y_test):.3f}")

# %%
# Out of scikit-learn again
# -------------------------
#
# A ``StandardScaler`` is an affine map of the samples, and folds into the first layer
# as twolayer's own preprocessing does. The result is a network that takes raw samples,
# and that can be saved, merged or :doc:`served without Python </tutorials/onnx>`.

scaler, classifier = search.best_estimator_
scaling = twolayer.preprocessing.Standardizer(
    mean=scaler.mean_, scale=1 / scaler.scale_
)
net = scaling.fold(classifier.net_)
np.testing.assert_array_equal(
    net.predict(X_test.astype(net.W1.dtype)), search.predict(X_test)
)
net
