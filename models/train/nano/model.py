"""The network: a causal patch decoder.

Every patch position predicts the quantiles of the next `horizon` points (decoder-only patching as in
TimesFM, Das et al. 2024, section 4), so that one window of 1,024 points is trained on as up to 64
forecasts. Normalisation is causal too: each position sees the mean and the standard deviation of the
points up to it, and beside that the scale of its first differences, which keeps resolution on smooth
series whose steps are small against their range.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

LAGS = (12, 24, 48, 60, 96, 120, 144, 168, 240, 288, 336, 480, 672, 720, 1440)
"""Lags in points at which infrastructure repeats itself: hours, days and weeks at the usual steps."""

CYCLES = 3
LEVELS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Config:
    """The shape of the network; it is stored in each checkpoint."""

    width: int = 128
    hidden: int = 256
    layers: int = 5
    heads: int = 4
    head_hidden: int = 256
    rank: int = 8
    patch: int = 16
    horizon: int = 64
    levels: tuple[float, ...] = LEVELS
    lags: tuple[int, ...] = LAGS

    def as_dict(self) -> dict:
        """The fields as plain values, for a checkpoint."""
        return asdict(self)


@dataclass
class Scales:
    """Causal statistics at the end of each patch, all of shape `[batch, patch]`.

    `mean` and `spread` are in the data's units less `centre[batch, 1]`, `last` is the last observed
    value of the patch in normalised and compressed units, `ratio` the mean absolute first difference
    in those units, and `seen` is 1 where the patch has at least one observed point.
    """

    centre: Tensor
    mean: Tensor
    spread: Tensor
    last: Tensor
    ratio: Tensor
    seen: Tensor

    def at(self, positions: Tensor | slice) -> "Scales":
        """The statistics at some of the patches."""
        parts = (self.mean, self.spread, self.last, self.ratio, self.seen)
        return Scales(self.centre, *(part[:, positions] for part in parts))


@dataclass
class History:
    """Points `[batch, longest lag + time]` less the centre, zero where missing, and their mask."""

    value: Tensor
    known: Tensor


class RmsNorm(nn.Module):
    """Root-mean-square normalisation (Zhang and Sennrich 2019)."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class Block(nn.Module):
    """One pre-normalised decoder layer: rotary attention and a gated feed-forward network."""

    def __init__(self, config: Config):
        super().__init__()
        width, hidden = config.width, config.hidden
        self.heads, self.depth = config.heads, width // config.heads
        self.norm_attention, self.norm_feed = RmsNorm(width), RmsNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.merge = nn.Linear(width, width, bias=False)
        self.widen = nn.Linear(width, 2 * hidden, bias=False)
        self.narrow = nn.Linear(hidden, width, bias=False)
        with torch.no_grad():
            self.merge.weight *= 0.3
            self.narrow.weight *= 0.3

    def _rotate(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        half = self.depth // 2
        return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin

    def _heads(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], -1, self.heads, self.depth).transpose(1, 2)

    def _attend(self, x: Tensor, bias: Tensor, cos: Tensor, sin: Tensor, last: bool) -> Tensor:
        if last:
            width = x.shape[-1]
            k, v = functional.linear(x, self.qkv.weight[width:]).chunk(2, -1)
            q = functional.linear(x[:, -1:], self.qkv.weight[:width])
        else:
            q, k, v = self.qkv(x).chunk(3, -1)
        q, k, v = self._heads(q), self._heads(k), self._heads(v)
        own = slice(-1, None) if last else slice(None)
        q, k = self._rotate(q, cos[:, :, own], sin[:, :, own]), self._rotate(k, cos, sin)
        score = (q @ k.transpose(2, 3)) * self.depth**-0.5 + bias[:, :, own]
        mixed = torch.softmax(score.float(), -1).to(v.dtype) @ v
        return self.merge(mixed.transpose(1, 2).reshape(x.shape[0], -1, self.heads * self.depth))

    def forward(self, x: Tensor, bias: Tensor, cos: Tensor, sin: Tensor, last: bool = False) -> Tensor:
        """The state after this layer, `[batch, patch, width]`; with `last` that of the last patch only."""
        mixed = self._attend(self.norm_attention(x), bias, cos, sin, last)
        x = (x[:, -1:] if last else x) + mixed
        value, gate = self.widen(self.norm_feed(x)).chunk(2, -1)
        return x + self.narrow(functional.silu(gate) * value)


