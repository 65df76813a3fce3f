"""TimesFM 2.5: a decoder over patches of 32 points that answers 128 steps, and the spread of 1024.

Das et al., "A decoder-only foundation model for time-series forecasting" (2024), and the package timesfm.
"""

from __future__ import annotations

import dataclasses
import math
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import timesfm
import torch
from safetensors.torch import load_file
from timesfm.timesfm_2p5.timesfm_2p5_base import TimesFM_2p5_200M_Definition
from timesfm.timesfm_2p5.timesfm_2p5_torch import TimesFM_2p5_200M_torch, TimesFM_2p5_200M_torch_module
from timesfm.torch.transformer import MultiHeadAttention, Transformer
from torch import nn

from . import reference
from .case import Case
from .cases import univariate
from .contract import CONTEXT, Contract, Tensor
from .errors import ExportError
from .graph import to_onnx
from .layers import carried, left_padded_patches, masked_location_scale, split_missing
from .random_weights import spread_quantiles
from .source import Checkpoint

OPTIONS = {
    "normalize_inputs": True,
    "use_continuous_quantile_head": True,
    "force_flip_invariance": True,
    "infer_is_positive": False,
    "fix_quantile_crossing": True,
}
"""Upstream's `ForecastConfig` that is followed: what its documentation recommends, but for `infer_is_positive`.

That one cuts every quantile off at 0 where no value of the context is below it. The lower edge of a band could then meet its median, and
a first value below 0 would be infinitely surprising, or not at all.
"""

SMALLEST_SCALE = 1e-6
"""Below this deviation upstream only centres."""


