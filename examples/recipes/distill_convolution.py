"""A PyTorch convolutional network, distilled into a two-layer network.

Usage: python examples/recipes/distill_convolution.py      (needs PyTorch)

The teacher is called in every step, on the same batch as the student: images shifted by up to a pixel.
"""

from __future__ import annotations

from typing import Any

import array_api_compat.torch as xp
import torch

import twolayer
from twolayer.augmentation import FlipAndShift

EPOCHS = 30


def trained_teacher(X: torch.Tensor, y: torch.Tensor) -> torch.nn.Module:
    """Return a trained small convolutional network for images of 8 by 8 pixels."""
    torch.manual_seed(0)
    teacher = torch.nn.Sequential(
        torch.nn.Unflatten(1, (1, 8, 8)),
        torch.nn.Conv2d(1, 32, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(32, 64, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(64 * 4 * 4, 10),
    )
    optimizer = torch.optim.Adam(teacher.parameters(), lr=1e-3)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(X)).split(50):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(teacher(X[rows] / 16), y[rows]).backward()
            optimizer.step()
    return teacher.eval()


def main() -> dict[str, float]:
    """Print the accuracies on the test images, and return them."""
    digits = twolayer.datasets.load_digits()
    X, y, X_test, y_test = map(torch.from_numpy, (*digits.train, *digits.test))
    X, X_test = X.reshape(len(X), 64).float(), X_test.reshape(len(X_test), 64).float()
    teacher = trained_teacher(X, y)
    how: dict[str, Any] = {
        "preprocessing": twolayer.preprocessing.Standardizer.fit(X),
        "augmentation": FlipAndShift((8, 8), flip=False, shift=1),
        "learning_rate": 0.05,
        "batch_size": 50,
        "epochs": EPOCHS,
        "rng": 0,
    }
    start = twolayer.TwoLayerNet.initialize(64, 30, 10, rng=0, xp=xp)
    alone = twolayer.train(start, X, y, **how)
    taught = twolayer.train(
        start, X, y, teacher=lambda images: teacher(images / 16), teacher_weight=0.9, temperature=2.0, **how
    )
    with torch.no_grad():
        right = (teacher(X_test / 16).argmax(dim=1) == y_test).float().mean()
    accuracies = {
        "convolutional network": float(right),
        "two-layer network, labels alone": float(alone.folded.accuracy(X_test, y_test)),
        "two-layer network, taught": float(taught.folded.accuracy(X_test, y_test)),
    }
    for name, accuracy in accuracies.items():
        print(f"{name:32} {accuracy:.3f}")
    n_numbers = sum(array.numel() for array in teacher.parameters())
    print(f"{n_numbers:,} numbers in the teacher, {sum(a.numel() for a in taught.net):,} in the student.")
    print(f"The teacher took {taught.teacher_seconds:.1f} s.")
    return accuracies


if __name__ == "__main__":
    main()
