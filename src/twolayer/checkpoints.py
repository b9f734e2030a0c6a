"""Training runs in files, so that one that was interrupted can go on exactly where it stopped.

``train(net, X, y, callbacks=[Checkpointer(path)])`` saves a run on its way, and ``train(net, X, y,
resume=path)`` goes on with it.
"""

from __future__ import annotations

from .training.checkpoint import FORMAT_VERSION, Checkpointer, load_run, save_run

__all__ = ["FORMAT_VERSION", "Checkpointer", "load_run", "save_run"]
