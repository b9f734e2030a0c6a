"""A network for CIFAR-10 in Python: whitening, flips and shifts, the mean over flips folded in, and figures.

Usage: python examples/cifar10.py OUT [--data FOLDER] [--hidden 1024] [--epochs 20]

Without `--data`, the images are downloaded once, to the user's cache. Writes OUT/network.safetensors and the
figures OUT/curves.png, OUT/weights.png, OUT/confusion.png and OUT/mistakes.png.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

import twolayer
from twolayer import plotting
from twolayer.report import confusion_matrix


def main(arguments: Sequence[str] | None = None) -> float:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args(arguments)
    data = twolayer.datasets.load_cifar10(options.data)

    # 256 components contain most of the variance of the 3,072 pixels; the first layer is a twelfth as large.
    whitener = twolayer.preprocessing.Whitener.fit(data.train.X, kind="pca", n_components=256)
    run = twolayer.train(
        twolayer.TwoLayerNet.initialize(256, options.hidden, data.n_classes, rng=0),
        data.train.X,  # bytes; each batch is augmented and whitened when it is used
        data.train.y,
        validation=data.validation,
        preprocessing=whitener,
        augmentation=twolayer.augmentation.FlipAndShift(data.image_shape, shift=2),
        label_smoothing=0.1,
        learning_rate=0.1,
        schedule=twolayer.schedules.Warmup(epochs=2),
        batch_size=250,
        epochs=options.epochs,
        rng=0,
        callbacks=[report],
    )

    # One network that takes pixels, and returns the same logits for an image and its mirror image.
    net = twolayer.symmetrize(run.folded, data.image_shape)
    options.out.mkdir(parents=True, exist_ok=True)
    twolayer.save(
        net, options.out / "network.safetensors", classes=data.classes, image_shape=data.image_shape
    )

    validated, accuracy = (float(net.accuracy(*split)) for split in (data.validation, data.test))
    print(f"{validated:.3f} of the validation images right, {accuracy:.3f} of the test images")

    curves = Figure(figsize=(10, 4), layout="constrained")
    left, right = curves.subplots(1, 2)
    plotting.plot_loss(run.history, ax=left)
    plotting.plot_accuracy(run.history, ax=right)
    curves.savefig(options.out / "curves.png")

    weights = Figure(figsize=(8, 3.7), layout="constrained")
    plotting.plot_weights(run.folded, data.image_shape, max_units=60, columns=12, ax=weights.subplots())
    weights.savefig(options.out / "weights.png")

    probs = net.predict_proba(data.test.X)
    confusion = confusion_matrix(data.test.y, probs.argmax(axis=1), data.n_classes)
    classes = Figure(figsize=(7, 6), layout="constrained")
    plotting.plot_confusion(confusion, data.classes, ax=classes.subplots())
    classes.savefig(options.out / "confusion.png")

    mistakes = Figure(figsize=(9, 6), layout="constrained")
    plotting.plot_mistakes(
        data.test.X, data.test.y, probs, data.classes, data.image_shape, ax=mistakes.subplots()
    )
    mistakes.savefig(options.out / "mistakes.png")
    return accuracy


def report(progress: twolayer.Progress) -> None:
    if progress.epoch_ended:
        history = progress.history()
        print(f"epoch {progress.epoch:2}: validation accuracy {history.validation_accuracy[-1]:.3f}")


if __name__ == "__main__":
    main()
