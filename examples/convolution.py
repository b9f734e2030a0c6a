"""A small convolutional network on CIFAR-10, trained with PyTorch and converted to a two-layer network.

Usage: python examples/convolution.py OUT [--data FOLDER] [--filters 256] [--epochs 30] [--validation 5000]

The network has one layer of filters, a rectifier, average pooling and a linear layer. `twolayer.unroll`
converts it to a network of W1, b1, W2 and b2 on raw pixels, and `twolayer.symmetrize` averages it over an
image and its mirror image. The resulting network is evaluated, in one forward pass, and saved. PyTorch trains
the network, because it has convolutions; twolayer flips and shifts the images.

`--validation N` sets the last N training images aside and evaluates on them. Without it, the test images are
used once, at the end. Prints the accuracy, and writes OUT/results.json and OUT/network.safetensors, which
`twolayer evaluate` and `twolayer predict` read.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import array_api_compat.torch as xp
import numpy as np
import torch
from torch.nn import functional

import twolayer
from twolayer.augmentation import FlipAndShift
from twolayer.datasets import load_cifar10
from twolayer.preprocessing import Standardizer


class Convolution(torch.nn.Module):
    """Filters, a rectifier, average pooling and a linear layer, on standardized images with channels last."""

    def __init__(self, whitening: torch.Tensor, options: argparse.Namespace) -> None:
        super().__init__()
        n_inputs, F, patch = whitening.shape[0], options.filters, options.patch
        positions = (32 + 2 * options.padding - patch) // options.stride + 1
        if positions % options.pool:
            raise SystemExit(f"--pool must divide the {positions} positions along a side; got {options.pool}")
        self.options, self.regions = options, positions // options.pool
        n_pooled = self.regions**2 * F
        # The parameters are filters of whitened patches, for which gradient descent converges faster.
        self.register_buffer("whitening", whitening)
        self.coordinates = torch.nn.Parameter(torch.randn(n_inputs, F) * math.sqrt(2 / n_inputs))
        self.b1 = torch.nn.Parameter(torch.zeros(F))
        self.W2 = torch.nn.Parameter(torch.randn(10, n_pooled) / math.sqrt(n_pooled))
        self.b2 = torch.nn.Parameter(torch.zeros(10))

    def filters(self) -> torch.Tensor:
        """Return the filters for unwhitened patches: (patch, patch, 3, F)."""
        patch = self.options.patch
        return (self.whitening @ self.coordinates).reshape(patch, patch, 3, -1)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        images = X.reshape(-1, 32, 32, 3).permute(0, 3, 1, 2)
        weight = self.filters().permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
        stride, padding = self.options.stride, self.options.padding
        H1 = torch.relu(functional.conv2d(images, weight, self.b1, stride=stride, padding=padding))
        return functional.linear(functional.avg_pool2d(H1, self.options.pool).flatten(1), self.W2, self.b2)

    @torch.no_grad()
    def unrolled(self) -> twolayer.TwoLayerNet:
        """Return the equivalent two-layer network, as NumPy arrays."""
        W2 = self.W2.reshape(10, -1, self.regions, self.regions).permute(2, 3, 1, 0)
        arrays = (array.detach().numpy() for array in (self.filters(), self.b1, W2, self.b2))
        stride, padding = self.options.stride, self.options.padding
        return twolayer.unroll(*arrays, image_shape=(32, 32, 3), stride=stride, padding=padding)


def main(arguments: Sequence[str] | None = None) -> float:
    """Train, unroll, evaluate and save; return the accuracy on the validation or test images."""
    options = parsed(arguments)
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    n_train = min(options.train, 50_000 - options.validation)
    n_test = 0 if options.validation else 10_000
    data = load_cifar10(options.data, n_train=n_train, n_validation=options.validation, n_test=n_test)
    scaling = Standardizer.fit(data.train.X, center="channel", scale="global", n_channels=3)
    model = Convolution(whitening(scaling, data.train.X, options, rng), options)
    start = time.perf_counter()
    train(model, data.train, scaling, options, rng)
    seconds = time.perf_counter() - start

    net = twolayer.symmetrize(scaling.fold(model.unrolled()), data.image_shape)
    name, judged = ("validation", data.validation) if options.validation else ("test", data.test)
    accuracy = float(net.accuracy(*judged))
    print(f"{net.n_hidden:,} hidden units; {seconds:.0f} s of training; {name} {accuracy:.4f}")
    options.out.mkdir(parents=True, exist_ok=True)
    settings = {**vars(options), "out": str(options.out)}
    results = {"settings": settings, name: {"accuracy": accuracy}, "seconds": seconds}
    path = options.out / "network.safetensors"
    twolayer.save(net, path, classes=data.classes, image_shape=data.image_shape, information=results)
    (options.out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return accuracy


def whitening(scaling: Any, X: Any, options: argparse.Namespace, rng: np.random.Generator) -> torch.Tensor:
    """Return the matrix that whitens patches of the images, from 100,000 patches: (patch²·3, patch²·3)."""
    side, n = np.arange(options.patch), 100_000
    tops, lefts = rng.integers(0, 33 - options.patch, (2, n))
    rows, columns = tops[:, None, None] + side[:, None], lefts[:, None, None] + side
    patches = X[rng.integers(len(X), size=n)[:, None, None], rows, columns].reshape(n, -1)
    patches = (patches - patches.mean(axis=0)) / np.std(X)
    variances, vectors = np.linalg.eigh(patches.T @ patches / n)
    matrix = (vectors / np.sqrt(variances + options.epsilon)) @ vectors.T
    return torch.from_numpy(matrix.astype(np.float32))


def train(
    model: Convolution, split: Any, scaling: Any, options: argparse.Namespace, rng: np.random.Generator
) -> None:
    """Train by stochastic gradient descent with Nesterov momentum, a cosine schedule, flips and shifts."""
    X, y = (torch.from_numpy(np.ascontiguousarray(array)) for array in split)
    X = X.reshape(len(X), -1)
    augmentation = FlipAndShift((32, 32, 3), shift=options.shift)
    arrays = tuple(torch.from_numpy(array.astype(np.float32)) for array in scaling.host_arrays())
    optimizer = torch.optim.SGD(model.parameters(), lr=options.learning_rate, momentum=0.9, nesterov=True)
    per_epoch = len(X) // options.batch_size
    steps, warmup = per_epoch * options.epochs, min(1, options.epochs - 1) * per_epoch

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    for epoch in range(1, options.epochs + 1):
        order, total = torch.randperm(len(X)), 0.0
        for i in range(per_epoch):
            rows = order[i * options.batch_size : (i + 1) * options.batch_size]
            draws = tuple(torch.from_numpy(drawn) for drawn in augmentation.draw(rng, len(rows)))
            images, _ = augmentation.apply(X[rows], y[rows], draws, xp=xp)
            logits = model(scaling.transform(images, arrays, xp=xp))
            loss = functional.cross_entropy(logits, y[rows], label_smoothing=options.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch:3d} of {options.epochs}: loss {total / per_epoch:.4f}", flush=True)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", help="the folder cifar-10-batches-bin; by default it is downloaded")
    parser.add_argument("--filters", type=int, default=256)
    parser.add_argument("--patch", type=int, default=6, help="height and width of a filter, in pixels")
    parser.add_argument("--stride", type=int, default=2, help="pixels between two positions of a filter")
    parser.add_argument("--padding", type=int, default=1, help="width of the zeros around an image")
    parser.add_argument("--pool", type=int, default=3, help="positions along each side of a pooling region")
    parser.add_argument("--epsilon", type=float, default=0.01, help="added to the variances in whitening")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=250)
    parser.add_argument("--learning-rate", type=float, default=0.3)
    parser.add_argument("--label-smoothing", type=float, default=0.1)
    parser.add_argument("--shift", type=int, default=2)
    parser.add_argument("--train", type=int, default=50_000, help="train on at most this many images")
    parser.add_argument("--validation", type=int, default=0, help="training images to set aside")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
