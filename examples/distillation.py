"""A convolutional network on CIFAR-10, distilled into a network that is nothing but W1, b1, W2 and b2.

Usage: python examples/distillation.py OUT [--data FOLDER] [--validation 5000] [--weight 0.9]

Three stages, each of which goes on where it was stopped when the same command is given again:

1. The teacher, a small residual network, is trained with PyTorch on the training images alone.
2. Its logits are computed for every training image, flipped or not, at each shift of up to --shift pixels.
3. The student is trained as `twolayer train cifar10 --preset record` trains: a stack of networks on whitened
   pixels. It is merged, and averaged over flips and shifts, into one network on raw pixels.

`--validation N` sets the last N training images aside, and judges by these; otherwise the test images are
looked at once, at the end. `--teacher OTHER/teacher` uses another run's teacher and its logits again;
`--weight 0` trains the student without a teacher, on smoothed labels. Prints the accuracies and the time of
each stage, and writes OUT/results.json and OUT/network.safetensors.
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
OF_TEACHER = (
    "train",
    "validation",
    "seed",
    "width",
    "teacher_epochs",
    "teacher_batch",
    "teacher_rate",
    "shift",
)


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
    """Two convolutions, whose result is added to what they are given."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(convolution(width, width), convolution(width, width))

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return X + self.layers(X)


def convolution(n_in: int, n_out: int) -> nn.Module:
    """Filters of 3 by 3 pixels, batch normalization, and a rectifier."""
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)
    )


class Recalled:
    """A teacher that remembers: logits that were computed before, found by a hash of the image."""

    def __init__(self, folder: Path, X: Any, shift: int) -> None:
        self.name = "logits in files"  # in the run's fingerprint
        keys = [hashes(moved(X, *move)) for move in moves(shift)]
        logits = [np.load(folder / file_name(*move)) for move in moves(shift)]
        self.keys, first = np.unique(np.concatenate(keys), return_index=True)
        self.logits = np.concatenate(logits)[first]

    def __call__(self, X: Any) -> Any:
        keys = hashes(np.asarray(X))
        places = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        if not (self.keys[places] == keys).all():
            raise ValueError("the images must be those that logits were computed for; got others")
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
    augmentation = FlipAndShift(SHAPE, shift=max(abs(dy), abs(dx)))

    def moved_block(block: Any) -> Any:
        draws = tuple(np.full(len(block), number, np.int32) for number in (flip, dy, dx))
        return augmentation.apply(block, block, draws, xp=np)[0]

    return np.concatenate(list(map(moved_block, blocks(X))))


def blocks(X: Any, size: int = 100) -> Any:
    """Split images into parts that fit the processor's cache better than all of them."""
    return np.array_split(X, range(size, len(X), size))


def file_name(flip: int, dy: int, dx: int) -> str:
    return f"flip {flip}, shift {dy} {dx}.npy"


class Clock:
    """The seconds that each stage has taken, over all starts of the program."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "seconds.json"
        self.seconds: dict[str, float] = read_json(self.file) or {}
        self.last = time.perf_counter()

    def add(self, stage: str) -> None:
        """Add the time since the last call to this stage's."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self.last
        self.last = now
        write_json(self.file, self.seconds)


def read_json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def write_json(file: Path, content: Any) -> None:
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(file)


def main(arguments: Sequence[str] | None = None) -> float:
    """Run the stages that are left; return the student's accuracy on the images that it is judged by."""
    options = parsed(arguments)
    settings = {
        name: value for name, value in vars(options).items() if name not in ("out", "data", "teacher")
    }
    check_settings(options.out, settings)
    n_train = min(options.train, 50_000 - options.validation)
    n_test = 0 if options.validation else 10_000
    data = load_cifar10(options.data, n_train=n_train, n_validation=options.validation, n_test=n_test)
    name, judged = ("validation", data.validation) if options.validation else ("test", data.test)
    X, y = data.train.X.reshape(n_train, -1), data.train.y
    accuracies, seconds = {}, {}

    if options.weight:
        check_settings(options.teacher, {name: settings[name] for name in OF_TEACHER})
        clock = Clock(options.teacher)
        teacher = Teacher(options.width).to(memory_format=torch.channels_last)
        scaling = X.reshape(-1, 3).mean(axis=0), X.std()
        train_teacher(teacher, X, y, scaling, options, clock)
        found = predicted(teacher, judged.X.reshape(len(judged.y), -1), scaling).argmax(axis=1)
        accuracies["teacher"] = float((found == judged.y).mean())
        print(f"teacher: {name} {accuracies['teacher']:.4f}", flush=True)
        write_logits(teacher, X, scaling, options, clock)
        seconds |= clock.seconds
    clock = Clock(options.out)
    net = train_student(X, y, data, options, clock)
    seconds |= clock.seconds

    accuracies["accuracy"] = float(net.accuracy(*judged))
    words = ", ".join(f"{stage} {took:.0f} s" for stage, took in seconds.items())
    print(f"{words}; {net.n_hidden:,} hidden units; {name} {accuracies['accuracy']:.4f}")
    results = {"settings": settings, name: accuracies, "seconds": sum(seconds.values()), "parts": seconds}
    path = options.out / "network.safetensors"
    twolayer.save(net, path, classes=data.classes, image_shape=SHAPE, information=results)
    write_json(options.out / "results.json", results)
    return accuracies["accuracy"]


