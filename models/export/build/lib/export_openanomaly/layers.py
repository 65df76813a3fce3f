"""What the graphs of several families stand on, in operations that ONNX has for every length.

Upstream branches on the data (`isnan().any()`) or on lengths (`if length % patch`), which a graph can't.
"""

from __future__ import annotations

import torch
from torch import Tensor


def split_missing(values: Tensor) -> tuple[Tensor, Tensor]:
    """Values with zeros where they are NaN, and 1 where they are observed, else 0. Both of the shape given."""
    missing = torch.isnan(values)
    return torch.where(missing, torch.zeros_like(values), values), (~missing).to(values.dtype)


def masked_location_scale(filled: Tensor, observed: Tensor, epsilon: float = 1e-5) -> tuple[Tensor, Tensor]:
    """Mean and population standard deviation of what is observed, along the last axis, which is kept.

    Nothing observed gives 0 and 1; a constant gives `epsilon` as its scale. This is Chronos' instance normalisation.
    """
    count = observed.sum(dim=-1, keepdim=True)
    some = count > 0
    divisor = torch.clamp(count, min=1.0)
    location = (filled * observed).sum(dim=-1, keepdim=True) / divisor
    variance = (((filled - location) * observed) ** 2).sum(dim=-1, keepdim=True) / divisor
    scale = torch.where(some, torch.sqrt(variance), torch.ones_like(variance))
    return location, torch.where(scale == 0, torch.full_like(scale, epsilon), scale)


def left_padded_patches(values: Tensor, patch: int) -> Tensor:
    """`[batch, time]` to `[batch, ceil(time / patch), patch]`, with zeros before the first value where a patch is not full."""
    batch, time = values.shape
    count = (time + patch - 1) // patch
    padded = torch.cat([torch.zeros_like(values[:, :1]).expand(batch, patch), values], dim=-1)
    return padded[:, patch + time - count * patch :].reshape(batch, count, patch)


def carried(values: Tensor, observed: Tensor, linear: bool = True) -> tuple[Tensor, Tensor]:
    """Gaps filled, linearly between their neighbours or with the value before them, which is held where nothing follows.

    Both inputs are `[batch, time]`.

    Answers the filled values, and 1 before the first observation, where nothing can be filled and zeros stand. The neighbours are found
    by counting observations: the table of where the k-th one stands is scattered, and looked up at k and k + 1.
    """
    batch, time = values.shape
    seen = observed.to(torch.int64)
    rank = seen.cumsum(dim=-1)
    positions = torch.arange(time).unsqueeze(0).expand(batch, time)
    table = torch.zeros_like(values[:, :1]).to(torch.int64).expand(batch, time + 1).scatter(1, rank * seen, positions)
    left = table.gather(1, rank)
    right = table.gather(1, torch.minimum(rank + (1 - seen), rank[:, -1:]))
    low, high = values.gather(1, left), values.gather(1, right)
    if not linear:
        high = low
    share = (positions - left).to(values.dtype) / torch.clamp(right - left, min=1).to(values.dtype)
    before = (rank == 0).to(values.dtype)
    return torch.where(rank == 0, torch.zeros_like(values), low + (high - low) * share), before
