"""Evaluation on real series: error and interval score relative to the seasonal naive forecast.

Each series gives `windows` forecast origins, evenly spaced from its 1,024th point (its middle where it
is shorter) to its end less the horizon; the context is what lies before an origin, 1,024 points at most.
The seasonal naive forecast repeats the last day where the context holds two days, else the last hour
where the step is below a minute and the context holds two hours, else the last value.

- MASE: the mean absolute error of the median over that of the seasonal naive forecast within the
  context (Hyndman and Koehler 2006), averaged over the windows of a series.
- WQL: the pinball loss summed over the levels .1 to .9 and the windows of a series, over the sum of
  the absolute values. The seasonal naive forecast stands for all levels.
- Coverage: the share of points within the levels .1 and .9, over all points.

MASE and WQL are printed as the geometric mean over series of the ratio to the seasonal naive forecast.
"""

import csv
import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CONTEXT = 1024
HORIZON = 64
DECILES = np.round(np.arange(0.1, 0.95, 0.1), 1)
SHORT = (1, 12, 64)

Array = np.ndarray
Forecast = Callable[["Windows"], Array]


@dataclass
class Windows:
    """The windows of one series: contexts `[window, 1024]` left-padded with NaN, targets `[window, 64]`."""

    name: str
    season: int
    context: Array
    target: Array


def read_series(path: Path) -> tuple[Array, Array]:
    """Timestamps in seconds and values of a file `timestamp,value,label`; an empty value is NaN."""
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        values = [float(row["value"]) if row["value"] else np.nan for row in rows]
        return np.array([float(row["timestamp"]) for row in rows]), np.array(values)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path}: not a series of timestamp,value,label: {error}") from error


def season_of(step: float, context: int) -> int:
    """The season of the naive forecast in points, for a step in seconds."""
    if not step > 0:
        return 1
    for seconds, coarsest in ((86400, 7200), (3600, 60)):
        season = round(seconds / step)
        if step <= coarsest and 2 * season <= context:
            return season
    return 1


