"""The figures of the evaluation, on series whose answer is known."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from nano import evaluate as judge


def hourly(days: int, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    t = np.arange(24 * days)
    values = 10 + np.sin(2 * np.pi * t / 24) + noise * np.random.default_rng(0).standard_normal(len(t))
    return t * 3600.0, values


def write(folder: Path, text: str) -> Path:
    path = folder / "one.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    return path


@pytest.mark.parametrize(
    ("step", "context", "wanted"),
    [
        (300, 1024, 288),
        (3600, 1024, 24),
        (300, 500, 1),
        (60, 1024, 60),
        (15, 1024, 240),
        (86400, 1024, 1),
        (0, 1024, 1),
        (float("nan"), 1024, 1),
    ],
)
def test_season(step: float, context: int, wanted: int) -> None:
    assert judge.season_of(step, context) == wanted


def test_seasonal_naive_repeats_the_last_day_and_fills_gaps() -> None:
    times, values = hourly(60)
    whole = judge.windows_of("one", times, values, 3)
    values[-90::7] = np.nan
    gaps = judge.windows_of("one", times, values, 3)
    assert whole.season == 24
    assert np.allclose(judge.seasonal_naive(whole), whole.target)
    known = np.isfinite(gaps.target)
    assert np.allclose(judge.seasonal_naive(gaps)[known], gaps.target[known])


@pytest.mark.parametrize("length", [10, 63, 90])
def test_short_series_have_no_windows(length: int) -> None:
    assert judge.windows_of("one", np.arange(length) * 60.0, np.ones(length), 5) is None


def test_the_seasonal_naive_forecast_scores_one() -> None:
    series = [judge.windows_of("one", *hourly(80, 0.3), 4)]
    scores, each = judge.score(series, lambda w: np.repeat(judge.seasonal_naive(w)[:, None], 9, axis=1))
    assert scores[64].mase == pytest.approx(1)
    assert scores[64].wql == pytest.approx(1)
    assert set(each) == {"one"}


def test_true_quantiles_cover_what_they_say() -> None:
    noise = 0.5
    windows = judge.windows_of("one", *hourly(400, noise), 60)
    normal = np.array([-1.2816, -0.8416, -0.5244, -0.2533, 0, 0.2533, 0.5244, 0.8416, 1.2816])

    def truth(w: judge.Windows) -> np.ndarray:
        clean = 10 + np.sin(2 * np.pi * (np.arange(64)[None] + starts[:, None]) / 24)
        return clean[:, None] + noise * normal[:, None]

    starts = np.unique(np.linspace(1024, 400 * 24 - 64, 60).round().astype(int))
    scores, _ = judge.score([windows], truth)
    assert scores[64].coverage == pytest.approx(0.8, abs=0.02)
    assert scores[64].mase == pytest.approx(1 / np.sqrt(2), abs=0.03)


def test_deciles_are_sorted_and_interpolated() -> None:
    levels = np.array([0.0, 1.0])
    crossed = np.stack([np.full((1, 64), 2.0), np.zeros((1, 64))], 1)
    assert np.allclose(judge.at_deciles(crossed, levels)[0, :, 0], 2 * judge.DECILES)


def test_centring_survives_an_offset() -> None:
    x = 1e9 + np.random.default_rng(0).standard_normal((2, 500))
    centred, centre, spread = judge.centred(x)
    assert centred.dtype == np.float32
    assert np.allclose(centred * spread + centre, x, atol=1e-5)


def test_files_are_read_with_gaps(tmp_path: Path) -> None:
    times, values = judge.read_series(write(tmp_path, "timestamp,value,label\n0,1.5,0\n60,,0\n120,2,1\n"))
    assert times.tolist() == [0, 60, 120]
    assert np.array_equal(values, [1.5, np.nan, 2.0], equal_nan=True)


@pytest.mark.parametrize("text", ["time,value\n0,1\n", "timestamp,value\n0,x\n", "timestamp,value\n,1\n"])
def test_bad_files_are_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"one\.csv\.gz"):
        judge.read_series(write(tmp_path, text))


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no series"):
        judge.load(tmp_path, "*.csv.gz", 5)
