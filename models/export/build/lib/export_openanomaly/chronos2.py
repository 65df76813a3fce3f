"""Chronos-2: one transformer over patches of the past and of the future, attending along time and among the series of a group.

Ansari et al., "Chronos-2: From Univariate to Universal Forecasting" (2025), and the package chronos-forecasting.
"""

from __future__ import annotations

import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import torch
from chronos.chronos2 import Chronos2CoreConfig, Chronos2Model, Chronos2Pipeline
from torch import nn

from . import reference
from .case import Case, groups_of
from .cases import joint, series, univariate
from .contract import CONTEXT, Contract, Tensor
from .errors import ExportError
from .graph import to_onnx
from .layers import left_padded_patches, masked_location_scale, split_missing
from .random_weights import spread_quantiles
from .source import Checkpoint


class Chronos2Graph(nn.Module):
    """Quantiles `f32[batch, quantile, horizon]` in the data's units, over upstream's own weights.

    `context: f32[batch, time]`; `group_ids: i64[batch]`, of which equal ones attend to each other; `future: f32[batch, horizon]`, a multiple
    of the patch long: NaN is to be forecast, what is finite is known.
    """

    def __init__(self, model: Chronos2Model) -> None:
        super().__init__()
        self.model = model
        self.patch = model.chronos_config.input_patch_size
        self.time_scale = float(model.chronos_config.time_encoding_scale)
        self.arcsinh = model.chronos_config.use_arcsinh

    def forward(self, context: torch.Tensor, group_ids: torch.Tensor, future: torch.Tensor) -> torch.Tensor:
        filled, observed = split_missing(context)
        location, scale = masked_location_scale(filled, observed)
        past, past_mask = self._past(self._scaled(filled, observed, location, scale), observed)
        known_values, known = split_missing(future)
        coming = self._coming(self._scaled(known_values, known, location, scale), known)
        embeds = torch.cat([past, coming], dim=1)
        mask = torch.cat([past_mask, torch.ones_like(coming[:, :, 0])], dim=1)
        hidden = self._encode(embeds, group_ids, mask)
        return self._answer(hidden[:, past.shape[1] :], location, scale)

    def _encode(self, embeds: torch.Tensor, group_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Upstream's encoder. Its own mask of groups is a product of truth values, which ONNX doesn't have."""
        lowest = torch.finfo(embeds.dtype).min
        along_time = (1.0 - mask[:, None, None, :]) * lowest
        same = (group_ids[:, None] == group_ids[None, :]).to(mask.dtype)
        along_group = (1.0 - same[None] * mask.transpose(0, 1)[:, None, :]).unsqueeze(1) * lowest
        positions = torch.arange(embeds.shape[1]).unsqueeze(0)
        hidden = embeds
        for block in self.model.encoder.block:
            hidden = block(hidden, position_ids=positions, attention_mask=along_time, group_time_mask=along_group).hidden_states
        return self.model.encoder.final_layer_norm(hidden)

    def _scaled(self, filled: torch.Tensor, observed: torch.Tensor, location: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        scaled = (filled - location) / scale
        return (torch.asinh(scaled) if self.arcsinh else scaled) * observed

    def _past(self, scaled: torch.Tensor, observed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Embedded patches of the context and the register, and which of them hold at least one observation."""
        values = left_padded_patches(scaled, self.patch)
        seen = left_padded_patches(observed, self.patch)
        count = values.shape[1]
        times = torch.arange(count * self.patch, dtype=torch.float32) - count * self.patch
        embeds = self.model.input_patch_embedding(torch.cat([self._times(times, values), values, seen], dim=-1))
        mask = (seen.sum(dim=-1) > 0).to(embeds.dtype)
        if not self.model.chronos_config.use_reg_token:
            return embeds, mask
        register = self.model.shared.weight[self.model.config.reg_token_id].expand(embeds.shape[0], 1, -1)
        return torch.cat([embeds, register], dim=1), torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)

    def _coming(self, scaled: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """Embedded patches of the future."""
        values = scaled.reshape(scaled.shape[0], -1, self.patch)
        times = torch.arange(scaled.shape[1], dtype=torch.float32)
        return self.model.input_patch_embedding(torch.cat([self._times(times, values), values, known.reshape(values.shape)], dim=-1))

    def _times(self, times: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Steps from the last observation, as a fraction of upstream's scale, `[batch, patches, patch]`."""
        return (times / self.time_scale).reshape(1, -1, self.patch).expand(like.shape[0], -1, -1)

    def _answer(self, hidden: torch.Tensor, location: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        batch, count = hidden.shape[0], hidden.shape[1]
        answer = self.model.output_patch_embedding(hidden).reshape(batch, count, self.model.num_quantiles, self.patch)
        quantiles = answer.transpose(1, 2).reshape(batch, self.model.num_quantiles, count * self.patch)
        quantiles = torch.sinh(quantiles) if self.arcsinh else quantiles
        return quantiles * scale.unsqueeze(-1) + location.unsqueeze(-1)


class Chronos2:
    """The family `chronos2`, after `Chronos2Pipeline` of chronos-forecasting."""

    name = "chronos2"
    tolerance = 1e-3
    upstream = {
        "package": "chronos-forecasting",
        "version": version("chronos-forecasting"),
        "call": "Chronos2Pipeline.predict_quantiles, one call a group",
        "options": {"cross_learning": False},
    }

    def load(self, checkpoint: Checkpoint) -> Chronos2Pipeline:
        return Chronos2Pipeline.from_pretrained(checkpoint.folder, dtype=torch.float32, device_map="cpu")

    def random(self, seed: int) -> Chronos2Pipeline:
        torch.manual_seed(seed)
        model = Chronos2Model(_small_config()).eval()
        spread_quantiles(model.output_patch_embedding, model.num_quantiles, seed, size=0.5)
        return Chronos2Pipeline(model)

    def save(self, upstream: Chronos2Pipeline, folder: Path) -> None:
        upstream.model.save_pretrained(folder)

    def contract(self, upstream: Chronos2Pipeline) -> Contract:
        config = upstream.model.chronos_config
        if config.input_patch_stride != config.input_patch_size:
            raise ExportError(f"patches of {config.input_patch_size} points that overlap (a stride of {config.input_patch_stride}) are not supported")
        return Contract(
            family=self.name,
            quantiles=tuple(config.quantiles),
            horizon=config.max_output_patches * config.output_patch_size,
            patch=config.input_patch_size,
            context_max=config.context_length,
            inputs=(CONTEXT, Tensor("group_ids", "i64", ("batch",)), Tensor("future", "f32", ("batch", f"{config.output_patch_size}*steps"))),
            outputs=(Tensor("quantiles", "f32", ("batch", len(config.quantiles), f"{config.output_patch_size}*steps")),),
        )

    def graph(self, upstream: Chronos2Pipeline) -> onnx.ModelProto:
        patch = upstream.model.chronos_config.output_patch_size
        future = torch.full((3, 2 * patch), torch.nan)
        future[1] = 1.0
        examples = (torch.randn(3, 100), torch.tensor([0, 0, 1]), future)
        axes = {"context": {0: "batch", 1: "time"}, "group_ids": {0: "batch"}, "future": {0: "batch", 1: ("steps", patch)}}
        return to_onnx(Chronos2Graph(upstream.model), examples, axes, ["quantiles"])

    def cases(self, contract: Contract, thorough: bool = False) -> list[Case]:
        levels = contract.quantiles
        few = tuple(level for level in levels if level in (0.1, 0.5, 0.9))
        found = univariate(levels, contract.context_max, 48, (200, 300), thorough)
        found += joint(levels)
        if thorough:
            found += [Case(f"horizon-{contract.horizon}", [series("far", 300)], contract.horizon, few)]
            found += [Case(f"horizon-{contract.horizon + 76}", [series("farther", 200, gaps=True)], contract.horizon + 76, few)]
        return found

    def expected(self, upstream: Chronos2Pipeline, case: Case) -> np.ndarray:
        answers = {}
        for group in sorted(set(groups_of(case))):
            members = [index for index, other in enumerate(groups_of(case)) if other == group]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # It advises against horizons beyond one pass, which are tried too.
                (quantiles,), _ = upstream.predict_quantiles(
                    [_task(case, group, members)], prediction_length=case.horizon, quantile_levels=list(case.levels)
                )
            answers |= dict(zip(members, quantiles.numpy().swapaxes(1, 2), strict=True))
        return np.stack([answers[index] for index in range(len(case.contexts))])

    def found(self, run: reference.Run, contract: Contract, case: Case) -> np.ndarray:
        rows = [*case.contexts, *(covariate.past for covariate in case.covariates)]
        groups = [*groups_of(case), *(covariate.group for covariate in case.covariates)]
        future = [None] * len(case.contexts) + [covariate.future for covariate in case.covariates]
        answer = reference.chronos2(
            run, rows, groups, future, case.horizon, contract.quantiles, contract.context_max, contract.patch, contract.horizon
        )
        return answer[: len(case.contexts)][:, [contract.quantiles.index(level) for level in case.levels]]


def _task(case: Case, group: int, members: list[int]) -> dict:
    """One group in upstream's form: its targets in one array, padded with NaN to one length, and its covariates by name."""
    longest = max(len(case.contexts[index]) for index in members)
    targets = [np.concatenate([np.full(longest - len(case.contexts[index]), np.nan, np.float32), case.contexts[index]]) for index in members]
    mine = {f"c{position}": covariate for position, covariate in enumerate(case.covariates) if covariate.group == group}
    task = {"target": np.stack(targets)}
    if mine:
        task["past_covariates"] = {name: covariate.past for name, covariate in mine.items()}
        task["future_covariates"] = {name: covariate.future for name, covariate in mine.items() if covariate.future is not None}
    return task


def _small_config() -> Chronos2CoreConfig:
    quantiles = [0.01, *(round(0.05 * index, 2) for index in range(1, 20)), 0.99]
    return Chronos2CoreConfig(
        d_model=64,
        d_kv=16,
        d_ff=128,
        num_layers=2,
        num_heads=4,
        initializer_factor=1.0,
        architectures=["Chronos2Model"],
        chronos_pipeline_class="Chronos2Pipeline",
        chronos_config={
            "context_length": 2048,
            "input_patch_size": 16,
            "input_patch_stride": 16,
            "output_patch_size": 16,
            "max_output_patches": 64,
            "quantiles": quantiles,
            "use_reg_token": True,
            "use_arcsinh": True,
            "time_encoding_scale": 2048,
        },
    )
