"""The handwritten digits that are included in the package."""

from __future__ import annotations

from importlib import resources

import numpy as np

from ._dataset import Dataset, Split

_N_TRAIN, _N_VALIDATION = 1097, 300


def load_digits() -> Dataset:
    """Load the 1,797 handwritten digits of 8×8 pixels that are included in the package.

    They are the test set of the UCI repository's "Optical Recognition of Handwritten Digits" [1]_, licensed
    under CC BY 4.0. The split is fixed: 1,097 images to train, 300 to validate, 400 to test.

    Returns
    -------
    Dataset
        ``X`` (N, 8, 8) uint8, each value in [0, 16]: the number of ink pixels in a 4×4 block of the scan.
        ``y`` (N,) int64, the digit.

    Notes
    -----
    The images were split at random. Thirteen people wrote them, and the data do not record who wrote which
    image. So each writer is probably in all three splits: the test accuracy is valid for new images *of these
    writers*, and higher than for new writers.

    References
    ----------
    .. [1] E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
       Repository, 1998. https://doi.org/10.24432/C50P49

    Examples
    --------
    >>> from twolayer.datasets import load_digits
    >>> load_digits().train
    Split(X=(1097, 8, 8) uint8, y=(1097,) int64)
    """
    file = resources.files(__package__).joinpath("digits.npz")
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
        X, y = stored["images"], stored["labels"].astype(np.int64)
    stop = _N_TRAIN + _N_VALIDATION
    return Dataset(
        name="digits",
        train=Split(X[:_N_TRAIN], y[:_N_TRAIN]),
        validation=Split(X[_N_TRAIN:stop], y[_N_TRAIN:stop]),
        test=Split(X[stop:], y[stop:]),
        classes=tuple("0123456789"),
        image_shape=(8, 8),
    )
