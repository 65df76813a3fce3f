"""Finding a checkpoint: on the Hugging Face hub or in a folder; what family it is of, its licence and its hash."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from safetensors import safe_open

from .contract import Source, sha256_of
from .errors import ExportError

FILES = ["config.json", "*.safetensors", "README.md"]
"""What is fetched of a hub repository."""

LICENSES = {
    "amazon/chronos-": "Apache-2.0",
    "autogluon/chronos-": "Apache-2.0",
    "google/timesfm-2.5-": "Apache-2.0",
    "datadog/toto-2.0-": "Apache-2.0",
}
"""Licences of the published weights, by the start of the hub id in lower case. A model card that says otherwise wins."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's files in a local folder."""

    id: str
    folder: Path

    @cached_property
    def config(self) -> dict:
        """`config.json`, or nothing where there is none."""
        path = self.folder / "config.json"
        try:
            return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        except ValueError as error:
            raise ExportError(f"{path} is not JSON: {error}") from error

    @cached_property
    def weights(self) -> list[Path]:
        """Its safetensors files, sorted by name."""
        files = sorted(self.folder.glob("*.safetensors"))
        if not files:
            raise ExportError(f"{self.id}: no *.safetensors in {self.folder}")
        return files

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor, by name."""
        shapes = {}
        for path in self.weights:
            try:
                with safe_open(path, framework="numpy") as file:
                    shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
            except Exception as error:
                raise ExportError(f"{path} can't be read as safetensors: {error}") from error
        return shapes

    def describe(self, license: str | None) -> Source:
        """Hash and licence; a `license` that is given wins over what is found."""
        return Source(id=self.id, sha256=self._hash(), license=license or self._license())

    def _hash(self) -> str:
        """The hash of the weights' file; of several, that of a list of their names and hashes."""
        if len(self.weights) == 1:
            return sha256_of(self.weights[0])
        lines = "".join(f"{sha256_of(path)}  {path.name}\n" for path in self.weights)
        return hashlib.sha256(lines.encode()).hexdigest()

    def _license(self) -> str:
        card = self.folder / "README.md"
        front = card.read_text(encoding="utf-8").split("---") if card.exists() else []
        found = re.search(r"^license:\s*(\S+)", front[1], re.MULTILINE) if len(front) > 2 else None
        if found:
            return {"apache-2.0": "Apache-2.0", "mit": "MIT"}.get(found[1].lower(), found[1])
        known = (name for start, name in LICENSES.items() if self.id.lower().startswith(start))
        return next(known, "unknown")


def resolve(source: str, revision: str | None = None) -> Checkpoint:
    """A local folder as it is, or a hub id after its files were fetched."""
    folder = Path(source)
    if folder.is_dir():
        return Checkpoint(id=folder.resolve().name, folder=folder)
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", source):
        raise ExportError(f"{source} is neither a folder nor a hub id like amazon/chronos-bolt-tiny")
    return Checkpoint(id=source, folder=_fetch(source, revision))


def _fetch(hub_id: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=FILES))
    except Exception as error:
        raise ExportError(f"{hub_id} can't be fetched from the hub, and is no local folder: {error}") from error
