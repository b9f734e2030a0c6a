"""Optimizers: stochastic gradient descent with or without momentum, Adam, and AdamW."""

from __future__ import annotations

from .training.optimizers import SGD, Adam, AdamW, Optimizer, OptimizerState

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "OptimizerState"]