def left_pad(x: Tensor, patch: int) -> Tensor:
    """Pads `[batch, time]` on the left with zeros to a multiple of `patch`.

    A whole patch is prepended and the excess dropped: a pad of a computed length would not export
    with a dynamic time axis.
    """
    length = x.shape[1]
    whole = (length + patch - 1) // patch * patch
    return torch.cat([torch.zeros(x.shape[0], patch, dtype=x.dtype, device=x.device), x], 1)[
        :, length + patch - whole :
    ]


class Nano(nn.Module):
    """Context `[batch, time]`, NaN = missing, to quantiles `[batch, level, horizon]`."""

    def __init__(self, config: Config = Config(), seed: int = 0):
        super().__init__()
        torch.manual_seed(seed)
        self.config = config
        width, hidden, out = config.width, config.head_hidden, len(config.levels) * config.horizon
        features = 3 * config.patch + 2 + 2 * len(config.lags)
        self.enter, self.enter_out = nn.Linear(features, hidden), nn.Linear(hidden, width)
        self.enter_skip = nn.Linear(features, width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RmsNorm(width)
        self.head, self.head_out = nn.Linear(width, hidden), nn.Linear(hidden, out)
        self.head_skip = nn.Linear(width, out, bias=False)
        self.step = nn.Linear(hidden, config.rank * len(config.levels))
        self.step_basis = nn.Parameter(torch.randn(config.rank, config.horizon) * 0.3)
        self.gate = nn.Linear(hidden, config.horizon)
        self.recall = nn.Linear(hidden, 2 * len(config.lags))
        self._start()

    @torch.no_grad()
    def _start(self) -> None:
        """Starts the heads near a wide band around the last value and the mean."""
        config = self.config
        self.head_out.weight *= 0.1
        self.head_skip.weight *= 0.1
        centred = torch.tensor(config.levels) - 0.5
        self.head_out.bias.copy_((2 * centred[:, None]).expand(-1, config.horizon).reshape(-1))
        root = torch.arange(1, config.horizon + 1).float().sqrt()
        self.step_basis[0] = root / 4
        self.step.weight *= 0.1
        start = torch.zeros(len(config.levels), config.rank)
        start[:, 0] = 8 * centred
        self.step.bias.copy_(start.reshape(-1))
        self.gate.weight *= 0.1
        self.gate.bias.zero_()
        self.recall.weight.zero_()
        self.recall.bias.zero_()

    def _scales(self, d: Tensor, k: Tensor, centre: Tensor) -> Scales:
        """Prefix statistics of `d` with the mask `k`, both `[batch, patch, point]`."""
        count = k.sum(-1)
        prefix = torch.cumsum(count, 1).clamp(min=1.0)
        mean = torch.cumsum(d.sum(-1), 1) / prefix
        variance = torch.cumsum((d * d).sum(-1), 1) / prefix - mean * mean
        total = count.sum(1, keepdim=True).clamp(min=1.0)
        floor = 1e-3 * torch.sqrt((d * d).sum((1, 2))[:, None] / total)
        spread = torch.maximum(torch.sqrt(variance.clamp(min=0.0)), floor)
        spread = torch.where(spread > 0, spread, torch.ones_like(spread))
        place = torch.arange(1, k.shape[2] + 1, dtype=k.dtype, device=k.device) * k
        latest = place.max(-1, keepdim=True).values
        seen = (latest[..., 0] > 0).to(k.dtype)
        value = (d * (place == latest).to(k.dtype)).sum(-1)
        value = torch.where(seen > 0, value, mean)
        z = (value - mean) / spread
        step = self._steps(d, k) / spread
        ratio = step.clamp(1e-3, 4.0) * torch.rsqrt(1.0 + z * z)
        return Scales(centre, mean, spread, torch.asinh(z), ratio, seen)

    def _steps(self, d: Tensor, k: Tensor) -> Tensor:
        """The prefix mean of the absolute first difference, `[batch, patch]`."""
        batch, patches, point = d.shape
        flat, known = d.reshape(batch, -1), k.reshape(batch, -1)
        pair = known[:, 1:] * known[:, :-1]
        change = torch.abs(flat[:, 1:] - flat[:, :-1]) * pair
        start = torch.zeros(batch, 1, dtype=d.dtype, device=d.device)
        change = torch.cat([start, change], 1).reshape(batch, -1, point).sum(-1)
        pair = torch.cat([start, pair], 1).reshape(batch, -1, point).sum(-1)
        return torch.cumsum(change, 1) / torch.cumsum(pair, 1).clamp(min=1.0)

    def _repetition(self, d: Tensor, k: Tensor, history: History, spread: Tensor) -> Tensor:
        """How well each lag predicts, `[batch, patch, 2 * lag]`.

        The first half is the logarithm of the prefix mean of the absolute difference at the lag, in
        units of the spread and less its expectation without any season; the second says whether there
        was a pair of points to compare.
        """
        batch, length = d.shape[0], d.shape[1] * d.shape[2]
        flat, known = d.reshape(batch, length), k.reshape(batch, length)
        longest, errors, pairs = max(self.config.lags), [], []
        for lag in self.config.lags:
            own = slice(longest - lag, longest - lag + length)
            pair = known * history.known[:, own]
            change = torch.abs(flat - history.value[:, own]) * pair
            errors.append(change.reshape(d.shape).sum(-1))
            pairs.append(pair.reshape(d.shape).sum(-1))
        count = torch.cumsum(torch.stack(pairs, -1), 1)
        error = torch.cumsum(torch.stack(errors, -1), 1) / count.clamp(min=1.0)
        found = (count > 0).to(d.dtype)
        return torch.cat([torch.log(error / spread[..., None] + 0.01) * found, found], -1)

    def _embed(self, d: Tensor, k: Tensor, s: Scales, repetition: Tensor) -> Tensor:
        z = torch.asinh((d - s.mean[..., None]) / s.spread[..., None])
        near = torch.asinh((z - s.last[..., None]) / s.ratio[..., None])
        extra = torch.stack([torch.log(s.ratio), s.last], -1)
        f = torch.cat([z * k, near * k, k, extra, repetition], -1)
        return self.enter_out(functional.silu(self.enter(f))) + self.enter_skip(f)

    def _rotary(self, length: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        depth = self.config.width // self.config.heads
        place = torch.arange(length, dtype=torch.float32, device=like.device)
        even = torch.arange(0, depth, 2, dtype=torch.float32, device=like.device)
        angle = place[:, None] * (10000.0 ** (-even / depth))[None, :]
        angle = torch.cat([angle, angle], -1)[None, None]
        later = (place[None, :] > place[:, None]).to(torch.float32)
        return angle.cos().to(like.dtype), angle.sin().to(like.dtype), later * -1e9

    def body(self, context: Tensor, last: bool = False) -> tuple[Tensor, Scales, History]:
        """The state `[batch, patch, width]`, the scales at each patch, and the points of a context.

        With `last` the state is that of the last patch only, which is all that a forecast needs.
        """
        known = torch.logical_not(torch.isnan(context))
        x = torch.where(known, context, torch.zeros_like(context))
        known = known.to(torch.float32)
        # Sums are taken around the mean of the window, or the variance would cancel in f32.
        centre = x.sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp(min=1.0)
        x, known = left_pad((x - centre) * known, self.config.patch), left_pad(known, self.config.patch)
        before = torch.zeros(x.shape[0], max(self.config.lags), dtype=x.dtype, device=x.device)
        history = History(torch.cat([before, x], 1), torch.cat([before, known], 1))
        shape = (context.shape[0], -1, self.config.patch)
        d, k = x.reshape(shape), known.reshape(shape)
        scales = self._scales(d, k, centre)
        e = self._embed(d, k, scales, self._repetition(d, k, history, scales.spread))
        cos, sin, later = self._rotary(e.shape[1], e)
        bias = later[None, None] + ((1.0 - scales.seen) * -1e9)[:, None, None, :]
        for block in self.blocks[:-1]:
            e = block(e, bias, cos, sin)
        e = self.blocks[-1](e, bias, cos, sin, last)
        return self.norm(e), scales, history

    def cycles(self, history: History, s: Scales, ends: Tensor, steps: Tensor) -> Tensor:
        """What stood one lag before each of `steps`, in normalised, compressed units.

        `s` holds the scales at the patches that end before the points `ends[position]`. The result,
        `[batch, position, 2 * lag, step]`, has the last cycle of each lag and then the mean of the last
        three; what was not observed is 0, the mean.
        """
        lags = torch.tensor(self.config.lags, device=ends.device)[:, None, None]
        back = torch.arange(1, CYCLES + 1, device=ends.device)[None, :, None] * lags
        offset = torch.remainder(steps[None, None, :], lags) - back + max(self.config.lags)
        index = (ends[:, None, None, None] + offset[None]).clamp(min=0)
        value, known = history.value[:, index], history.known[:, index]
        mean = value.sum(3) / known.sum(3).clamp(min=1.0)
        found = torch.cat([known[:, :, :, 0], known.amax(3)], 2)
        both = torch.cat([value[:, :, :, 0], mean], 2)
        return torch.asinh((both - s.mean[..., None, None]) / s.spread[..., None, None]) * found

    def quantiles(self, e: Tensor, s: Scales, cycles: Tensor, steps: Tensor | None = None) -> Tensor:
        """Quantiles in normalised, compressed units, `[batch, position, level, step]`.

        A gate for each step mixes a forecast relative to the last value, in units of the series'
        own steps, with one relative to its mean; to that a weighted sum of the past cycles is added.
        `steps` chooses some of the horizon (training).
        """
        config, levels = self.config, len(self.config.levels)
        h = functional.silu(self.head(e))
        far, skip, bias = self.head_out.weight, self.head_skip.weight, self.head_out.bias
        gate_w, gate_b, basis = self.gate.weight, self.gate.bias, self.step_basis
        if steps is not None:
            far, skip, bias = (self._rows(t, steps) for t in (far, skip, bias[:, None]))
            bias, gate_w, gate_b, basis = bias[:, 0], gate_w[steps], gate_b[steps], basis[:, steps]
        shape = (*e.shape[:-1], levels, -1)
        level = (functional.linear(h, far, bias) + functional.linear(e, skip)).reshape(shape)
        near = self.step(h).reshape(*e.shape[:-1], levels, config.rank) @ basis
        gate = torch.sigmoid(functional.linear(h, gate_w, gate_b))[..., None, :]
        origin = s.last[..., None, None] + s.ratio[..., None, None] * near
        recalled = (self.recall(h).float()[..., None] * cycles).sum(-2)[..., None, :]
        return origin + gate * (level - origin) + recalled

    def _rows(self, weight: Tensor, steps: Tensor) -> Tensor:
        """The rows of a weight `[level * horizon, in]` that belong to `steps`."""
        levels, horizon = len(self.config.levels), self.config.horizon
        return weight.reshape(levels, horizon, -1)[:, steps].reshape(levels * len(steps), -1)

    def forward(self, context: Tensor) -> Tensor:
        """Quantiles in the data's units; levels may cross where the network is unsure."""
        e, s, history = self.body(context, last=True)
        s = s.at(slice(-1, None))
        steps = torch.arange(self.config.horizon, device=context.device)
        end = torch.full((1,), 1, device=context.device) * (history.value.shape[1] - max(self.config.lags))
        cycles = self.cycles(history, s, end, steps)
        q = self.quantiles(e, s, cycles)[:, 0]
        # Beyond any use, but an overflow would spoil what a caller averages.
        q = q.clamp(-15.0, 15.0)
        return torch.sinh(q) * s.spread[..., None] + (s.mean + s.centre)[..., None]
