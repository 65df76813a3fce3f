"""How far two answers are apart."""

from __future__ import annotations

import numpy as np

from .case import Case


def error(case: Case, expected: np.ndarray, found: np.ndarray) -> float:
    """The largest distance, relative to σ + |q − µ| with the mean and deviation of each context.

    Both answers are `[series, level, step]`. An answer that is not finite, or of another shape, is infinitely far.
    """
    if expected.shape != found.shape or not np.isfinite(found).all():
        return float("inf")
    worst = 0.0
    for context, want, have in zip(case.contexts, expected.astype(np.float64), found.astype(np.float64), strict=True):
        seen = context[np.isfinite(context)].astype(np.float64)
        mean, deviation = seen.mean(), seen.std()
        worst = max(worst, float(np.max(np.abs(want - have) / (deviation + np.abs(want - mean)))))
    return worst
