"""Chronos-Bolt: a T5 encoder over patches of the context, and a decoder of one step that answers all quantiles of 64 steps at once.

Ansari et al., "Chronos: Learning the Language of Time Series" (2024), and the package chronos-forecasting.
"""

from __future__ import annotations

import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import torch
from chronos.chronos_bolt import ChronosBoltModelForForecasting, ChronosBoltPipeline
from torch import nn
from transformers import T5Config

from . import reference
from .case import Case
from .cases import univariate
from .contract import CONTEXT, Contract, Tensor
from .errors import ExportError
from .graph import to_onnx
from .layers import left_padded_patches, masked_location_scale, split_missing
from .random_weights import spread_quantiles
from .source import Checkpoint


class BoltGraph(nn.Module):
    """`context: f32[batch, time]` to `quantiles: f32[batch, quantile, horizon]`, in the data's units, over upstream's own weights."""

    def __init__(self, model: ChronosBoltModelForForecasting) -> None:
        super().__init__()
        self.model = model
        self.patch = model.chronos_config.input_patch_size
        self.horizon = model.chronos_config.prediction_length

    def forward(self, context: torch.Tensor) -> torch.Tensor:
        filled, observed = split_missing(context)
        location, scale = masked_location_scale(filled, observed)
        scaled = (filled - location) / scale * observed
        embeds, mask = self._embed(scaled, observed)
        hidden = self.model.encoder(attention_mask=mask, inputs_embeds=embeds).last_hidden_state
        answer = self.model.output_patch_embedding(self._decode(hidden, mask))
        quantiles = answer.reshape(-1, self.model.num_quantiles, self.horizon)
        return quantiles * scale.unsqueeze(-1) + location.unsqueeze(-1)

    def _embed(self, scaled: torch.Tensor, observed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Embedded patches, and which of them hold at least one observation."""
        values = left_padded_patches(scaled, self.patch)
        seen = left_padded_patches(observed, self.patch)
        embeds = self.model.input_patch_embedding(torch.cat([values, seen], dim=-1))
        mask = (seen.sum(dim=-1) > 0).to(embeds.dtype)
        if not self.model.chronos_config.use_reg_token:
            return embeds, mask
        register = self.model.shared.weight[self.model.config.reg_token_id].expand(embeds.shape[0], 1, -1)
        return torch.cat([embeds, register], dim=1), torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)

    def _decode(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        start = torch.full((hidden.shape[0], 1), self.model.config.decoder_start_token_id, dtype=torch.long)
        decoded = self.model.decoder(input_ids=start, encoder_hidden_states=hidden, encoder_attention_mask=mask, use_cache=False, return_dict=True)
        return decoded.last_hidden_state


class Bolt:
    """The family `bolt`, after `ChronosBoltPipeline` of chronos-forecasting."""

    name = "bolt"
    tolerance = 1e-4
    upstream = {
        "package": "chronos-forecasting",
        "version": version("chronos-forecasting"),
        "call": "ChronosBoltPipeline.predict_quantiles",
        "options": {},
    }

    def load(self, checkpoint: Checkpoint) -> ChronosBoltPipeline:
        return ChronosBoltPipeline.from_pretrained(checkpoint.folder, dtype=torch.float32, device_map="cpu")

    def random(self, seed: int) -> ChronosBoltPipeline:
        torch.manual_seed(seed)
        model = ChronosBoltModelForForecasting(_small_config()).eval()
        with torch.no_grad():
            # Attention that looks at all alike averages away what tells one context from another.
            for name, parameter in model.named_parameters():
                if name.endswith(".q.weight"):
                    parameter.mul_(8.0)
        spread_quantiles(model.output_patch_embedding, model.num_quantiles, seed)
        return ChronosBoltPipeline(model)

    def save(self, upstream: ChronosBoltPipeline, folder: Path) -> None:
        upstream.model.save_pretrained(folder)

    def contract(self, upstream: ChronosBoltPipeline) -> Contract:
        config = upstream.model.chronos_config
        if config.input_patch_stride != config.input_patch_size:
            raise ExportError(f"patches of {config.input_patch_size} points that overlap (a stride of {config.input_patch_stride}) are not supported")
        return Contract(
            family=self.name,
            quantiles=tuple(config.quantiles),
            horizon=config.prediction_length,
            patch=config.input_patch_size,
            context_max=config.context_length,
            inputs=(CONTEXT,),
            outputs=(Tensor("quantiles", "f32", ("batch", len(config.quantiles), config.prediction_length)),),
        )

    def graph(self, upstream: ChronosBoltPipeline) -> onnx.ModelProto:
        return to_onnx(BoltGraph(upstream.model), (torch.randn(3, 100),), {"context": {0: "batch", 1: "time"}}, ["quantiles"])

    def cases(self, contract: Contract, thorough: bool = False) -> list[Case]:
        return univariate(contract.quantiles, contract.context_max, contract.horizon, (200, 300), thorough)

    def expected(self, upstream: ChronosBoltPipeline, case: Case) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # It advises against horizons beyond one pass, which are what is tried.
            quantiles, _ = upstream.predict_quantiles(
                [torch.from_numpy(context) for context in case.contexts], prediction_length=case.horizon, quantile_levels=list(case.levels)
            )
        return quantiles.numpy().swapaxes(1, 2)

    def found(self, run: reference.Run, contract: Contract, case: Case) -> np.ndarray:
        return reference.bolt(run, case.contexts, case.horizon, contract.quantiles, contract.context_max)


def _small_config() -> T5Config:
    return T5Config(
        d_model=64,
        d_ff=128,
        d_kv=16,
        num_heads=4,
        num_layers=2,
        num_decoder_layers=2,
        feed_forward_proj="relu",
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
        is_encoder_decoder=True,
        architectures=["ChronosBoltModelForForecasting"],
        chronos_pipeline_class="ChronosBoltPipeline",
        chronos_config={
            "context_length": 2048,
            "prediction_length": 64,
            "input_patch_size": 16,
            "input_patch_stride": 16,
            "quantiles": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9],
            "use_reg_token": True,
        },
    )
