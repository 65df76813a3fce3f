"""Training: pinball loss at random positions and horizons of random windows, under a budget of time."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import data
from .model import Config, Nano

TOKENS = 4096
LENGTHS = ((256, 0.25), (512, 0.4), (1024, 0.3), (2048, 0.05))
HORIZONS_PER_STEP = 24
WARMUP_STEPS = 200
SAVE_SECONDS = 120
REPORT_STEPS = 50


@dataclass
class Budget:
    """When training ends: at a wall-clock time, or after a number of steps where one is given."""

    start: float
    deadline: float
    steps: int | None = None

    def spent(self, step: int, now: float) -> float:
        """The part of the budget that is used up; 1 or more when training is over."""
        if self.steps is not None:
            return step / self.steps
        return (now - self.start) / max(self.deadline - self.start, 1e-9)


@dataclass
class Settings:
    """What a run needs to know beside its budget and its series."""

    out: Path
    seed: int = 0
    series: int = 40000
    rate: float = 2e-3
    muon: bool = True
    decay: float = 0.3
    average: float = 0.998
    device: str = "cpu"
    bf16: bool = True
    compiled: bool = False
    tokens: int = TOKENS
    config: Config = field(default_factory=Config)


def learning_rate(step: int, spent: float, decay: float) -> float:
    """The factor on the learning rate: warm-up, constant, linear to zero over the last `decay`."""
    return min(1.0, (step + 1) / WARMUP_STEPS) * min(1.0, max(0.0, 1 - spent) / decay)


def optimizers(model: Nano, settings: Settings) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the matrices of the blocks, AdamW for all else."""
    inner = [p for p in model.blocks.parameters() if p.ndim == 2] if settings.muon else []
    chosen = {id(p) for p in inner}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": 0.02},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    found = [torch.optim.AdamW(groups, lr=settings.rate, betas=(0.9, 0.98))]
    if inner:
        found.append(
            torch.optim.Muon(inner, lr=settings.rate, weight_decay=0.02, adjust_lr_fn="match_rms_adamw")
        )
    return found


def difficulty(ratio: Tensor, steps: Tensor) -> Tensor:
    """How far a series moves in `steps` points, in normalised units: `[..., step]`.

    Dividing the loss by it makes smooth series count as much as noisy ones, as a mean of relative
    errors does. It depends on the context only: a weight that knew the target would bias quantiles.
    """
    return (ratio[..., None] * (steps + 1.0).sqrt()).clamp(0.05, 1.0)


def pinball(model: Nano, q: Tensor, y: Tensor) -> Tensor:
    """The quantile loss of `q[..., level, step]` at `y[..., step]`, summed over the levels."""
    level = torch.tensor(model.config.levels, device=q.device)[:, None]
    d = y[..., None, :] - q
    return (2 * torch.maximum(level * d, (level - 1) * d)).mean(-2)


def loss(
    model: Nano, context: Tensor, target: Tensor, positions: Tensor, steps: Tensor, weighted: bool, bf16: bool
) -> Tensor:
    """The mean loss of forecasts made after each patch in `positions`, at the horizons `steps`."""
    ends = (positions + 1) * model.config.patch
    with torch.autocast(context.device.type, dtype=torch.bfloat16, enabled=bf16):
        e, s, history = model.body(context)
        s = s.at(positions)
        q = model.quantiles(e[:, positions], s, model.cycles(history, s, ends, steps), steps).float()
    y = torch.cat([context, target], 1)[:, ends[:, None] + steps[None, :]]
    known = torch.logical_not(torch.isnan(y)) & (s.seen > 0)[..., None]
    centred = torch.nan_to_num(y) - s.centre[..., None]
    z = torch.asinh((centred - s.mean[..., None]) / s.spread[..., None])
    each = pinball(model, q, z) * known
    if weighted:
        each = each / difficulty(s.ratio, steps)
    return each.sum() / known.sum().clamp(min=1)


