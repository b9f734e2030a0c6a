"""A convolutional network on CIFAR-10, distilled into a network that is nothing but W1, b1, W2 and b2.

Usage: python examples/distillation.py OUT --data FOLDER [--validation 5000] [--weight 0.9] [--temperature 2]

Three stages, each of which continues where it was stopped:

1. The teacher, a small residual network, is trained with PyTorch on the training images alone.
2. Its logits are computed for every training image, flipped or not, at each shift of up to --shift pixels.
3. The student is trained as `twolayer train cifar10 --preset record` is: a stack of networks on whitened
   pixels, with `teacher=`. It is merged, and averaged over flips and shifts, into one network on raw pixels.

`--validation N` sets the last N training images aside, and judges by these; otherwise the test images are
looked at once, at the end. `--weight 0` trains the same student without the teacher. Prints the accuracies
and the time of each stage, and writes OUT/results.json and OUT/network.safetensors.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional

import twolayer
from twolayer.augmentation import FlipAndShift
from twolayer.checkpoints import Checkpointer
from twolayer.datasets import load_cifar10

SHAPE = (32, 32, 3)
BLOCK = 1000  # images of a forward pass


class Teacher(nn.Module):
    """A residual network of eight convolutions, on standardized images with channels first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            convolution(3, width),
            convolution(width, 2 * width),
            nn.MaxPool2d(2),
            Residual(2 * width),
            convolution(2 * width, 4 * width),
            nn.MaxPool2d(2),
            convolution(4 * width, 8 * width),
            nn.MaxPool2d(2),
            Residual(8 * width),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Linear(8 * width, 10),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 0.125 * self.layers(images)  # so that the first steps are small


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(convolution(width, width), convolution(width, width))

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return X + self.layers(X)


def convolution(n_in: int, n_out: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)
    )


class Recalled:
    """A teacher that remembers: logits that were computed before, found by a hash of the image."""

    def __init__(self, name: str, folder: Path, X: Any, shift: int) -> None:
        self.name = name  # in the run's fingerprint
        keys = [hashes(moved(X, *move)) for move in moves(shift)]
        logits = [np.load(folder / file_name(*move)) for move in moves(shift)]
        self.keys, first = np.unique(np.concatenate(keys), return_index=True)
        self.logits = np.concatenate(logits)[first]

    def __call__(self, X: Any) -> Any:
        keys = hashes(np.asarray(X))
        places = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        if not (self.keys[places] == keys).all():
            raise ValueError("the images must be those of the logits; got others")
        return self.logits[places].astype(np.float32)


def hashes(X: Any) -> Any:
    """A number of 64 bits for each image, by its bytes."""
    words = np.ascontiguousarray(X).reshape(len(X), -1).view(np.uint64)
    factors = np.random.default_rng(0).integers(2**63, size=words.shape[1], dtype=np.uint64) * 2 + 1
    return (words ^ (words >> np.uint64(29))) @ factors


def moves(shift: int) -> Iterator[tuple[int, int, int]]:
    """Flip, dy and dx of each view of an image."""
    sides = range(-shift, shift + 1)
    return itertools.product((0, 1), sides, sides)


