"""How an exported graph is used: what a program in any language does around it to answer as upstream does.

Every function takes `run`, which feeds named arrays to the graph and answers its outputs, so that the module needs NumPy alone.
Contexts are one-dimensional and may hold NaN; answers are `[series, level, step]`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Run = Callable[[dict[str, np.ndarray]], list[np.ndarray]]


def left_padded(contexts: Sequence[np.ndarray], longest: int) -> np.ndarray:
    """`f64[batch, time]`: the newest `longest` points of each, padded with NaN on the left to the same length."""
    cut = [np.asarray(context, dtype=np.float64)[-longest:] for context in contexts]
    time = max(len(context) for context in cut)
    return np.stack([np.concatenate([np.full(time - len(context), np.nan), context]) for context in cut])


def centred(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The batch with mean 0 and deviation 1, and the mean and deviation that undo it, each `f64[batch, 1]`.

    It is done in f64 because a level of 1e8 leaves nothing of a deviation of 1 in f32. The graphs normalise again, so that nothing else
    changes. A row without values or of one value keeps its scale.
    """
    seen = np.isfinite(batch)
    count = np.maximum(seen.sum(axis=1, keepdims=True), 1)
    mean = np.where(seen, batch, 0.0).sum(axis=1, keepdims=True) / count
    deviation = np.sqrt((np.where(seen, batch - mean, 0.0) ** 2).sum(axis=1, keepdims=True) / count)
    deviation = np.where(deviation == 0, 1.0, deviation)
    return (batch - mean) / deviation, mean, deviation


# Chronos-Bolt


def bolt(run: Run, contexts: Sequence[np.ndarray], horizon: int, levels: Sequence[float], context_max: int) -> np.ndarray:
    """All levels of the graph, which are `levels`.

    The first pass answers `levels` of the first steps. Each of its levels is then appended to the context as if it had happened: a batch
    times as large. Of the levels² answers to each series, empirical quantiles are taken; they are the next steps, and are what is appended
    in the pass after it.
    """
    batch, mean, deviation = centred(left_padded(contexts, context_max))
    levels = np.asarray(levels)
    (answer,) = run({"context": batch.astype(np.float32)})
    parts = [answer]
    paths = np.repeat(batch[:, None, :], len(levels), axis=1)
    while sum(part.shape[2] for part in parts) < horizon:
        paths = np.concatenate([paths, parts[-1]], axis=2)[:, :, -context_max:]
        (answers,) = run({"context": paths.reshape(-1, paths.shape[2]).astype(np.float32)})
        samples = answers.reshape(len(batch), len(levels) ** 2, -1)
        parts.append(np.moveaxis(np.quantile(samples, levels, axis=1), 0, 1))
    found = np.concatenate(parts, axis=2)[:, :, :horizon]
    return found * deviation[:, :, None] + mean[:, :, None]


# Chronos-2

UNROLLED = tuple(round(0.1 * index, 1) for index in range(1, 10))
"""The levels that Chronos-2 continues from beyond its longest pass."""


