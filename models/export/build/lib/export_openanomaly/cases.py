"""Series to try a graph on: trends, seasons, steps, bursts and noise, with and without gaps. Always the same ones."""

from __future__ import annotations

import zlib

import numpy as np

from .case import Case, Covariate

LENGTHS = (3, 10, 64, 65, 300, 512, 2048)
"""Shorter than a patch, at and just past the boundaries of patches, and up to the longest context of the smallest models."""

LONGEST_QUICK = 512
"""The longest context that an export of a large model is tried on."""


def series(name: str, time: int, gaps: bool = False) -> np.ndarray:
    """`time` points in f32 that follow from `name` alone."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    steps = np.arange(time)
    period = rng.choice([12, 24, 96])
    values = rng.uniform(0.5, 3) * np.sin(2 * np.pi * steps / period + rng.uniform(0, 6)) + rng.normal(0, 0.3, time)
    values += rng.choice([0.0, 2.0]) * steps / max(time, 32) + rng.choice([0.0, 3.0]) * (steps > time * 0.6)
    values = values * rng.choice([0.1, 1, 100]) + rng.uniform(-20, 20)
    if gaps:
        values[rng.random(time) < 0.1] = np.nan
        start = int(rng.integers(0, max(time // 2, 1)))
        values[start : start + time // 6] = np.nan
        values[-1] = 1.5 if np.isnan(values).all() else values[-1]
    return values.astype(np.float32)


def univariate(
    levels: tuple[float, ...], context_max: int, one_pass: int, horizons: tuple[int, ...], thorough: bool, shortest: int = 1
) -> list[Case]:
    """Every length by itself and with gaps, ragged batches, what ends in a gap, and `horizons`, which go beyond most models' one pass."""
    longest = context_max if thorough else min(context_max, LONGEST_QUICK)
    lengths = [length for length in LENGTHS if shortest <= length <= longest]
    usual = min(one_pass, 24)
    found = [Case(f"length-{length}", [series(f"a{length}", length), series(f"b{length}", length)], usual, levels) for length in lengths]
    found += [Case(f"gaps-{length}", [series(f"g{length}", length, gaps=True)], usual, levels) for length in lengths if length >= 10]
    found.append(Case("ragged", [series(f"r{length}", length, gaps=length == 300) for length in lengths], usual, levels))
    found.append(Case("whole-pass", [series("whole", 200), series("whole-gaps", 150, gaps=True)], one_pass, levels))
    found.append(Case("ends-in-gap", [_ends_in_gap(), series("ends", 130)], usual, levels))
    batch = [series("long", 300), series("long-gaps", 90, gaps=True)]
    found += [Case(f"horizon-{horizon}", batch, horizon, levels) for horizon in (horizons if thorough else horizons[:1])]
    if thorough and len(horizons) > 1:
        found.append(Case(f"horizon-{horizons[-1]}-ends-in-gap", [_ends_in_gap()], horizons[-1], levels))
    return found


def joint(levels: tuple[float, ...]) -> list[Case]:
    """Groups, and covariates of the past and of the future, also beyond the last patch that is known."""
    three = [series(f"joint{index}", 200, gaps=index == 1) for index in range(3)]
    past = Covariate(0, series("past-only", 200))
    known = Covariate(0, series("known-past", 200), series("known-future", 40))
    return [
        Case("multivariate", three, 40, levels, groups=(0, 0, 0)),
        Case("groups", [*three, series("alone", 64), series("pair", 90)], 24, levels, groups=(7, 7, 3, 9, 3)),
        Case("past-covariate", three[:1], 40, levels, groups=(0,), covariates=(past,)),
        Case("known-covariate", three[:1], 40, levels, groups=(0,), covariates=(known,)),
        Case("all-covariates", three[:2], 40, levels, groups=(0, 0), covariates=(past, known)),
        Case("covariates-of-one-group", [three[0], series("beside", 150)], 40, levels, groups=(0, 1), covariates=(past, known)),
    ]


def _ends_in_gap() -> np.ndarray:
    values = series("ends-in-gap", 120)
    values[-7:] = np.nan
    return values
