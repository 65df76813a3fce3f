"""One question to a model, and how it is written as JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Covariate:
    """A series that is known beside the targets of one group.

    `past` has the length of the group's contexts; `future` has one value a step of the horizon, or is nothing where it is not known.
    """

    group: int
    past: np.ndarray
    future: np.ndarray | None = None


@dataclass(frozen=True)
class Case:
    """A batch of contexts to be forecast together.

    `groups` has one number a context; those of the same number are forecast jointly. Without it each is on its own. Values are exact in
    f32, so that who reads them in f64 and who reads them in f32 begin with the same.
    """

    name: str
    contexts: list[np.ndarray]
    horizon: int
    levels: tuple[float, ...]
    groups: tuple[int, ...] | None = None
    covariates: tuple[Covariate, ...] = ()

    def to_json(self, expected: np.ndarray) -> dict:
        """With what upstream answered, `[series, level, step]`. NaN becomes null."""
        return {
            "name": self.name,
            "contexts": [numbers(context) for context in self.contexts],
            "groups": list(self.groups) if self.groups is not None else None,
            "covariates": [
                {
                    "group": covariate.group,
                    "past": numbers(covariate.past),
                    "future": None if covariate.future is None else numbers(covariate.future),
                }
                for covariate in self.covariates
            ]
            or None,
            "horizon": self.horizon,
            "levels": list(self.levels),
            "expected": [[numbers(row) for row in series] for series in expected],
        }


def groups_of(case: Case) -> tuple[int, ...]:
    """One group a context; without any, each is on its own."""
    return case.groups if case.groups is not None else tuple(range(len(case.contexts)))


def numbers(values: np.ndarray) -> list[float | None]:
    """Nine significant digits, which tell every f32 from every other."""
    return [float(f"{value:.9g}") if math.isfinite(value) else None for value in np.asarray(values, dtype=np.float32).tolist()]