def chronos2(
    run: Run,
    rows: Sequence[np.ndarray],
    groups: Sequence[int],
    future: Sequence[np.ndarray | None],
    horizon: int,
    levels: Sequence[float],
    context_max: int,
    patch: int,
    one_pass: int,
) -> np.ndarray:
    """All `levels` of every row, targets and covariates alike.

    Rows of one number in `groups` are forecast jointly. `future` holds for each row what is known of its future, or nothing. A pass answers
    as many patches as the horizon needs, at most `one_pass` steps: an answer depends on how many were asked for.

    Beyond `one_pass`, nine levels of each answer are appended to nine copies of the context, known futures in place of what was forecast of
    them, and the copies of a group at one level are a group. Of the 9 × levels answers to each row, weighted quantiles are taken.
    """
    batch, mean, deviation = centred(left_padded(rows, context_max))
    known = _known(future, horizon, mean, deviation)
    steps = min(_whole(horizon, patch), one_pass)
    answer = _chronos2_pass(run, batch, np.asarray(groups), known, steps)
    parts = [answer]
    copies = len(UNROLLED)
    ids = np.asarray(groups)[:, None] * copies + np.arange(copies)
    paths, known = np.repeat(batch[:, None], copies, axis=1), np.repeat(known[:, None], copies, axis=1)
    weights = np.outer(masses(UNROLLED), masses(levels)).ravel()
    done = steps
    while done < horizon:
        last = parts[-1].shape[2]
        chosen = parts[-1][:, [list(levels).index(level) for level in UNROLLED]]
        given = _padded(known[:, :, :last], last)
        paths = np.concatenate([paths, np.where(np.isnan(given), chosen, given)], axis=2)[:, :, -context_max:]
        known = known[:, :, last:]
        steps = min(_whole(horizon - done, patch), one_pass)
        answers = _chronos2_pass(run, _flat(paths), ids.ravel(), _flat(known), steps)
        samples = answers.reshape(len(batch), copies * len(levels), steps)
        parts.append(weighted_quantiles(samples, weights, levels))
        done += steps
    return np.concatenate(parts, axis=2)[:, :, :horizon] * deviation[:, :, None] + mean[:, :, None]


def masses(levels: Sequence[float]) -> np.ndarray:
    """How much probability each level stands for: half of the way to its neighbours, 0 and 1 being those of the outer ones; sums to 1."""
    edges = np.concatenate([[0.0], levels, [1.0]])
    mass = (edges[2:] - edges[:-2]) / 2
    return mass / mass.sum()


