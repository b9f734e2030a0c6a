"""Pictures of training, sweeps, weights and predictions.

Each function draws on one matplotlib ``Axes`` and returns it: on ``ax`` where it is given, else on that of a
new figure of `matplotlib.pyplot`, which a notebook shows, and ``plt.show()`` elsewhere. Of the figure of a
given ``ax`` nothing else is touched, nor are matplotlib's settings. Texts take the colour of the labels of
``ax``, and everything else is mixed from that and the background, so that dark styles stay legible. Colour is
never alone in telling things apart: markers, line styles, hatching, lightness and words say the same.
Names of classes, runs and columns are drawn as they are written, never as formulas. New figures grow with
them; names that are too long get an ellipsis in their middle.

Arrays are of any library, on any device. Needs the extra ``plots``.
"""

from __future__ import annotations

from .calibration import plot_calibration
from .confusion import plot_confusion
from .curves import plot_accuracy, plot_loss
from .heat_map import plot_heat_map
from .images import plot_mistakes, plot_weights
from .parallel import plot_parallel_coordinates

__all__ = [
    "plot_accuracy",
    "plot_calibration",
    "plot_confusion",
    "plot_heat_map",
    "plot_loss",
    "plot_mistakes",
    "plot_parallel_coordinates",
    "plot_weights",
]
