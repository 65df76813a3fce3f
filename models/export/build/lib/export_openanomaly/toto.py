"""Toto 2.0: a causal transformer over patches, attending along time and, in every few layers, among the series of a group.

Khwaja et al., "Toto 2.0: Time Series Forecasting Enters the Scaling Era" (2026), and the package toto-2.
"""

from __future__ import annotations

import math
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn
from torch.nn import functional
from toto2 import Toto2Model
from toto2.configuration import Toto2ModelConfig
from toto2.model import ffill_imputation
from unit_scaling.functional import silu as scaled_silu

from . import reference
from .case import Case, groups_of
from .cases import joint, series, univariate
from .contract import CONTEXT, Contract, Tensor
from .errors import ExportError
from .graph import to_onnx
from .layers import carried, left_padded_patches, split_missing
from .source import Checkpoint

OPTIONS = {"decode_block_size": None, "has_missing_values": True, "scaler_fallback_min_obs": 8, "quantile_real_cap_k": 1e4}
"""Upstream's options that are followed: the defaults of its predictor, by which every forecast is a single pass."""

ONE_PASS = 1024
"""Steps from which on upstream advises to go on from medians. Its own way of doing so is not followed to the digit.

It keeps what attention saw in the pass before, where xPos was centred elsewhere, which shifts its answers a little; here every pass sees
the whole context anew.
"""

SMALLEST_SCALE = 1e-6

FORBIDDEN = -1e30
"""Stands for −∞ before a softmax, as −∞ in a whole row would answer NaN."""