class Trainer:
    """A model with its optimisers, average and random state; all of it goes into a checkpoint."""

    def __init__(self, settings: Settings, budget: Budget, series: np.ndarray, validation: np.ndarray):
        self.settings, self.budget, self.series = settings, budget, series
        self.device = torch.device(settings.device)
        self.model = Nano(settings.config, settings.seed).to(self.device)
        self.optimizers = optimizers(self.model, settings)
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.rng = np.random.default_rng([settings.seed, 1])
        self.step = 0
        # A static graph for each length of context: fused on a CPU, a step takes a third less.
        self.loss = torch.compile(loss, dynamic=False) if settings.compiled else loss
        draws = np.random.default_rng([settings.seed, 2])
        horizon = settings.config.horizon
        self.validation = [data.batch(draws, validation, 192, t, horizon) for t in (256, 512, 1024)]
        near = 1 / np.sqrt(np.arange(1, horizon + 1))
        self.chances = 0.5 * near / near.sum() + 0.5 / horizon

    def tensor(self, x: np.ndarray) -> Tensor:
        """An array on the device of the model."""
        return torch.from_numpy(x).to(self.device)

    def train_step(self, now: float) -> float:
        """One optimiser step; returns the loss."""
        settings, model = self.settings, self.model
        factor = learning_rate(self.step, self.budget.spent(self.step, now), settings.decay)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = settings.rate * factor
        value = self._loss()
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        keep = min(settings.average, 1 - 1 / (self.step + 1))
        with torch.no_grad():
            for name, value_now in model.state_dict().items():
                self.average[name].lerp_(value_now, 1 - keep)
        return float(value.detach())

    def _loss(self) -> Tensor:
        config, rng = self.settings.config, self.rng
        length = int(rng.choice([t for t, _ in LENGTHS], p=[p for _, p in LENGTHS]))
        patches = length // config.patch
        size = max(1, self.settings.tokens // patches)
        context, target = data.batch(rng, self.series, size, length, config.horizon)
        # The last position alone sees the target; the others forecast into the context.
        positions = np.append(rng.choice(patches - 1, patches // 2 - 1, replace=False), patches - 1)
        steps = rng.choice(config.horizon, min(HORIZONS_PER_STEP, config.horizon), replace=False, p=self.chances)
        where = self.tensor(np.sort(positions)), self.tensor(np.sort(steps))
        return self.loss(self.model, self.tensor(context), self.tensor(target), *where, True, self.settings.bf16)

    @torch.no_grad()
    def validate(self) -> list[float]:
        """The unweighted loss of the average model, all horizons, at the end of held-out windows."""
        config = self.settings.config
        model = Nano(config).to(self.device)
        model.load_state_dict(self.average)
        steps = torch.arange(config.horizon, device=self.device)
        values = []
        for context, target in self.validation:
            end = torch.tensor([context.shape[1] // config.patch - 1], device=self.device)
            value = loss(model, self.tensor(context), self.tensor(target), end, steps, False, False)
            values.append(float(value))
        return values

    def save(self) -> None:
        """Writes the checkpoint in one go, so that a reader never sees half of it."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average,
            "optimizers": [o.state_dict() for o in self.optimizers],
            "config": self.settings.config.as_dict(),
            "seed": self.settings.seed,
            "step": self.step,
            "start": self.budget.start,
            "rng": self.rng.bit_generator.state,
        }
        part = self.settings.out.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.settings.out)

    def resume(self) -> None:
        """Continues from the checkpoint, on the schedule that began with it."""
        state = torch.load(self.settings.out, map_location=self.device, weights_only=False)
        self.model.load_state_dict(state["model"])
        self.average = state["average"]
        for optimizer, saved in zip(self.optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)
        self.step, self.budget.start = state["step"], state["start"]
        self.rng.bit_generator.state = state["rng"]

    def run(self) -> None:
        """Trains until the budget is spent, and reports and saves on the way."""
        losses, saved, cpu = [], time.time(), time.process_time()
        while (spent := self.budget.spent(self.step, time.time())) < 1:
            losses.append(self.train_step(time.time()))
            if self.step % REPORT_STEPS == 0:
                recent, losses = float(np.mean(losses)), []
                held = " ".join(f"{v:.4f}" for v in self.validate()) if self.step % (5 * REPORT_STEPS) == 0 else ""
                used = time.process_time() - cpu
                print(f"step {self.step} spent {spent:.3f} cpu {used:.0f} loss {recent:.4f} {held}", flush=True)
            if time.time() - saved > SAVE_SECONDS:
                self.save()
                saved = time.time()
        self.save()
