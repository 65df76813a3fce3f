"""Training: schedule, resumption, and that it learns at all."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nano import synth
from nano.model import Config
from nano.train import Budget, Settings, Trainer, learning_rate

SMALL = Config(width=32, hidden=32, layers=2, heads=2, head_hidden=32, rank=2, lags=(12, 24))


@pytest.fixture(scope="module")
def series() -> np.ndarray:
    return synth.draw(np.random.default_rng(0), 40, 2176)


def trainer(out: Path, series: np.ndarray, muon: bool = True) -> Trainer:
    settings = Settings(out=out, config=SMALL, tokens=128, bf16=False, muon=muon)
    return Trainer(settings, Budget(0.0, 1.0, steps=40), series, series)


@pytest.mark.parametrize(
    ("step", "spent", "wanted"),
    [(0, 0.0, 0.005), (199, 0.0, 1.0), (1000, 0.5, 1.0), (1000, 0.85, 0.5), (1000, 1.0, 0.0), (1000, 1.2, 0.0)],
)
def test_learning_rate(step: int, spent: float, wanted: float) -> None:
    assert learning_rate(step, spent, 0.3) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("budget", "step", "now", "wanted"),
    [(Budget(100, 300), 9, 150, 0.25), (Budget(100, 300), 9, 400, 1.5), (Budget(100, 300, 10), 9, 400, 0.9)],
)
def test_budget(budget: Budget, step: int, now: float, wanted: float) -> None:
    assert budget.spent(step, now) == pytest.approx(wanted)


@pytest.mark.parametrize("muon", [True, False])
def test_resuming_changes_nothing(tmp_path: Path, series: np.ndarray, muon: bool) -> None:
    whole = trainer(tmp_path / "whole.pt", series, muon)
    for _ in range(6):
        whole.train_step(0.0)
    first = trainer(tmp_path / "part.pt", series, muon)
    for _ in range(3):
        first.train_step(0.0)
    first.save()
    second = trainer(tmp_path / "part.pt", series, muon)
    second.resume()
    for _ in range(3):
        second.train_step(0.0)
    assert second.step == whole.step
    for name, value in whole.average.items():
        assert torch.equal(value, second.average[name]), name


def test_the_loss_falls(tmp_path: Path, series: np.ndarray) -> None:
    run = trainer(tmp_path / "run.pt", series)
    before = run.validate()
    run.run()
    assert sum(run.validate()) < sum(before)
    assert (tmp_path / "run.pt").exists()
