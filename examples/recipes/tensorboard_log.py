"""The losses and accuracies of a run, shown by TensorBoard during the training.

Usage: python examples/recipes/tensorboard_log.py [FOLDER]      (needs tensorboardX)
Then:  tensorboard --logdir FOLDER
"""

from __future__ import annotations

import sys

from tensorboardX import SummaryWriter

import twolayer

digits = twolayer.datasets.load_digits()


class ToTensorBoard:
    """A callback that writes the loss of every step, and the accuracies of every epoch."""

    def __init__(self, writer: SummaryWriter) -> None:
        self.writer, self.written = writer, 0

    def __call__(self, progress: twolayer.Progress) -> None:
        if not progress.epoch_ended:
            return
        history = progress.history()
        for step in range(self.written, progress.step):
            self.writer.add_scalar("loss", history.loss[step], step + 1)
        self.written = progress.step
        for name in ("train_accuracy", "validation_accuracy", "learning_rate"):
            self.writer.add_scalar(name, getattr(history, name)[-1], progress.step)


folder = sys.argv[1] if len(sys.argv) > 1 else "runs/tensorboard"
with SummaryWriter(folder) as writer:
    run = twolayer.train(
        twolayer.TwoLayerNet.initialize(64, 50, 10, rng=0),
        digits.train.X,
        digits.train.y,
        validation=(digits.validation.X, digits.validation.y),
        preprocessing=twolayer.preprocessing.Standardizer.fit(digits.train.X),
        batch_size=50,
        epochs=10,
        rng=0,
        callbacks=[ToTensorBoard(writer)],
    )
print(f"validation accuracy {run.validation_accuracy:.3f}; tensorboard --logdir {folder}")
