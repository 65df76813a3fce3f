"""Every family that can be exported, by the name that stands in the metadata. A new one is one file and one line here."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx

from .case import Case
from .contract import Contract
from .errors import ExportError
from .reference import Run
from .source import Checkpoint


class Family(Protocol):
    """What an export needs to know of a family. `upstream` is the published package's own pipeline."""

    name: str
    tolerance: float
    """The largest `parity.error` of an fp32 graph that is kept."""

    upstream: dict
    """What of the published package is followed: its name, version, call and options."""

    def load(self, checkpoint: Checkpoint) -> Any:
        """The published package's pipeline, in fp32 on the CPU."""

    def random(self, seed: int) -> Any:
        """The same for random weights of a small model."""

    def save(self, upstream: Any, folder: Path) -> None:
        """Writes a checkpoint that `load` can read."""

    def contract(self, upstream: Any) -> Contract: ...

    def graph(self, upstream: Any) -> onnx.ModelProto:
        """The graph in fp32, without metadata."""

    def cases(self, contract: Contract, thorough: bool = False) -> list[Case]:
        """What a graph is tried on: few and short, or all that a port should be tried on."""

    def expected(self, upstream: Any, case: Case) -> np.ndarray:
        """What upstream answers, `[series, level, step]`."""

    def found(self, run: Run, contract: Contract, case: Case) -> np.ndarray:
        """What the graph answers when it is used as `reference` says."""


@dataclass(frozen=True)
class Entry:
    """Where a family lives, and how its checkpoints are known without importing the published package, which may not be there."""

    module: str
    kind: str
    extra: str
    """The optional dependencies of this package that hold the published one."""
    owns: Callable[[Checkpoint], bool]


FAMILIES: dict[str, Entry] = {
    "bolt": Entry("bolt", "Bolt", "chronos", lambda it: _names(it, "ChronosBoltPipeline", "ChronosBoltModelForForecasting")),
    "chronos2": Entry("chronos2", "Chronos2", "chronos", lambda it: _names(it, "Chronos2Pipeline", "Chronos2Model")),
    "toto": Entry("toto", "Toto", "toto", lambda it: "residual_attn_ratio" in it.config),
    "timesfm25": Entry("timesfm25", "TimesFm25", "timesfm", lambda it: TIMESFM25 <= it.shapes.keys()),
}

TIMESFM25 = {"output_projection_quantiles.output_layer.weight", "stacked_xf.0.attn.qkv_proj.weight"}


def family(name: str) -> Family:
    """A family by its name, with the published package behind it."""
    entry = FAMILIES[name]
    try:
        return getattr(importlib.import_module(f".{entry.module}", __package__), entry.kind)()
    except ImportError as error:
        raise ExportError(f"{name} needs a package that is not there ({error}): pip install 'export-openanomaly[{entry.extra}]'") from error


def name_of(checkpoint: Checkpoint) -> str:
    """The name of the family that a checkpoint's configuration or tensors are of."""
    found = next((name for name, entry in FAMILIES.items() if entry.owns(checkpoint)), None)
    if found:
        return found
    if "chronos_config" in checkpoint.config and checkpoint.config.get("chronos_pipeline_class", "ChronosPipeline") == "ChronosPipeline":
        raise ExportError(f"{checkpoint.id} is a Chronos model that samples token by token; no single graph can answer its quantiles")
    raise ExportError(f"{checkpoint.id} is of no known family ({', '.join(FAMILIES)}); --family says it where it can't be seen")


def _names(checkpoint: Checkpoint, pipeline: str, architecture: str) -> bool:
    config = checkpoint.config
    return config.get("chronos_pipeline_class") == pipeline or architecture in (config.get("architectures") or [])
