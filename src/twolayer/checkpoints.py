"""Checkpoints of training runs, from which an interrupted run resumes exactly where it stopped.

``train(net, X, y, callbacks=[Checkpointer(path)])`` saves a run while it trains, and
``train(net, X, y, resume=path)`` resumes it.
"""

from __future__ import annotations

from .training.checkpoint import FORMAT_VERSION, Checkpointer, load_run, save_run

__all__ = ["FORMAT_VERSION", "Checkpointer", "load_run", "save_run"]