class TotoGraph(nn.Module):
    """Quantiles `f32[batch, 9, horizon]` in the data's units.

    `context: f32[batch, time]`; `group_ids: i64[batch]`, not negative, of which equal ones attend to each other; `future: f32[batch, horizon]`,
    a multiple of the patch long: NaN is to be forecast, what is finite is known.

    Upstream multiplies the answers of its layers by constants that make training scale; they are in the weights here.
    """

    def __init__(self, model: Toto2Model) -> None:
        super().__init__()
        self.patch = model.config.patch_size
        self.rows = len(model.output_head.knots)
        self.embed = ResidualMlp(model.patch_proj)
        self.layers = nn.ModuleList(Layer(layer) for layer in model.transformer.layers)
        self.norm = Norm(model.transformer.out_norm)
        self.head = ResidualMlp(model.output_head.param_projection.proj)

    def forward(self, context: torch.Tensor, group_ids: torch.Tensor, future: torch.Tensor) -> torch.Tensor:
        past, past_seen = self._past(context, future)
        known, known_seen = split_missing(future)
        values, seen = torch.cat([past, known], dim=1), torch.cat([past_seen, known_seen], dim=1)
        location, scale = self._statistics(values, seen)
        patches, seen_patches = self._patched(values), self._patched(seen)
        scaled = torch.asinh((patches - location) / scale) * seen_patches
        hidden = self.embed(torch.cat([scaled, 1.0 - seen_patches], dim=-1))
        count = future.shape[1] // self.patch
        hidden = self._transform(hidden, self._ids(group_ids, seen_patches, count))
        answer = self._answer(hidden[:, -count - 1 : -1], location[:, -count:], scale[:, -count:])
        return self._capped(answer, past, past_seen, scale[:, -count - 1])

    def _past(self, context: torch.Tensor, future: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The context in whole patches, gaps filled with what was before them, and which points count as observed.

        All of the last patch does, where a row is to be forecast.
        """
        filled, observed = split_missing(context)
        held, _ = carried(filled, observed, linear=False)
        padded, seen = (left_padded_patches(part, self.patch).reshape(context.shape[0], -1) for part in (held, observed))
        open_end = 1.0 - (~torch.isnan(future)).to(seen.dtype).amax(dim=1, keepdim=True)
        last = torch.maximum(seen[:, -self.patch :], open_end.expand(-1, self.patch))
        return padded, torch.cat([seen[:, : -self.patch], last], dim=1)

    def _statistics(self, values: torch.Tensor, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and sample deviation of all that was observed up to the end of each patch, `[batch, patches, 1]`, in f64 as upstream does.

        Patches before the eighth observation have the statistics of the first eight.
        """
        data, mask = values.double(), seen.double()
        count = mask.cumsum(dim=1)
        divisor = torch.clamp(count, min=1.0)
        mean = (data * mask).cumsum(dim=1) / divisor
        before = torch.cat([torch.zeros_like(mean[:, :1]), mean[:, :-1]], dim=1)
        squares = ((data - before) * (data - mean) * mask).cumsum(dim=1)
        deviation = torch.clamp(torch.sqrt(torch.clamp(squares, min=0.0) / torch.clamp(divisor - 1, min=1.0)), min=SMALLEST_SCALE)
        first_mean, first_deviation = _first(data, mask, count)
        few = self._ends(count) < OPTIONS["scaler_fallback_min_obs"]
        location = torch.where(few, first_mean, self._ends(mean))
        return location.float().unsqueeze(-1), torch.where(few, first_deviation, self._ends(deviation)).float().unsqueeze(-1)

    def _patched(self, values: torch.Tensor) -> torch.Tensor:
        return values.reshape(values.shape[0], -1, self.patch)

    def _ends(self, values: torch.Tensor) -> torch.Tensor:
        """The last value of each patch."""
        return self._patched(values)[:, :, -1]

    def _ids(self, group_ids: torch.Tensor, seen_patches: torch.Tensor, count: int) -> torch.Tensor:
        """The group of each patch, and −1 for those of the context in which nothing is observed. `[batch, patches]`."""
        empty = seen_patches[:, :-count].sum(dim=-1) == 0
        ids = group_ids.unsqueeze(1)
        context_ids = torch.where(empty, torch.full_like(ids, -1), ids)
        return torch.cat([context_ids, ids.expand(-1, count)], dim=1)

    def _transform(self, hidden: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        positions = torch.arange(hidden.shape[1])
        same = ids[:, :, None] == ids[:, None, :]
        along_time = (same & (positions[:, None] >= positions[None, :])).unsqueeze(1)
        across = ids.transpose(0, 1)
        along_group = (across[:, :, None] == across[:, None, :]).unsqueeze(1)
        for layer in self.layers:
            if layer.across:
                hidden = layer(hidden.transpose(0, 1), along_group, positions).transpose(0, 1)
            else:
                hidden = layer(hidden, along_time, positions)
        return self.norm(hidden)

    def _answer(self, hidden: torch.Tensor, location: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        batch, count = hidden.shape[0], hidden.shape[1]
        answer = self.head(hidden).reshape(batch, count, self.patch, self.rows)
        answer = torch.sinh(answer) * scale.unsqueeze(-1) + location.unsqueeze(-1)
        return answer.reshape(batch, count * self.patch, self.rows).transpose(1, 2)

    def _capped(self, answer: torch.Tensor, past: torch.Tensor, seen: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """Within a wide multiple of the scale around what was observed, and in order."""
        reach = OPTIONS["quantile_real_cap_k"] * scale
        highest = torch.where(seen > 0, past, torch.full_like(past, -torch.inf)).amax(dim=1, keepdim=True)
        lowest = torch.where(seen > 0, past, torch.full_like(past, torch.inf)).amin(dim=1, keepdim=True)
        highest, lowest = (torch.where(torch.isinf(bound), torch.zeros_like(bound), bound) for bound in (highest, lowest))
        within = torch.minimum(torch.maximum(answer, (lowest - reach).unsqueeze(1)), (highest + reach).unsqueeze(1))
        return torch.sort(within, dim=1).values


def _first(data: torch.Tensor, mask: torch.Tensor, count: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and sample deviation of the first observations, each `[batch, 1]`."""
    chosen = mask * (count <= OPTIONS["scaler_fallback_min_obs"]).to(mask.dtype)
    number = torch.clamp(chosen.sum(dim=1, keepdim=True), min=1.0)
    mean = (data * chosen).sum(dim=1, keepdim=True) / number
    squares = (((data - mean) * chosen) ** 2).sum(dim=1, keepdim=True)
    return mean, torch.clamp(torch.sqrt(squares / torch.clamp(number - 1, min=1.0)), min=SMALLEST_SCALE)


class Layer(nn.Module):
    """Attention and a gated network, each added to what it was given in shares that upstream's depth rule sets."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.across = layer.attn.is_variate_layer
        self.attention, self.first_norm, self.second_norm = Attention(layer.attn), Norm(layer.norm1), Norm(layer.norm2)
        self.first, self.second = folded(layer.ffn.fc1), folded(layer.ffn.fc2)
        self.attention_share, self.network_share = _shares(float(layer.attn_tau)), _shares(float(layer.mlp_tau))

    def forward(self, hidden: torch.Tensor, allowed: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        attended = self.attention(self.first_norm(hidden), allowed, positions)
        hidden = attended * self.attention_share[0] + hidden * self.attention_share[1]
        gate, value = self.first(self.second_norm(hidden)).chunk(2, dim=-1)
        return self.second(gate * functional.silu(value)) * self.network_share[0] + hidden * self.network_share[1]


class Attention(nn.Module):
    """Upstream's attention without its cache."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.config = attention.config
        self.inwards, self.outwards = folded(attention.in_proj), folded(attention.out_proj)
        self.query_norm = Norm(attention.q_norm) if attention.q_norm is not None else None
        self.key_norm = Norm(attention.k_norm) if attention.k_norm is not None else None
        with torch.no_grad():
            per_dimension = attention._pds(torch.ones(self.config.qk_dim)) if attention._pds is not None else torch.ones(self.config.qk_dim)
        self.register_buffer("per_dimension", per_dimension.detach() / self.config.qk_dim)
        self.rotary = attention.qk_proj

    def forward(self, hidden: torch.Tensor, allowed: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        config = self.config
        sizes = [config.qk_dim * config.num_heads, config.qk_dim * config.num_groups, config.v_dim * config.num_groups]
        query, key, value = torch.split(self.inwards(hidden), sizes, dim=-1)
        query, key, value = _heads(query, config.num_heads), _heads(key, config.num_groups), _heads(value, config.num_groups)
        if self.query_norm is not None:
            query, key = self.query_norm(query), self.key_norm(key)
        query = query * self.per_dimension
        if self.rotary is not None:
            query = rotated(query, positions, self.rotary.query_proj, self.rotary.split_sizes[0])
            key = rotated(key, positions, self.rotary.key_proj, self.rotary.split_sizes[0])
        if config.heads_per_group > 1:
            key, value = (part.repeat_interleave(config.heads_per_group, dim=1) for part in (key, value))
        scores = query @ key.transpose(2, 3)
        weights = torch.softmax(torch.where(allowed, scores, torch.full_like(scores, FORBIDDEN)), dim=-1)
        answer = (weights @ value).transpose(1, 2)
        return self.outwards(answer.reshape(hidden.shape[0], hidden.shape[1], config.v_dim * config.num_heads))


class ResidualMlp(nn.Module):
    """Two layers beside a linear one."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        share, kept = _shares(float(block.tau))
        one = torch.ones(1)
        activation = float(scaled_silu(one) / functional.silu(one))
        self.first = folded(block.linear1)
        self.second, self.beside = folded(block.linear2, share), folded(block.skip_proj, kept)
        with torch.no_grad():
            self.second.weight.mul_(activation)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.second(functional.silu(self.first(values))) + self.beside(values)


class Norm(nn.Module):
    """Division by the root of the mean square."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.epsilon = norm.eps
        self.weight = norm.weight

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        normed = values * torch.rsqrt((values**2).mean(dim=-1, keepdim=True) + self.epsilon)
        return normed if self.weight is None else normed * self.weight


def folded(linear: nn.Linear, factor: float = 1.0) -> nn.Linear:
    """A plain linear layer that answers `factor` times what upstream's scaled one does."""
    scale = factor * linear.in_features ** -linear.scale_power[0]
    plain = nn.Linear(linear.in_features, linear.out_features, bias=linear.bias is not None)
    with torch.no_grad():
        plain.weight.copy_(linear.weight * scale)
        if linear.bias is not None:
            plain.bias.copy_(linear.bias * scale)
    return plain


def rotated(states: torch.Tensor, positions: torch.Tensor, projection: nn.Module, start: int) -> torch.Tensor:
    """Rotary embedding of neighbouring pairs, from `start` on, with the decay of xPos (Sun et al. 2022) where the projection has it."""
    width = projection.proj_width
    angle = (positions.to(torch.float32)[:, None] * projection.theta[None, :]).repeat_interleave(2, dim=-1)
    part = states[..., start : start + width]
    pairs = part.reshape(*part.shape[:-1], width // 2, 2)
    turned = torch.stack([-pairs[..., 1], pairs[..., 0]], dim=-1).reshape(part.shape)
    part = part * torch.cos(angle) + turned * torch.sin(angle)
    if hasattr(projection, "xpos_base_scale"):
        power = (positions - positions.shape[0] // 2).to(torch.float32) / projection.xpos_scale_base * projection.xpos_scale_exponent
        part = part * (projection.xpos_base_scale[None, :] ** power[:, None]).repeat_interleave(2, dim=-1)
    return torch.cat([states[..., :start], part, states[..., start + width :]], dim=-1)


def _shares(tau: float) -> tuple[float, float]:
    """The shares of a branch and of what goes past it; their squares sum to 1."""
    whole = math.sqrt(1 + tau**2)
    return tau / whole, 1 / whole


def _heads(states: torch.Tensor, heads: int) -> torch.Tensor:
    batch, length, width = states.shape
    return states.reshape(batch, length, heads, width // heads).transpose(1, 2)


class Toto:
    """The family `toto`, after `Toto2Model.forecast` of toto-2."""

    name = "toto"
    tolerance = 1e-4
    upstream = {"package": "toto-2", "version": version("toto-2"), "call": "Toto2Model.forecast after ffill_imputation", "options": OPTIONS}

    def load(self, checkpoint: Checkpoint) -> Toto2Model:
        return Toto2Model.from_pretrained(str(checkpoint.folder), map_location="cpu").float().eval()

    def random(self, seed: int) -> Toto2Model:
        torch.manual_seed(seed)
        model = Toto2Model(_small_config())
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith(("bias", "per_dim_scale")):
                    parameter.normal_(0, 0.3)
            ramp = torch.linspace(-1.2, 1.2, len(model.output_head.knots)).repeat(model.config.patch_size)
            # Upstream divides the answers of its last layers by their width, biases too.
            head = model.output_head.param_projection.proj
            for layer, bias in ((head.linear2, ramp), (head.skip_proj, torch.zeros_like(ramp))):
                layer.weight.mul_(0.6 * layer.in_features**0.5)
                layer.bias.copy_(bias * layer.in_features)
        return model.eval()

    def save(self, upstream: Toto2Model, folder: Path) -> None:
        upstream.save_pretrained(folder)

    def contract(self, upstream: Toto2Model) -> Contract:
        config = upstream.config
        if config.num_output_patches != 1:
            raise ExportError(f"answers of {config.num_output_patches} patches at once are not supported")
        quantiles = tuple(upstream.output_head.knots)
        steps = f"{config.patch_size}*steps"
        return Contract(
            family=self.name,
            quantiles=quantiles,
            horizon=ONE_PASS,
            patch=config.patch_size,
            context_max=context_length(config.residual_attn_ratio) * config.patch_size,
            inputs=(CONTEXT, Tensor("group_ids", "i64", ("batch",)), Tensor("future", "f32", ("batch", steps))),
            outputs=(Tensor("quantiles", "f32", ("batch", len(quantiles), steps)),),
        )

    def graph(self, upstream: Toto2Model) -> onnx.ModelProto:
        patch = upstream.config.patch_size
        future = torch.full((3, 2 * patch), torch.nan)
        future[1] = 1.0
        examples = (torch.randn(3, 100), torch.tensor([0, 0, 1]), future)
        axes = {"context": {0: "batch", 1: "time"}, "group_ids": {0: "batch"}, "future": {0: "batch", 1: ("steps", patch)}}
        return to_onnx(TotoGraph(upstream), examples, axes, ["quantiles"])

    def cases(self, contract: Contract, thorough: bool = False) -> list[Case]:
        """Not shorter than a patch: upstream takes what is missing of the only patch for zeros that were observed."""
        found = univariate(contract.quantiles, contract.context_max, 96, (200, 300), thorough, shortest=contract.patch)
        found += joint(contract.quantiles)
        if thorough:
            few = (0.1, 0.5, 0.9)
            found.append(Case(f"horizon-{contract.horizon}", [series("far", 320), series("farther", 300, gaps=True)], contract.horizon, few))
        return found

    def expected(self, upstream: Toto2Model, case: Case) -> np.ndarray:
        targets = [*case.contexts, *(covariate.past for covariate in case.covariates if covariate.future is None)]
        known = [covariate for covariate in case.covariates if covariate.future is not None]
        past_only = [covariate.group for covariate in case.covariates if covariate.future is None]
        time = -(-max(len(row) for row in targets) // upstream.config.patch_size) * upstream.config.patch_size
        rows = np.stack([_padded_left(row, time) for row in targets])
        inputs = {
            "target": torch.from_numpy(ffill_imputation(rows))[None],
            "target_mask": torch.from_numpy(np.isfinite(rows))[None],
            "series_ids": torch.tensor([[*groups_of(case), *past_only]]),
        }
        if known:
            given = np.stack([np.concatenate([_padded_left(it.past, time), it.future]) for it in known])
            inputs["known_dynamic"] = torch.from_numpy(np.nan_to_num(given))[None]
            inputs["known_dynamic_mask"] = torch.from_numpy(np.isfinite(given))[None]
            inputs["known_dynamic_series_ids"] = torch.tensor([[it.group for it in known]])
        answer = upstream.forecast(inputs, case.horizon, **OPTIONS)[:, 0, : len(case.contexts)]
        chosen = [upstream.output_head.knots.index(level) for level in case.levels]
        return answer[chosen].permute(1, 0, 2).numpy()

    def found(self, run: reference.Run, contract: Contract, case: Case) -> np.ndarray:
        rows = [*case.contexts, *(covariate.past for covariate in case.covariates)]
        groups = [*groups_of(case), *(covariate.group for covariate in case.covariates)]
        future = [None] * len(case.contexts) + [covariate.future for covariate in case.covariates]
        answer = reference.toto(run, rows, groups, future, case.horizon, contract.context_max, contract.patch, contract.horizon)
        return answer[: len(case.contexts)][:, [contract.quantiles.index(level) for level in case.levels]]


def context_length(ratio: float) -> int:
    """The context that a model was trained on, in patches s: its configuration has only √(s / ln s)."""
    return min(range(3, 1 << 15), key=lambda patches: abs(math.sqrt(patches / math.log(patches)) - ratio))


def _padded_left(row: np.ndarray, time: int) -> np.ndarray:
    return np.concatenate([np.full(time - len(row), np.nan, np.float32), row])


def _small_config() -> Toto2ModelConfig:
    """The published 4m's with a quarter of its width."""
    return Toto2ModelConfig(
        patch_size=32,
        d_model=64,
        num_heads=4,
        num_layers=4,
        layer_group_size=4,
        num_variate_layers_per_group=1,
        variate_layer_first=False,
        norm_eps=1e-4,
        attn_bias=True,
        qk_norm=False,
        per_dim_scale=True,
        use_xpos=True,
        residual_mult=0.75,
        residual_attn_ratio=Toto2ModelConfig.compute_residual_attn_ratio(4096, 32),
    )
