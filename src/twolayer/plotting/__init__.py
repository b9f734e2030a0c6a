"""Pictures of training, sweeps, weights and predictions.

Each function returns a `matplotlib.figure.Figure`, which its caller saves (``figure.savefig("history.png")``)
or shows. Nothing here imports pyplot or changes matplotlib's settings; the fonts are those that are set
there, for the sake of class names in any script. Needs the extra ``plots``.
"""

from __future__ import annotations

from .confusion import plot_confusion
from .curves import plot_history
from .grid import plot_grid
from .images import plot_mistakes, plot_weights

__all__ = ["plot_confusion", "plot_grid", "plot_history", "plot_mistakes", "plot_weights"]