class TimesFm25Graph(nn.Module):
    """`context: f32[batch, time]` to `point: f32[batch, 10, 128]` and `spread: f32[batch, 10, 1024]`, in the data's units.

    Of the ten rows the first is the mean and the others are the quantiles 0.1 to 0.9. Both are of the last patch.
    """

    def __init__(self, model: TimesFM_2p5_200M_torch_module) -> None:
        super().__init__()
        self.model = model

    def forward(self, context: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        model = self.model
        filled, observed = split_missing(context)
        location, scale = masked_location_scale(filled, observed)
        values, before = carried((filled - location) / scale * observed, observed)
        patches = left_padded_patches(values, model.p)
        legit = left_padded_patches(1.0 - before, model.p)
        mean, deviation = running_statistics(patches, legit)
        safe = torch.where(deviation < SMALLEST_SCALE, torch.ones_like(deviation), deviation)
        normed = (patches - mean.unsqueeze(-1)) / safe.unsqueeze(-1) * legit
        last = self._decode(normed, legit)
        undo = (deviation[:, -1:], mean[:, -1:], scale, location)
        return (
            _in_units(model.output_projection_point(last), model.o, model.q, undo),
            _in_units(model.output_projection_quantiles(last), model.os, model.q, undo),
        )

    def _decode(self, normed: torch.Tensor, legit: torch.Tensor) -> torch.Tensor:
        """The last patch's embedding, `[batch, model]`."""
        hidden = self.model.tokenizer(torch.cat([normed, 1.0 - legit], dim=-1))
        masked = (1.0 - legit[..., -1]).sum(dim=-1, keepdim=True)
        index = torch.arange(hidden.shape[1], dtype=torch.float32)
        allowed = (index[:, None] >= index[None, :])[None] & (index[None, None, :] >= masked[:, :, None])
        for layer in self.model.stacked_xf:
            hidden = _layer(layer, hidden, index[None] - masked, allowed.unsqueeze(1))
        return hidden[:, -1]


def _layer(layer: Transformer, hidden: torch.Tensor, position: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    attended = layer.post_attn_ln(_attention(layer.attn, layer.pre_attn_ln(hidden), position, allowed)) + hidden
    return layer.post_ff_ln(layer.ff1(layer.activation(layer.ff0(layer.pre_ff_ln(attended))))) + attended


def _attention(attention: MultiHeadAttention, inputs: torch.Tensor, position: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    """Upstream's attention without its cache, and with a large negative number in place of −∞.

    A patch of padding may look at nothing; with −∞ its answer would be NaN, and spread from there.
    """
    batch, patches, _ = inputs.shape
    heads = (batch, patches, attention.num_heads, attention.head_dim)
    if attention.fuse_qkv:
        query, key, value = (part.reshape(heads) for part in attention.qkv_proj(inputs).chunk(3, dim=-1))
    else:
        query, key, value = (layer(inputs).reshape(heads) for layer in (attention.query, attention.key, attention.value))
    if attention.use_rotary_position_embeddings:
        query, key = (attention.rotary_position_embedding(part, position) for part in (query, key))
    query, key = attention.query_ln(query), attention.key_ln(key)
    if attention.use_per_dim_scale:
        query = attention.per_dim_scale(query)
    scores = query.permute(0, 2, 1, 3) @ key.permute(0, 2, 3, 1)
    weights = torch.softmax(torch.where(allowed, scores, torch.full_like(scores, -1e30)), dim=-1)
    answer = (weights @ value.permute(0, 2, 1, 3)).permute(0, 2, 1, 3)
    return attention.out(answer.reshape(batch, patches, attention.in_features))


def running_statistics(patches: torch.Tensor, legit: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and population deviation of all that is legit up to the end of each patch, both `[batch, patch]`.

    Upstream adds one patch after the other. Here each patch is set against the mean of every later one, which costs the square of
    their number, and loses as little to rounding as upstream does.
    """
    count = legit.sum(dim=-1)
    own_mean = (patches * legit).sum(dim=-1) / torch.clamp(count, min=1.0)
    own_squares = (((patches - own_mean.unsqueeze(-1)) * legit) ** 2).sum(dim=-1)
    total = torch.clamp(count.cumsum(dim=-1), min=1.0)
    mean = (own_mean * count).cumsum(dim=-1) / total
    between = count.unsqueeze(1) * (own_mean.unsqueeze(1) - mean.unsqueeze(2)) ** 2
    variance = (torch.tril(between).sum(dim=-1) + own_squares.cumsum(dim=-1)) / total
    return mean, torch.sqrt(variance)


def _in_units(head: torch.Tensor, steps: int, rows: int, undo: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """`[batch, steps * rows]` of one patch to `[batch, rows, steps]` in the data's units."""
    deviation, mean, scale, location = (value.unsqueeze(-1) for value in undo)
    answer = head.reshape(head.shape[0], steps, rows).transpose(1, 2)
    return (answer * deviation + mean) * scale + location


class SizedModule(TimesFM_2p5_200M_torch_module):
    """Upstream's module in other sizes."""

    def __init__(self, definition: TimesFM_2p5_200M_Definition) -> None:
        self.config = definition
        super().__init__()


class Upstream(TimesFM_2p5_200M_torch):
    """Upstream's pipeline over a module that exists already."""

    def __init__(self, module: TimesFM_2p5_200M_torch_module) -> None:
        self.model = module
        self.torch_compile = False


class TimesFm25:
    """The family `timesfm25`, after `TimesFM_2p5_200M_torch` of timesfm."""

    name = "timesfm25"
    tolerance = 1e-4
    upstream = {"package": "timesfm", "version": version("timesfm"), "call": "TimesFM_2p5_200M_torch.forecast", "options": OPTIONS}

    def load(self, checkpoint: Checkpoint) -> Upstream:
        """The sizes are those of the tensors, as upstream's own configuration is in its code."""
        module = SizedModule(_definition(checkpoint.shapes))
        tensors = {name: tensor.float() for path in checkpoint.weights for name, tensor in load_file(path).items()}
        try:
            module.load_state_dict(tensors, strict=True)
        except RuntimeError as error:
            raise ExportError(f"{checkpoint.id} doesn't have the tensors of TimesFM 2.5: {error}") from error
        return _upstream(module)

    def random(self, seed: int) -> Upstream:
        torch.manual_seed(seed)
        module = SizedModule(_sized(width=64, hidden=128, layers=2, heads=4))
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if name.endswith(".scale"):
                    parameter.copy_(1.0 + 0.2 * torch.randn_like(parameter))
                if name.endswith("per_dim_scale"):
                    parameter.copy_(0.3 * torch.randn_like(parameter))
        # Its answers are per unit of an embedding that grows by about one a layer and half.
        spread_quantiles(module.output_projection_point, module.q, seed, size=0.3, last_axis=True)
        spread_quantiles(module.output_projection_quantiles, module.q, seed + 1, size=0.3, last_axis=True)
        return _upstream(module)

    def save(self, upstream: Upstream, folder: Path) -> None:
        upstream.save_pretrained(folder)

    def contract(self, upstream: Upstream) -> Contract:
        module = upstream.model
        return Contract(
            family=self.name,
            quantiles=tuple(module.config.quantiles),
            horizon=module.o,
            patch=module.p,
            context_max=module.config.context_limit - module.os,
            inputs=(CONTEXT,),
            outputs=(Tensor("point", "f32", ("batch", module.q, module.o)), Tensor("spread", "f32", ("batch", module.q, module.os))),
            extra={"heads": "point,spread", "rows": "mean,quantiles", "spread_horizon": str(module.os)},
        )

    def graph(self, upstream: Upstream) -> onnx.ModelProto:
        return to_onnx(TimesFm25Graph(upstream.model), (torch.randn(3, 100),), {"context": {0: "batch", 1: "time"}}, ["point", "spread"])

    def cases(self, contract: Contract, thorough: bool = False) -> list[Case]:
        few = (0.1, 0.5, 0.9)
        found = univariate(contract.quantiles, contract.context_max, 128, (200, 300), thorough)
        horizons = [case for case in found if case.horizon > 128]
        longest = dataclasses.replace(horizons[0], name="horizon-1024", horizon=1024, levels=few)
        return [*found, longest] if thorough else found

    def expected(self, upstream: Upstream, case: Case) -> np.ndarray:
        """Upstream pads all to one length, which doesn't change an answer: the shortest that holds the batch is the fastest."""
        longest = max(len(context) for context in case.contexts)
        options = timesfm.ForecastConfig(
            max_context=math.ceil(longest / upstream.model.p) * upstream.model.p,
            max_horizon=case.horizon,
            per_core_batch_size=len(case.contexts),
            **OPTIONS,
        )
        upstream.compile(options)
        _, answer = upstream.forecast(horizon=case.horizon, inputs=[context.astype(np.float64) for context in case.contexts])
        rows = [1 + upstream.model.config.quantiles.index(level) for level in case.levels]
        return answer[:, :, rows].swapaxes(1, 2)

    def found(self, run: reference.Run, contract: Contract, case: Case) -> np.ndarray:
        answer = reference.timesfm25(run, case.contexts, case.horizon, contract.context_max)
        return answer[:, [contract.quantiles.index(level) for level in case.levels]]


def _upstream(module: TimesFM_2p5_200M_torch_module) -> Upstream:
    module.device, module.device_count = torch.device("cpu"), 1
    return Upstream(module.to("cpu").eval())


def _definition(shapes: dict[str, tuple[int, ...]]) -> TimesFM_2p5_200M_Definition:
    layers = sum(name.endswith("attn.qkv_proj.weight") for name in shapes)
    width = shapes["stacked_xf.0.attn.qkv_proj.weight"][1]
    head = shapes["stacked_xf.0.attn.per_dim_scale.per_dim_scale"][0]
    return _sized(width=width, hidden=shapes["stacked_xf.0.ff0.weight"][0], layers=layers, heads=width // head)


def _sized(width: int, hidden: int, layers: int, heads: int) -> TimesFM_2p5_200M_Definition:
    """Upstream's definition with another width of the model and of its transformers' hidden layers."""
    usual = TimesFM_2p5_200M_Definition()
    transformer = dataclasses.replace(usual.stacked_transformers.transformer, model_dims=width, hidden_dims=hidden, num_heads=heads)
    wide = {"hidden_dims": width}
    return dataclasses.replace(
        usual,
        tokenizer=dataclasses.replace(usual.tokenizer, output_dims=width, **wide),
        stacked_transformers=dataclasses.replace(usual.stacked_transformers, num_layers=layers, transformer=transformer),
        output_projection_point=dataclasses.replace(usual.output_projection_point, input_dims=width, **wide),
        output_projection_quantiles=dataclasses.replace(usual.output_projection_quantiles, input_dims=width, **wide),
    )
