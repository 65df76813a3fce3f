"""Forecasters: histories in, quantiles `[series, level, horizon]` out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

import numpy as np

Parameters = dict[str, Any]


class BadRequest(ValueError):
    """What was asked can't be answered by this model."""


class Forecaster(Protocol):
    """A model. A gap in a history is NaN; every history has a value."""

    name: str

    def forecast(
        self, histories: list[np.ndarray], horizon: int, levels: list[float], parameters: Parameters
    ) -> np.ndarray: ...


class SeasonalNaive:
    """The value of one season ago, and the empirical quantiles of what such a forecast has missed by.

    `season` is a number of points: by default the lag of the strongest autocorrelation, if it is above 0.3, else 1.
    """

    name = "seasonal-naive"

    def forecast(
        self, histories: list[np.ndarray], horizon: int, levels: list[float], parameters: Parameters
    ) -> np.ndarray:
        season = parameters.get("season")
        if season is not None and (not isinstance(season, int) or isinstance(season, bool) or season < 1):
            raise BadRequest(f"season is {season!r}, not a whole number of points above zero")
        return np.stack([self._one(history, horizon, levels, season) for history in histories])

    @staticmethod
    def _one(history: np.ndarray, horizon: int, levels: list[float], season: int | None) -> np.ndarray:
        values = fill(history)
        season = min(season or find_season(values), len(values))
        last = values[-season:]
        point = last[np.arange(horizon) % season]
        missed = values[season:] - values[:-season]
        if len(missed) == 0:
            missed = np.zeros(1)
        # Each season ahead adds its own uncertainty, as in a random walk from season to season.
        widening = np.sqrt(np.arange(horizon) // season + 1)
        return point + np.quantile(missed - np.median(missed), levels)[:, None] * widening


def fill(history: np.ndarray) -> np.ndarray:
    """Gaps become straight lines."""
    known = np.isfinite(history)
    if not known.any():
        raise BadRequest("a history has no value")
    places = np.arange(len(history))
    return np.interp(places, places[known], history[known])


def find_season(values: np.ndarray) -> int:
    """The lag of the strongest autocorrelation beyond the first dip, of which there are two in the history."""
    centred = values - values.mean()
    power = float(centred @ centred)
    if len(values) < 8 or power == 0.0:
        return 1
    size = 1 << (2 * len(values) - 1).bit_length()
    spectrum = np.fft.rfft(centred, size)
    correlation = np.fft.irfft(spectrum * spectrum.conj(), size)[: len(values) // 2 + 1] / power
    dips = np.flatnonzero(correlation < 0)
    if len(dips) == 0:
        return 1
    best = int(dips[0] + np.argmax(correlation[dips[0] :]))
    return best if correlation[best] > 0.3 else 1


class Chronos:
    """Chronos, Chronos-Bolt or Chronos-2, by `chronos-forecasting`."""

    def __init__(self, path: str) -> None:
        import torch
        from chronos import BaseChronosPipeline

        self.name = f"chronos:{path}"
        self._torch = torch
        self._pipeline = BaseChronosPipeline.from_pretrained(path, device_map="cpu")

    def forecast(
        self, histories: list[np.ndarray], horizon: int, levels: list[float], parameters: Parameters
    ) -> np.ndarray:
        contexts = [self._torch.tensor(history, dtype=self._torch.float32) for history in histories]
        self._torch.manual_seed(int(parameters.get("seed", 0)))
        with self._torch.inference_mode():
            quantiles, _ = self._pipeline.predict_quantiles(
                contexts, prediction_length=horizon, quantile_levels=levels
            )
        rows = [np.asarray(one, dtype=np.float64).reshape(horizon, len(levels)).T for one in quantiles]
        return np.stack(rows)


class TimesFm:
    """TimesFM 2.5, by `timesfm`: the levels from 0.1 to 0.9, and those between by straight lines."""

    LEVELS = np.arange(1, 10) / 10
    CONTEXT = 1024
    # Of context and horizon together; up to the second the model's own head says how uncertain it is.
    LONGEST, LONGEST_SPREAD = 16_384, 1024

    def __init__(self, path: str) -> None:
        import timesfm

        self.name = f"timesfm:{path}"
        self._timesfm = timesfm
        self._model = timesfm.TimesFM_2p5_200M_torch.from_pretrained(path, torch_compile=False)
        self._horizon = 0

    def forecast(
        self, histories: list[np.ndarray], horizon: int, levels: list[float], parameters: Parameters
    ) -> np.ndarray:
        outside = [level for level in levels if not 0.1 <= level <= 0.9]
        if outside:
            raise BadRequest(f"TimesFM has quantiles from 0.1 to 0.9, not {outside[0]}")
        self._compile(horizon)
        _, found = self._model.forecast(horizon=horizon, inputs=[fill(history) for history in histories])
        # Along the last axis stand the mean and the nine quantiles.
        known = np.sort(np.asarray(found, dtype=np.float64)[:, :, 1:10], axis=2)
        between = np.apply_along_axis(lambda row: np.interp(levels, self.LEVELS, row), 2, known)
        return between.transpose(0, 2, 1)

    def _compile(self, horizon: int) -> None:
        if horizon <= self._horizon:
            return
        if horizon > self.LONGEST - self.CONTEXT - 128:
            raise BadRequest(f"TimesFM forecasts at most {self.LONGEST - self.CONTEXT - 128} points")
        self._horizon = -(-horizon // 128) * 128
        self._model.compile(
            self._timesfm.ForecastConfig(
                max_context=self.CONTEXT,
                max_horizon=self._horizon,
                normalize_inputs=True,
                use_continuous_quantile_head=self._horizon <= self.LONGEST_SPREAD,
                fix_quantile_crossing=True,
            )
        )


def train(rows: list[dict[str, Any]], parameters: Parameters, folder: Path) -> str:
    """Learns the season that most series have, and keeps it as a model's parameters; answers its id."""
    series: dict[str, list[tuple[str, float]]] = {}
    for row in rows:
        value = row["y"]
        series.setdefault(str(row["unique_id"]), []).append((str(row["ds"]), np.nan if value is None else float(value)))
    if not series:
        raise BadRequest("there is nothing to train on")
    seasons = [find_season(fill(np.array([value for _, value in sorted(points)]))) for points in series.values()]
    season = int(np.median(seasons))
    model_id = f"seasonal-naive-{season}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{model_id}.json").write_text(json.dumps({"season": season, "parameters": parameters}))
    return model_id


def load(name: str) -> Forecaster:
    """The model `name`: `seasonal-naive`, `chronos:ID` or `timesfm:ID`."""
    kind, _, path = name.partition(":")
    known = {"chronos": Chronos, "timesfm": TimesFm}
    if kind in known and path:
        return known[kind](path)
    if name == SeasonalNaive.name:
        return SeasonalNaive()
    raise SystemExit(f"there is no model {name!r}; known are seasonal-naive, chronos:ID and timesfm:ID")
