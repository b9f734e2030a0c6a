"""Results as data and as text: files, rows of tables, summaries of predictions, numbers in few digits.

All functions here compute on the host, with Python objects and NumPy arrays.
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
