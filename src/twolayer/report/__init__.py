"""Results as data and as text: files, rows of tables, summaries of predictions, numbers in few digits.

Everything here works on host values: Python's own, and NumPy arrays.
"""

from __future__ import annotations

from .certainty import grid_ends
from .metrics import CalibrationBins, calibration_bins, confusion_matrix, expected_calibration_error

__all__ = [
    "CalibrationBins",
    "calibration_bins",
    "confusion_matrix",
    "expected_calibration_error",
    "grid_ends",
]