def moved(X: Any, flip: int, dy: int, dx: int) -> Any:
    """Images (N, D), flipped or not and shifted, as `FlipAndShift` moves them."""
    draws = tuple(np.full(BLOCK, number, np.int32) for number in (flip, dy, dx))
    augmentation, blocks = FlipAndShift(SHAPE, shift=max(abs(dy), abs(dx))), np.split(X, len(X) // BLOCK)
    return np.concatenate([augmentation.apply(block, block, draws, xp=np)[0] for block in blocks])


def file_name(flip: int, dy: int, dx: int) -> str:
    return f"flip {flip}, shift {dy} {dx}.npy"


def main(arguments: Sequence[str] | None = None) -> float:
    """Run the stages that are left; return the student's accuracy on the images that it is judged by."""
    options = parsed(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    n_train = min(options.train, 50_000 - options.validation) // BLOCK * BLOCK
    n_test = 0 if options.validation else 10_000
    data = load_cifar10(options.data, n_train=n_train, n_validation=options.validation, n_test=n_test)
    judged = data.validation if options.validation else data.test
    X, y = data.train.X.reshape(n_train, -1), data.train.y

    teacher = Teacher(options.width).to(memory_format=torch.channels_last)
    scaling = X.reshape(-1, 3).mean(axis=0), X.std()
    seconds = {"teacher": train_teacher(teacher, X, y, scaling, options)}
    logits = predicted(teacher, judged.X.reshape(len(judged.y), -1), scaling)
    accuracies = {"teacher": float((logits.argmax(axis=1) == judged.y).mean())}
    print(f"teacher: {accuracies['teacher']:.4f}", flush=True)
    seconds["logits"] = write_logits(teacher, X, scaling, options) if options.weight else 0.0
    net, seconds["student"] = train_student(X, y, data, options)
    accuracies["student"] = float(net.accuracy(*judged))
    print(f"student: {accuracies['student']:.4f}; seconds: {seconds}")
    results = {"settings": {**vars(options), "out": str(options.out)}, "seconds": seconds}
    results["validation" if options.validation else "test"] = accuracies
    (options.out / f"results-{options.weight:g}.json").write_text(json.dumps(results, indent=1) + "\n")
    path = options.out / f"network-{options.weight:g}.safetensors"
    twolayer.save(net, path, classes=data.classes, image_shape=SHAPE, information=results)
    return accuracies["student"]


def standardized(X: Any, scaling: tuple[Any, Any]) -> torch.Tensor:
    """Bytes (N, D) as images with channels first."""
    images = (X.reshape(-1, *SHAPE) - scaling[0].astype(np.float32)) / np.float32(scaling[1])
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def train_teacher(teacher: Teacher, X: Any, y: Any, scaling: Any, options: argparse.Namespace) -> float:
    """Train for the epochs that are left: Nesterov momentum, one cycle of the rate; return the seconds."""
    file, size = options.out / "teacher.safetensors", options.teacher_batch
    torch.manual_seed(options.seed)
    optimizer = torch.optim.SGD(teacher.parameters(), momentum=0.9, nesterov=True, weight_decay=5e-4 * size)
    optimizer.zero_grad()
    buffers = {name: torch.zeros_like(array) for name, array in teacher.named_parameters()}
    n_done, seconds = 0, 0.0
    if file.exists():
        stored = safetensors.torch.load_file(file)
        with safetensors.safe_open(file, "pt") as opened:
            n_done, seconds = int(opened.metadata()["epochs"]), float(opened.metadata()["seconds"])
        teacher.load_state_dict({name: stored[name] for name in teacher.state_dict()})
        buffers = {name: stored[f"momentum.{name}"] for name in buffers}
    for name, array in teacher.named_parameters():
        optimizer.state[array]["momentum_buffer"] = buffers[name]
    augmentation, per_epoch = FlipAndShift(SHAPE, shift=4), len(X) // size
    knots = [0, 0.2 * options.teacher_epochs, options.teacher_epochs]
    for epoch in range(n_done, options.teacher_epochs):
        start, total = time.perf_counter(), 0.0
        rng = np.random.default_rng([options.seed, epoch])
        order = rng.permutation(len(X))
        teacher.train()
        for i in range(per_epoch):
            for group in optimizer.param_groups:
                group["lr"] = np.interp(epoch + i / per_epoch, knots, [0, options.teacher_rate, 0]) / size
            rows = order[i * size : (i + 1) * size]
            images, _ = augmentation.apply(X[rows], y[rows], augmentation.draw(rng, size), xp=np)
            logits = outputs(teacher, images, scaling)
            loss = functional.cross_entropy(
                logits, torch.from_numpy(y[rows].astype(np.int64)), reduction="sum"
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() / size
        seconds += time.perf_counter() - start
        arrays = teacher.state_dict() | {
            f"momentum.{name}": optimizer.state[array]["momentum_buffer"]
            for name, array in teacher.named_parameters()
        }
        partial = file.with_suffix(".partial")
        known = {"epochs": str(epoch + 1), "seconds": str(seconds)}
        safetensors.torch.save_file({k: a.contiguous() for k, a in arrays.items()}, partial, known)
        partial.replace(file)
        print(f"teacher, epoch {epoch + 1}: loss {total / per_epoch:.3f}, {seconds:.0f} s", flush=True)
    return seconds


def outputs(teacher: Teacher, X: Any, scaling: Any) -> torch.Tensor:
    images = standardized(X, scaling).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = teacher(images)
    return logits.float()


@torch.no_grad()
def predicted(teacher: Teacher, X: Any, scaling: Any) -> Any:
    """Logits (N, 10) float32."""
    teacher.eval()
    blocks = np.split(X, len(X) // BLOCK)
    return np.concatenate([outputs(teacher, block, scaling).numpy() for block in blocks])


def write_logits(teacher: Teacher, X: Any, scaling: Any, options: argparse.Namespace) -> float:
    """Write the logits of each view that has no file yet; return the seconds of all."""
    folder = options.out / "logits"
    folder.mkdir(exist_ok=True)
    clock = folder / "seconds.json"
    seconds = json.loads(clock.read_text()) if clock.exists() else 0.0
    for number, move in enumerate(moves(options.shift), start=1):
        file = folder / file_name(*move)
        if file.exists():
            continue
        start = time.perf_counter()
        partial = file.with_suffix(".partial")
        with partial.open("wb") as opened:
            np.save(opened, predicted(teacher, moved(X, *move), scaling).astype(np.float16))
        seconds += time.perf_counter() - start
        clock.write_text(json.dumps(seconds))
        partial.replace(file)
        print(f"logits of view {number}, {seconds:.0f} s", flush=True)
    return seconds


def train_student(X: Any, y: Any, data: Any, options: argparse.Namespace) -> tuple[Any, float]:
    """Train a stack as the preset `record` does; return the one network that it becomes, and the seconds."""
    name = {"jax": "jax.numpy", "torch": "array_api_compat.torch"}.get(options.library, "numpy")
    xp = importlib.import_module(name)
    checkpoint = options.out / f"student-{options.weight:g}.safetensors"
    whitener = twolayer.preprocessing.Whitener.fit(X, kind="pca", n_components=256)
    nets = twolayer.stack(
        [
            twolayer.TwoLayerNet.initialize(256, options.hidden, 10, rng=options.seed + k, xp=xp)
            for k in range(options.networks)
        ]
    )
    teaching: dict[str, Any] = {}
    if options.weight:
        name = f"the teacher of {options.teacher_epochs} epochs"
        teaching["teacher"] = Recalled(name, options.out / "logits", X, options.shift)
        teaching |= {"teacher_weight": options.weight, "temperature": options.temperature}
    start = time.perf_counter()
    validation = data.validation and (data.validation.X.reshape(-1, X.shape[1]), data.validation.y)
    run = twolayer.train(
        None if checkpoint.exists() else nets,
        X,
        y,
        **teaching,
        validation=validation,
        resume=checkpoint if checkpoint.exists() else None,
        preprocessing=whitener,
        augmentation=FlipAndShift(SHAPE, shift=options.shift),
        label_smoothing=0.0 if options.weight else 0.1,
        dropout=options.dropout,
        learning_rate=0.1,
        schedule=twolayer.schedules.Warmup(epochs=2),
        batch_size=250,
        epochs=options.epochs,
        judge="last",
        stream=True,
        rng=options.seed,
        callbacks=[report, Checkpointer(checkpoint, seconds=120)],
    )
    seconds = time.perf_counter() - start
    net = twolayer.merge(run.folded.to(np))
    return twolayer.symmetrize(net, SHAPE, shifts=options.symmetrize_shift), seconds


def report(progress: twolayer.Progress) -> None:
    if progress.epoch_ended:
        history = progress.history()
        words = f"student, epoch {progress.epoch}: loss {np.mean(history.loss[:, -180:]):.4f}"
        accuracy = np.mean(history.validation_accuracy[:, -1])
        print(words if math.isnan(accuracy) else f"{words}, validation {accuracy:.4f}", flush=True)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", required=True, help="the folder cifar-10-batches-bin")
    parser.add_argument("--train", type=int, default=50_000, help="at most so many training images")
    parser.add_argument("--validation", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--width", type=int, default=32, help="channels of the teacher's first layer")
    parser.add_argument("--teacher-epochs", type=int, default=30)
    parser.add_argument("--teacher-batch", type=int, default=500)
    parser.add_argument("--teacher-rate", type=float, default=0.4, help="of the mean loss of a batch")
    parser.add_argument("--weight", type=float, default=0.9, help="of the teacher; 0 for none")
    parser.add_argument("--temperature", type=float, default=2.0)
    parser.add_argument("--library", choices=("numpy", "torch", "jax"), default="jax")
    parser.add_argument("--networks", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--epochs", type=int, default=160)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--shift", type=int, default=3)
    parser.add_argument("--symmetrize-shift", type=int, default=1)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