def windows_of(name: str, times: Array, values: Array, count: int) -> Windows | None:
    """The windows of a series, or nothing where it is too short."""
    first, last = min(CONTEXT, len(values) // 2), len(values) - HORIZON
    if last < first or first < 32:
        return None
    origins = np.unique(np.linspace(first, last, count).round().astype(int))
    context = np.full((len(origins), CONTEXT), np.nan)
    for row, origin in zip(context, origins):
        part = values[max(0, origin - CONTEXT) : origin]
        row[CONTEXT - len(part) :] = part
    target = np.stack([values[o : o + HORIZON] for o in origins])
    return Windows(name, season_of(float(np.median(np.diff(times))), first), context, target)


def load(folder: Path, pattern: str, count: int) -> list[Windows]:
    """The windows of all files in `folder` that match `pattern`, in order of name."""
    found = []
    for path in sorted(folder.glob(pattern)):
        windows = windows_of(path.name.removesuffix(".csv.gz"), *read_series(path), count)
        if windows is not None:
            found.append(windows)
    if not found:
        raise ValueError(f"{folder}: no series of a useful length match {pattern}")
    return found


def seasonal_naive(windows: Windows) -> Array:
    """The last season repeated, `[window, 64]`; a missing point takes the one a season before it."""
    return np.stack([_repeat(row, windows.season) for row in windows.context])


def _repeat(context: Array, season: int) -> Array:
    folded = context[len(context) % season :].reshape(-1, season)
    cycle = folded[-1].copy()
    for row in folded[::-1]:
        cycle = np.where(np.isnan(cycle), row, cycle)
    cycle = np.where(np.isnan(cycle), np.nanmedian(context), cycle)
    return cycle[np.arange(HORIZON) % season]


def seasonal_scale(windows: Windows) -> Array:
    """The mean absolute error of the seasonal naive forecast within each context, `[window]`."""
    m = windows.season
    scale = np.nanmean(np.abs(windows.context[:, m:] - windows.context[:, :-m]), axis=1)
    spread = np.nanmean(np.abs(windows.context - np.nanmedian(windows.context, 1, keepdims=True)), axis=1)
    return np.where(scale > 0, scale, np.where(spread > 0, spread, 1.0))


def centred(context: Array) -> tuple[Array, Array, Array]:
    """The context in f32 with median 0 and robust spread 1, and what undoes it, each `[window, 1]`.

    It is done in f64 ahead of a graph, which would lose small changes at a large offset.
    """
    centre = np.nanmedian(context, axis=1, keepdims=True)
    spread = 1.4826 * np.nanmedian(np.abs(context - centre), axis=1, keepdims=True)
    wide = np.nanstd(context, axis=1, keepdims=True)
    spread = np.where(spread > 1e-3 * wide, spread, np.where(wide > 0, wide, 1.0))
    return ((context - centre) / spread).astype(np.float32), centre, spread


def at_deciles(quantiles: Array, levels: Array) -> Array:
    """Quantiles `[window, level, step]` sorted and interpolated at the deciles."""
    quantiles = np.sort(quantiles[..., :HORIZON], axis=1)
    right = np.clip(np.searchsorted(levels, DECILES), 1, len(levels) - 1)
    share = ((DECILES - levels[right - 1]) / (levels[right] - levels[right - 1]))[:, None]
    return quantiles[:, right - 1] * (1 - share) + quantiles[:, right] * share


def from_checkpoint(path: Path, device: str) -> Forecast:
    """Forecasts of the averaged weights of a checkpoint."""
    import torch

    from .export import load_average

    model = load_average(path).to(device)
    levels = np.array(model.config.levels)

    def forecast(windows: Windows) -> Array:
        x, centre, spread = centred(windows.context)
        with torch.no_grad():
            q = model(torch.from_numpy(x).to(device)).cpu().numpy().astype(float)
        return at_deciles(q * spread[..., None] + centre[..., None], levels)

    return forecast


def from_graph(path: Path, threads: int) -> Forecast:
    """Forecasts of any ONNX file that keeps the contract and names its levels in its metadata."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    if "openanomaly.quantiles" not in metadata:
        raise ValueError(f"{path}: the metadata has no openanomaly.quantiles")
    levels = np.array([float(v) for v in metadata["openanomaly.quantiles"].split(",")])

    def forecast(windows: Windows) -> Array:
        x, centre, spread = centred(windows.context)
        q = session.run(["quantiles"], {"context": x})[0].astype(float)
        return at_deciles(q * spread[..., None] + centre[..., None], levels)

    return forecast


def from_statsforecast(name: str) -> Forecast:
    """Forecasts of a classical model by statsforecast, which must be installed."""
    from statsforecast import models

    levels = [20, 40, 60, 80]

    def one(context: Array, season: int) -> Array:
        known = context[np.argmax(~np.isnan(context)) :]
        known = np.interp(np.arange(len(known)), np.flatnonzero(~np.isnan(known)), known[~np.isnan(known)])
        kwargs = {"season_length": [season]} if name == "MSTL" else {"season_length": season}
        found = getattr(models, name)(**kwargs).forecast(y=known, h=HORIZON, level=levels)
        low = [found[f"lo-{v}"] for v in reversed(levels)]
        return np.stack([*low, found["mean"], *(found[f"hi-{v}"] for v in levels)])

    return lambda windows: np.stack([one(row, windows.season) for row in windows.context])


@dataclass
class Score:
    """Figures of one forecaster at one horizon, relative to the seasonal naive forecast."""

    mase: float
    wql: float
    coverage: float


def score(series: list[Windows], forecast: Forecast) -> tuple[dict[int, Score], dict[str, dict[int, Score]]]:
    """The figures at each of the horizons, over all series and for each series."""
    each = {windows.name: _score_series(windows, forecast(windows)) for windows in series}
    over = {}
    for h in SHORT:
        rows = [found[h] for found in each.values()]
        mase, wql = (float(np.exp(np.mean(np.log([getattr(r, k) for r in rows])))) for k in ("mase", "wql"))
        over[h] = Score(mase, wql, float(np.mean([r.coverage for r in rows])))
    return over, each


def _score_series(windows: Windows, q: Array) -> dict[int, Score]:
    naive, scale = seasonal_naive(windows), seasonal_scale(windows)
    found = {}
    for h in SHORT:
        y, known = windows.target[:, :h], np.isfinite(windows.target[:, :h])
        reference = np.abs(y - naive[:, :h])
        error = np.abs(y - q[:, 4, :h])
        d = y[:, None] - q[..., :h]
        level = DECILES[:, None]
        pinball = 2 * np.maximum(level * d, (level - 1) * d).mean(1)
        inside = (y >= q[:, 0, :h]) & (y <= q[:, 8, :h])
        mase = [np.nanmean(np.nanmean(e, axis=1) / scale) for e in (error, reference)]
        found[h] = Score(
            _ratio(*mase), _ratio(np.nansum(pinball), np.nansum(reference)), float(inside[known].mean())
        )
    return found


def _ratio(value: float, reference: float) -> float:
    """A ratio kept within [.01, 100], so that one constant series cannot rule a geometric mean."""
    tiny = 1e-12
    return float(np.clip((value + tiny) / (reference + tiny), 0.01, 100))


def table(name: str, scores: dict[int, Score]) -> str:
    """One line: the name and, for each horizon, MASE, WQL and coverage."""
    cells = [f"h{h} {s.mase:.3f} {s.wql:.3f} {s.coverage:.2f}" for h, s in sorted(scores.items())]
    return f"{name:<28} " + "   ".join(cells)
