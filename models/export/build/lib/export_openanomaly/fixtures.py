"""Small models of random weights with what upstream answers, to try ports of `reference` on."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

from . import parity
from .case import Case
from .contract import GRAPH_FILE, Contract
from .errors import ExportError
from .export import export_loaded, runner
from .families import Family, family
from .source import Checkpoint

CASES_FILE = "cases.json"

LICENSE = "none (random weights)"

SEED = 1


def make(folder: Path, name: str, precision: str = "fp32") -> dict:
    """Writes `model.onnx`, `manifest.json` and `cases.json` of one family to a folder. Answers how many cases, and the largest error."""
    chosen = family(name)
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = Checkpoint(id=f"random-{name}", folder=Path(scratch))
        chosen.save(chosen.random(SEED), checkpoint.folder)
        upstream = chosen.load(checkpoint)
        export_loaded(chosen, upstream, checkpoint, folder, precision, LICENSE)
    contract = chosen.contract(upstream)
    run = runner(folder / GRAPH_FILE)
    answered = [_answered(chosen, upstream, run, contract, case) for case in chosen.cases(contract, thorough=True)]
    worst = max(answered, key=lambda case: case["error"])
    if precision == "fp32" and worst["error"] > chosen.tolerance:
        raise ExportError(f"{name}: case {worst['name']} is {worst['error']:.2g} from upstream, more than {chosen.tolerance:g}")
    head = {"contract": 1, "family": name, "upstream": chosen.upstream, "tolerance": chosen.tolerance, "seed": SEED}
    _write(folder / CASES_FILE, head, answered)
    return {"cases": len(answered), "max_error": worst["error"]}


def _answered(chosen: Family, upstream, run, contract: Contract, case: Case) -> dict:
    expected = chosen.expected(upstream, case)
    error = parity.error(case, expected, np.asarray(chosen.found(run, contract, case)))
    return {**case.to_json(expected), "error": float(f"{error:.3g}")}


def _write(path: Path, head: dict, cases: list[dict]) -> None:
    """One case a line, so that a difference between two files can be read."""
    lines = ",\n".join(json.dumps(case, separators=(",", ":"), allow_nan=False) for case in cases)
    path.write_text(json.dumps(head)[:-1] + ',\n"cases":[\n' + lines + "\n]}\n", encoding="utf-8")
