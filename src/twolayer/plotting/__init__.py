"""Pictures of training, sweeps, weights and predictions.

Each function draws on one matplotlib ``Axes`` and returns it. Without ``ax``, it makes a new figure of
`matplotlib.pyplot`, which a notebook shows at once and a script with ``plt.show()``. With ``ax``, it changes
nothing else in the figure; a colour bar takes its room from ``ax``. It never changes matplotlib's settings.

Texts have the colour of the labels of ``ax``. Other colours are chosen to suit it and the background, so dark
styles stay legible. Colour is never the only distinction: markers, line styles, hatching, lightness or words
repeat it. Names of classes, runs and columns are drawn as they are written, never as formulas. New figures
grow with them; names that are too long get an ellipsis in the middle.

Arrays may be of any library, on any device. The module needs the extra ``plots``.
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
