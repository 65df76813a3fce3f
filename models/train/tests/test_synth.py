"""Synthetic series: the same for the same seed, and of use."""

from pathlib import Path

import numpy as np
import pytest

from nano import data, synth


@pytest.mark.parametrize("family", [f for f, _ in synth.FAMILIES], ids=lambda f: f.__name__)
def test_families_are_finite_and_follow_the_seed(family) -> None:
    one, two, other = (family(np.random.default_rng(seed), 20, 400) for seed in (3, 3, 4))
    assert one.shape == (20, 400)
    assert np.isfinite(one).all()
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_drawn_series_are_standardised() -> None:
    x = synth.draw(np.random.default_rng(0), 60, 600)
    assert x.dtype == np.float32
    assert np.isfinite(x).all()
    assert np.abs(x.mean(1)).max() < 0.05
    assert np.mean(np.abs(x.std(1) - 1) < 0.05) > 0.8


def test_the_pool_does_not_depend_on_the_workers(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(data, "CHUNK", 5)
    one = data.pool(tmp_path / "one", 7, 12, workers=1)
    two = data.pool(tmp_path / "two", 7, 12, workers=2)
    assert one.shape == (12, data.LENGTH)
    assert np.array_equal(one, two)
    assert np.array_equal(one, data.pool(tmp_path / "one", 7, 12))


def test_targets_are_never_damaged() -> None:
    series = synth.draw(np.random.default_rng(0), 20, data.LENGTH)
    context, target = data.batch(np.random.default_rng(1), series, 64, 256, 64)
    assert context.shape == (64, 256)
    assert target.shape == (64, 64)
    assert np.isfinite(target).all()
    assert np.isnan(context).any()
