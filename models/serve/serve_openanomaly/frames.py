"""Arrow files in and out, by pandas or by polars."""

from __future__ import annotations

import io
from typing import Protocol

import numpy as np
import pandas as pd
import polars as pl


class Asked:
    """The series of an Arrow file, in the order in which they came."""

    def __init__(self, ids: list[str], histories: list[np.ndarray], ends: list[np.datetime64], steps: list[np.timedelta64]):
        self.ids, self.histories, self.ends, self.steps = ids, histories, ends, steps


class Writer(Protocol):
    """Reads and writes Arrow files (Feather v2)."""

    def read(self, data: bytes) -> Asked: ...

    def write(self, asked: Asked, levels: list[float], quantiles: np.ndarray) -> bytes: ...


def times(asked: Asked, horizon: int) -> np.ndarray:
    ahead = np.arange(1, horizon + 1)
    return np.concatenate([end + step * ahead for end, step in zip(asked.ends, asked.steps)])


def columns(levels: list[float], quantiles: np.ndarray) -> dict[str, np.ndarray]:
    """`mean` (the middle level) and a column a level, a row a series and step."""
    middle = int(np.argmin(np.abs(np.array(levels) - 0.5)))
    found = {"mean": quantiles[:, middle, :].ravel()}
    return found | {f"q_{level}": quantiles[:, place, :].ravel() for place, level in enumerate(levels)}


def step_of(stamps: np.ndarray) -> np.timedelta64:
    return stamps[-1] - stamps[-2] if len(stamps) > 1 else np.timedelta64(60, "s")


class Pandas:
    """pandas: LZ4, times in nanoseconds, text as pandas has it."""

    def read(self, data: bytes) -> Asked:
        frame = pd.read_feather(io.BytesIO(data))
        groups = [(str(name), group) for name, group in frame.groupby("unique_id", sort=False)]
        stamps = [group["ds"].to_numpy() for _, group in groups]
        histories = [group["y"].to_numpy(dtype=np.float64, na_value=np.nan) for _, group in groups]
        return Asked([name for name, _ in groups], histories, [s[-1] for s in stamps], [step_of(s) for s in stamps])

    def write(self, asked: Asked, levels: list[float], quantiles: np.ndarray) -> bytes:
        horizon = quantiles.shape[2]
        ids = np.repeat(asked.ids, horizon)
        stamps = pd.to_datetime(times(asked, horizon)).as_unit("ns")
        out = io.BytesIO()
        pd.DataFrame({"unique_id": ids, "ds": stamps, **columns(levels, quantiles)}).to_feather(out)
        return out.getvalue()


class Polars:
    """polars: zstd, string views, single precision, the last series first."""

    def read(self, data: bytes) -> Asked:
        frame = pl.read_ipc(io.BytesIO(data))
        groups = frame.partition_by("unique_id", maintain_order=True)
        stamps = [group["ds"].to_numpy() for group in groups]
        histories = [group["y"].cast(pl.Float64).fill_null(float("nan")).to_numpy() for group in groups]
        names = [str(group["unique_id"][0]) for group in groups]
        return Asked(names, histories, [s[-1] for s in stamps], [step_of(s) for s in stamps])

    def write(self, asked: Asked, levels: list[float], quantiles: np.ndarray) -> bytes:
        horizon = quantiles.shape[2]
        numbers = {name: column.astype(np.float32) for name, column in columns(levels, quantiles).items()}
        frame = pl.DataFrame({"unique_id": np.repeat(asked.ids, horizon), "ds": times(asked, horizon), **numbers})
        out = io.BytesIO()
        frame.reverse().write_ipc(out, compression="zstd")
        return out.getvalue()


WRITERS: dict[str, Writer] = {"pandas": Pandas(), "polars": Polars()}
