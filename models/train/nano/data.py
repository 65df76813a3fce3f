"""The pool of synthetic series on disk, and batches of training windows drawn from it."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.random import Generator

from . import synth

LENGTH = 2176
CHUNK = 1000


def _write_chunk(folder: Path, seed: int, index: int) -> Path:
    path = folder / f"pool-{seed}-{index:04}.npy"
    if not path.exists():
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            np.save(file, synth.draw(np.random.default_rng([seed, index]), CHUNK, LENGTH))
        part.rename(path)
    return path


def pool(folder: Path, seed: int, series: int, workers: int = 1) -> np.ndarray:
    """A pool `[series, 2176]` in f32, from the cache in `folder` where it was drawn before.

    Each chunk of 1,000 series has its own seed, so the pool does not depend on the number of workers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = (series + CHUNK - 1) // CHUNK
    with ProcessPoolExecutor(workers) as executor:
        paths = list(executor.map(_write_chunk, [folder] * count, [seed] * count, range(count)))
    return np.concatenate([np.load(path) for path in paths])[:series]


def _window(rng: Generator, series: np.ndarray, width: int) -> np.ndarray:
    """A window of one series, at its own step or coarser."""
    factor = min(rng.choice([1, 1, 1, 2, 3, 4]), len(series) // width)
    start = rng.integers(0, len(series) - factor * width + 1)
    x = series[start : start + factor * width]
    if factor == 1:
        return x
    return x.reshape(width, factor).mean(1) if rng.random() < 0.6 else x[::factor]


def _windows(rng: Generator, series: np.ndarray, batch: int, width: int) -> np.ndarray:
    """Windows `[batch, width]`; some are mixtures of two series (TSMixup, Ansari et al. 2024)."""
    out = np.empty((batch, width), np.float32)
    for row in out:
        row[:] = _window(rng, series[rng.integers(len(series))], width)
        if rng.random() < 0.2:
            other, share = series[rng.integers(len(series))], rng.beta(1.5, 1.5)
            start = rng.integers(0, len(other) - width + 1)
            row[:] = share * row + (1 - share) * other[start : start + width]
        if rng.random() < 0.1:
            row *= -1
        if rng.random() < 0.04:
            row[:] = row[::-1].copy()
    return out


def _damage(rng: Generator, context: np.ndarray) -> None:
    """Puts outliers and missing points into contexts, in place; what is to be forecast stays true."""
    batch, length = context.shape
    for row in context:
        if rng.random() < 0.12:
            hit = rng.random(length) < 0.004
            row[hit] += rng.normal(0, 8, int(hit.sum())) * (row.std() + 1e-6)
        if rng.random() < 0.08:
            row[rng.random(length) < rng.uniform(0, 0.3)] = np.nan
        if rng.random() < 0.1:
            start = rng.integers(0, length)
            row[start : start + rng.integers(1, max(2, length // 4))] = np.nan
        if rng.random() < 0.25:
            row[: length - int(np.exp(rng.uniform(np.log(12), np.log(length))))] = np.nan


def batch(
    rng: Generator, series: np.ndarray, size: int, length: int, horizon: int
) -> tuple[np.ndarray, np.ndarray]:
    """Contexts `[size, length]`, NaN = missing, and the points after them `[size, horizon]`."""
    out = _windows(rng, series, size, length + horizon)
    context, target = out[:, :length].copy(), out[:, length:].copy()
    _damage(rng, context)
    return context, target