def check_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Raise unless the folder is new, or what it holds was made with the same settings."""
    folder.mkdir(parents=True, exist_ok=True)
    earlier = read_json(folder / "settings.json") or settings
    wrong = [f"--{key.replace('_', '-')} {value}" for key, value in earlier.items() if settings[key] != value]
    if wrong:
        raise SystemExit(f"{folder} was made with {', '.join(wrong)}: give the same, or another folder")
    write_json(folder / "settings.json", settings)


def standardized(X: Any, scaling: tuple[Any, Any]) -> torch.Tensor:
    """Bytes (N, D) as images with channels first."""
    images = (X.reshape(-1, *SHAPE) - scaling[0].astype(np.float32)) / np.float32(scaling[1])
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def train_teacher(
    teacher: Teacher, X: Any, y: Any, scaling: Any, options: argparse.Namespace, clock: Clock
) -> None:
    """Train for the epochs that are left: Nesterov momentum, one cycle of the learning rate."""
    file, size = options.teacher / "teacher.safetensors", options.teacher_batch
    torch.manual_seed(options.seed)
    optimizer = torch.optim.SGD(teacher.parameters(), momentum=0.9, nesterov=True, weight_decay=5e-4 * size)
    buffers = {name: torch.zeros_like(array) for name, array in teacher.named_parameters()}
    n_done = 0
    if file.exists():
        stored = safetensors.torch.load_file(file)
        n_done = int(stored["n_epochs"])
        teacher.load_state_dict({name: stored[name] for name in teacher.state_dict()})
        buffers = {name: stored[f"momentum.{name}"] for name in buffers}
    for name, array in teacher.named_parameters():
        optimizer.state[array]["momentum_buffer"] = buffers[name]
    augmentation, per_epoch = FlipAndShift(SHAPE, shift=4), len(X) // size
    knots = [0, 0.2 * options.teacher_epochs, options.teacher_epochs]
    for epoch in range(n_done, options.teacher_epochs):
        rng, total = np.random.default_rng([options.seed, epoch]), 0.0
        order = rng.permutation(len(X))
        teacher.train()
        for i in range(per_epoch):
            for group in optimizer.param_groups:
                group["lr"] = np.interp(epoch + i / per_epoch, knots, [0, options.teacher_rate, 0]) / size
            rows = order[i * size : (i + 1) * size]
            images, _ = augmentation.apply(X[rows], y[rows], augmentation.draw(rng, size), xp=np)
            labels = torch.from_numpy(y[rows].astype(np.int64))
            loss = functional.cross_entropy(outputs(teacher, images, scaling), labels, reduction="sum")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() / size
        momentum = {
            f"momentum.{name}": optimizer.state[array]["momentum_buffer"]
            for name, array in teacher.named_parameters()
        }
        arrays = teacher.state_dict() | momentum | {"n_epochs": torch.tensor(epoch + 1)}
        partial = file.with_suffix(".partial")
        safetensors.torch.save_file({name: array.contiguous() for name, array in arrays.items()}, partial)
        partial.replace(file)
        clock.add("teacher")
        print(f"teacher, epoch {epoch + 1}: loss {total / per_epoch:.3f}", flush=True)


def outputs(teacher: Teacher, X: Any, scaling: Any) -> torch.Tensor:
    """Logits (N, 10) float32 of images (N, D), computed in bfloat16."""
    images = standardized(X, scaling).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = teacher(images)
    return logits.float()


@torch.no_grad()
def predicted(teacher: Teacher, X: Any, scaling: Any) -> Any:
    """Logits (N, 10) float32 by the trained teacher."""
    teacher.eval()
    return np.concatenate([outputs(teacher, block, scaling).numpy() for block in blocks(X)])


def write_logits(teacher: Teacher, X: Any, scaling: Any, options: argparse.Namespace, clock: Clock) -> None:
    """Write the logits of each view that has no file yet."""
    folder = options.teacher / "logits"
    folder.mkdir(exist_ok=True)
    for number, move in enumerate(moves(options.shift), start=1):
        file = folder / file_name(*move)
        if file.exists():
            continue
        partial = file.with_suffix(".partial")
        with partial.open("wb") as opened:
            np.save(opened, predicted(teacher, moved(X, *move), scaling).astype(np.float16))
        partial.replace(file)
        clock.add("logits")
        print(f"logits of view {number}", flush=True)


def train_student(X: Any, y: Any, data: Any, options: argparse.Namespace, clock: Clock) -> Any:
    """Train a stack as the preset `record` does, and return the one network that it becomes."""
    name = {"jax": "jax.numpy", "torch": "array_api_compat.torch"}.get(options.library, "numpy")
    xp, checkpoint = importlib.import_module(name), options.out / "student.safetensors"
    seeds = range(options.seed, options.seed + options.networks)
    D, H = options.components, options.hidden
    nets = twolayer.stack([twolayer.TwoLayerNet.initialize(D, H, 10, rng=seed, xp=xp) for seed in seeds])
    how: dict[str, Any] = {"label_smoothing": 0.1}
    if options.weight:
        teacher = Recalled(options.teacher / "logits", X, options.shift)
        how = {"teacher": teacher, "teacher_weight": options.weight, "temperature": options.temperature}
    validation = data.validation and (data.validation.X.reshape(-1, X.shape[1]), data.validation.y)

    def report(progress: twolayer.Progress) -> None:
        if progress.epoch_ended:
            clock.add("student")
            history = progress.history()
            accuracy = np.mean(history.validation_accuracy[:, -1])
            words = f"student, epoch {progress.epoch}: loss {np.mean(history.loss[:, -100:]):.4f}"
            print(words if math.isnan(accuracy) else f"{words}, validation {accuracy:.4f}", flush=True)

    run = twolayer.train(
        None if checkpoint.exists() else nets,
        X,
        y,
        **how,
        validation=validation,
        resume=checkpoint if checkpoint.exists() else None,
        preprocessing=twolayer.preprocessing.Whitener.fit(X, kind="pca", n_components=D),
        augmentation=FlipAndShift(SHAPE, shift=options.shift),
        dropout=options.dropout,
        learning_rate=options.learning_rate,
        schedule=twolayer.schedules.Warmup(epochs=options.warmup),
        batch_size=options.batch_size,
        epochs=options.epochs,
        judge="last",
        stream=True,
        rng=options.seed,
        callbacks=[report, Checkpointer(checkpoint, seconds=120)],
    )
    net = twolayer.symmetrize(twolayer.merge(run.folded.to(np)), SHAPE, shifts=options.symmetrize_shift)
    clock.add("student")
    return net


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", help="the folder cifar-10-batches-bin; downloaded where it is not given")
    parser.add_argument("--teacher", type=Path, help="its folder, OUT/teacher by default: to use it again")
    parser.add_argument("--train", type=int, default=50_000, help="train on so many images at the most")
    parser.add_argument("--validation", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--width", type=int, default=32, help="channels of the teacher's first layer")
    parser.add_argument("--teacher-epochs", type=int, default=20)
    parser.add_argument("--teacher-batch", type=int, default=500)
    parser.add_argument("--teacher-rate", type=float, default=0.4, help="the highest")
    parser.add_argument("--weight", type=float, default=0.9, help="of the teacher; 0 for none")
    parser.add_argument("--temperature", type=float, default=2.0)
    parser.add_argument("--library", choices=("numpy", "torch", "jax"), default="jax")
    parser.add_argument("--networks", type=int, default=8)
    parser.add_argument("--components", type=int, default=256)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--epochs", type=int, default=160)
    parser.add_argument("--batch-size", type=int, default=250)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--warmup", type=int, default=6, help="epochs of rising rates")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--shift", type=int, default=3)
    parser.add_argument("--symmetrize-shift", type=int, default=1)
    options = parser.parse_args(arguments)
    options.teacher = options.teacher or options.out / "teacher"
    return options


if __name__ == "__main__":
    main()
