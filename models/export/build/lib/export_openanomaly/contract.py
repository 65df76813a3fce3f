"""What stands in an exported graph and in the manifest beside it.

The graph's `metadata_props` and `manifest.json` say the same; a reader that has lost one can go by the other.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

VERSION = 1
"""Version of the contract. A reader refuses what it does not know."""

GRAPH_FILE = "model.onnx"
DATA_FILE = GRAPH_FILE + ".data"
"""Weights of graphs above the 2 GiB that one protobuf message can hold, beside the graph."""

MANIFEST_FILE = "manifest.json"

PREFIX = "openanomaly."
"""Prefix of every key in `metadata_props`."""


@dataclass(frozen=True)
class Tensor:
    """A graph's input or output. A dynamic axis has a name in place of a number."""

    name: str
    type: str
    shape: tuple[str | int, ...]


CONTEXT = Tensor("context", "f32", ("batch", "time"))
"""The input of every graph: NaN is missing, and what is shorter than the batch is padded with NaN on the left."""


@dataclass(frozen=True)
class Source:
    """Where weights came from."""

    id: str
    """Hub id, or the name of a folder."""
    sha256: str
    license: str


@dataclass(frozen=True)
class Contract:
    """What a caller must know to run a graph.

    `horizon` is the number of steps of one pass and `context_max` the longest context that the model takes, both in points; the caller
    cuts what is longer. `extra` holds what only one family needs.
    """

    family: str
    quantiles: tuple[float, ...]
    horizon: int
    patch: int
    context_max: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    extra: dict[str, str] = field(default_factory=dict)

    def metadata(self, source: Source, precision: str) -> dict[str, str]:
        """The graph's `metadata_props`."""
        facts = {
            "contract": VERSION,
            "family": self.family,
            "quantiles": ",".join(f"{level:g}" for level in self.quantiles),
            "horizon": self.horizon,
            "patch": self.patch,
            "context_max": self.context_max,
            "license": source.license,
            "source": source.id,
            "source_sha256": source.sha256,
            "precision": precision,
            **self.extra,
        }
        return {PREFIX + key: str(value) for key, value in facts.items()}

    def manifest(self, source: Source, precision: str, graph: Path, parity: dict) -> dict:
        """The manifest of a finished graph. `parity` is what was measured of it."""
        return {
            "contract": VERSION,
            "id": source.id,
            "family": self.family,
            "file": graph.name,
            "sha256": sha256_of(graph),
            "bytes": graph.stat().st_size,
            "quantiles": list(self.quantiles),
            "horizon": self.horizon,
            "patch": self.patch,
            "context_max": self.context_max,
            "license": source.license,
            "source": source.id,
            "source_sha256": source.sha256,
            "precision": precision,
            "parity": parity,
            "inputs": [_described(tensor) for tensor in self.inputs],
            "outputs": [_described(tensor) for tensor in self.outputs],
            **self.extra,
            **_beside(graph),
        }


def write_manifest(folder: Path, manifest: dict) -> Path:
    """Writes `manifest.json`, one line a field."""
    path = folder / MANIFEST_FILE
    path.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return path


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _beside(graph: Path) -> dict:
    data = graph.parent / DATA_FILE
    return {"external_data": {"file": DATA_FILE, "sha256": sha256_of(data), "bytes": data.stat().st_size}} if data.exists() else {}


def _described(tensor: Tensor) -> dict:
    return {"name": tensor.name, "type": tensor.type, "shape": list(tensor.shape)}
