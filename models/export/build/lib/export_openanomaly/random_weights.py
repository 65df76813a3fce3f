"""Random weights that answer something: as initialised, most models answer nearly the same to everything, and any graph would agree."""

from __future__ import annotations

import torch
from torch import nn


def spread_quantiles(block: nn.Module, quantiles: int, seed: int, size: float = 0.8, last_axis: bool = False) -> None:
    """Gives the output block of a model weights whose answers vary by about `size` times the deviation of the context.

    `block` has `hidden_layer`, `output_layer` and `residual_layer`, as those of Chronos and TimesFM have. Its rows are `[quantile, step]`,
    or `[step, quantile]` where `last_axis` is set. Where it has biases, they put the quantiles in order, from −1.5 to 1.5.
    """
    generator = torch.Generator().manual_seed(seed)
    output, residual = block.output_layer, block.residual_layer
    ramp = torch.linspace(-1.5, 1.5, quantiles)
    steps = output.out_features // quantiles
    with torch.no_grad():
        block.hidden_layer.weight.normal_(0, 1.4 * block.hidden_layer.in_features**-0.5, generator=generator)
        for layer in (output, residual):
            layer.weight.normal_(0, size * (2 * layer.in_features) ** -0.5, generator=generator)
        if output.bias is not None:
            output.bias.copy_(ramp.repeat(steps) if last_axis else ramp.repeat_interleave(steps))