def weighted_quantiles(samples: np.ndarray, weights: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """`[row, sample, step]` to `[row, level, step]`: the sorted samples against the sum of their weights, linear in between."""
    order = np.argsort(samples, axis=1)
    values = np.take_along_axis(samples, order, axis=1)
    reached = np.cumsum(weights[order] / weights.sum(), axis=1)
    rows, _, steps = samples.shape
    found = [np.interp(levels, reached[row, :, step], values[row, :, step]) for row in range(rows) for step in range(steps)]
    return np.moveaxis(np.reshape(found, (rows, steps, len(levels))), 2, 1)


def _chronos2_pass(run: Run, batch: np.ndarray, groups: np.ndarray, known: np.ndarray, steps: int) -> np.ndarray:
    future = _padded(known[:, :steps], steps)
    feeds = {"context": batch.astype(np.float32), "group_ids": groups.astype(np.int64), "future": future.astype(np.float32)}
    return run(feeds)[0]


def _known(future: Sequence[np.ndarray | None], horizon: int, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """`[row, horizon]` in the scale of the contexts, NaN where nothing is known."""
    rows = [np.full(horizon, np.nan) if given is None else np.asarray(given, dtype=np.float64) for given in future]
    return (np.stack(rows) - mean) / deviation


def _padded(values: np.ndarray, steps: int) -> np.ndarray:
    """The last axis made `steps` long with NaN at its end."""
    missing = steps - values.shape[-1]
    return np.concatenate([values, np.full((*values.shape[:-1], missing), np.nan)], axis=-1)


def _whole(steps: int, patch: int) -> int:
    return -(-steps // patch) * patch


def _flat(paths: np.ndarray) -> np.ndarray:
    return paths.reshape(-1, paths.shape[2])


# TimesFM 2.5

MEDIAN_ROW = 5
"""Of the graph's ten rows the first is the mean; the others are the quantiles 0.1 to 0.9, with the median in the middle."""


def timesfm25(run: Run, contexts: Sequence[np.ndarray], horizon: int, context_max: int) -> np.ndarray:
    """The nine quantiles 0.1 to 0.9 of up to 1024 steps.

    x and −x are forecast apart, each going on from its own median beyond one pass, and the half of their difference is taken, with the
    quantiles of −x in reverse. The median is that of `point`; the distances of the other quantiles from it are those of `spread`, which is
    of the first pass and covers all steps. At last, quantiles that cross are moved away from the median.
    """
    batch, mean, deviation = centred(held(left_padded(contexts, context_max)))
    point, spread = _trajectory(run, batch, horizon, context_max)
    flipped_point, flipped_spread = _trajectory(run, -batch, horizon, context_max)
    point = (point - _flipped(flipped_point)) / 2
    spread = (spread - _flipped(flipped_spread)) / 2
    median = point[:, MEDIAN_ROW : MEDIAN_ROW + 1]
    found = spread - spread[:, MEDIAN_ROW : MEDIAN_ROW + 1] + median
    return _uncrossed(found[:, 1:]) * deviation[:, :, None] + mean[:, :, None]


def held(batch: np.ndarray) -> np.ndarray:
    """The last value of each row in place of NaN at its end. The graph does so too, but not where a forecast follows the gap."""
    batch = batch.copy()
    for row in batch:
        seen = np.flatnonzero(np.isfinite(row))
        if len(seen):
            row[seen[-1] :] = row[seen[-1]]
    return batch


def _trajectory(run: Run, batch: np.ndarray, horizon: int, context_max: int) -> tuple[np.ndarray, np.ndarray]:
    """`[row, 10, horizon]` of `point`, pass after pass, and of the first pass's `spread`."""
    parts, spread = [], None
    while sum(part.shape[2] for part in parts) < horizon:
        point, wide = run({"context": batch[:, -context_max:].astype(np.float32)})
        spread = wide if spread is None else spread
        parts.append(point)
        batch = np.concatenate([batch, point[:, MEDIAN_ROW]], axis=1)
    return np.concatenate(parts, axis=2)[:, :, :horizon].astype(np.float64), spread[:, :, :horizon].astype(np.float64)


def _flipped(rows: np.ndarray) -> np.ndarray:
    """The quantiles in reverse; the mean stays the first."""
    return np.concatenate([rows[:, :1], rows[:, :0:-1]], axis=1)


def _uncrossed(quantiles: np.ndarray) -> np.ndarray:
    """Each quantile at least as far from the median as the one inside of it. `[row, 9, step]`."""
    middle = MEDIAN_ROW - 1
    below = np.minimum.accumulate(quantiles[:, middle::-1], axis=1)[:, ::-1]
    above = np.maximum.accumulate(quantiles[:, middle:], axis=1)
    return np.concatenate([below, above[:, 1:]], axis=1)


# Toto 2.0

TOTO_MEDIAN = 4
"""Of the graph's rows 0.1 to 0.9."""


def toto(
    run: Run,
    rows: Sequence[np.ndarray],
    groups: Sequence[int],
    future: Sequence[np.ndarray | None],
    horizon: int,
    context_max: int,
    patch: int,
    one_pass: int,
) -> np.ndarray:
    """The nine quantiles 0.1 to 0.9 of every row, targets and covariates alike, with `groups` and `future` as for `chronos2`.

    Beyond `one_pass`, the medians, or what is known, are appended to the context, which begins where it began: patches must not shift.
    """
    batch, mean, deviation = centred(left_padded(rows, context_max))
    known = _known(future, horizon, mean, deviation)
    parts, done = [], 0
    while done < horizon:
        steps = min(_whole(horizon - done, patch), one_pass)
        given = _padded(known[:, done : done + steps], steps)
        feeds = {"context": batch.astype(np.float32), "group_ids": np.asarray(groups, dtype=np.int64), "future": given.astype(np.float32)}
        (answer,) = run(feeds)
        parts.append(answer)
        batch = np.concatenate([batch, np.where(np.isnan(given), answer[:, TOTO_MEDIAN], given)], axis=1)
        done += steps
    return np.concatenate(parts, axis=2)[:, :, :horizon] * deviation[:, :, None] + mean[:, :, None]
