"""From a checkpoint to a proven ONNX file: load, trace, shrink, compare with upstream, and only then keep."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from . import parity, precision
from .case import Case
from .contract import DATA_FILE, GRAPH_FILE, Contract, Source, write_manifest
from .errors import ExportError
from .families import Family, family, name_of
from .source import Checkpoint, resolve

LOSSY = {"fp16": 0.05, "int8": 1.0}
"""How far a graph of less precision may be from upstream, in the measure of `parity.error`."""


def export(
    source: str,
    output: Path,
    weights: str = "fp32",
    family_name: str = "auto",
    license: str | None = None,
    revision: str | None = None,
    tolerance: float | None = None,
) -> dict:
    """Exports `source`, a hub id or a folder, to `output/model.onnx` and `output/manifest.json`. Answers the manifest.

    `weights` is one of `PRECISIONS`, `family_name` one of `FAMILIES` or `auto`; a `license` that is given wins over what is found, and a
    `tolerance` over that of the family and of `LOSSY`. Nothing is written to `output` where the graph is not as good as it must be.
    """
    checkpoint = resolve(source, revision)
    chosen = family(name_of(checkpoint) if family_name == "auto" else family_name)
    try:
        upstream = chosen.load(checkpoint)
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(f"{checkpoint.id} can't be loaded as {chosen.name}: {error}") from error
    return export_loaded(chosen, upstream, checkpoint, output, weights, license, tolerance)


def export_loaded(
    chosen: Family,
    upstream,
    checkpoint: Checkpoint,
    output: Path,
    weights: str = "fp32",
    license: str | None = None,
    tolerance: float | None = None,
) -> dict:
    """As `export`, of an upstream model that is loaded already."""
    contract = chosen.contract(upstream)
    source = checkpoint.describe(license)
    model = precision.with_precision(chosen.graph(upstream), weights)
    _describe(model, contract, source, weights)
    with tempfile.TemporaryDirectory() as folder:
        graph = _save(model, Path(folder))
        limit = max(chosen.tolerance, LOSSY.get(weights, 0.0)) if tolerance is None else tolerance
        proof = prove(chosen, upstream, graph, contract, limit)
        if not proof["max_error"] <= proof["tolerance"]:
            found = f"{proof['max_error']:.2g} from upstream in case {proof['worst']}, more than {proof['tolerance']:g}"
            raise ExportError(f"{source.id} in {weights} is {found}: not kept")
        output.mkdir(parents=True, exist_ok=True)
        for file in (GRAPH_FILE, DATA_FILE):
            (output / file).unlink(missing_ok=True)
        for file in Path(folder).iterdir():
            shutil.move(file, output / file.name)
    manifest = contract.manifest(source, weights, output / GRAPH_FILE, proof)
    write_manifest(output, manifest)
    return manifest


def prove(chosen: Family, upstream, graph: Path, contract: Contract, tolerance: float) -> dict:
    """The largest error over a family's cases, the case that has it, and the tolerance it was held against."""
    run = runner(graph)
    cases = chosen.cases(contract)
    errors = {case.name: _error(chosen, upstream, run, contract, case) for case in cases}
    worst = max(errors, key=errors.get)
    return {"max_error": float(f"{errors[worst]:.3g}"), "cases": len(cases), "tolerance": tolerance, "worst": worst}


def runner(graph: Path):
    """A function from named arrays to a graph's outputs, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(None, feeds)


def _error(chosen: Family, upstream, run, contract: Contract, case: Case) -> float:
    expected = chosen.expected(upstream, case)
    return parity.error(case, expected, np.asarray(chosen.found(run, contract, case)))


def _describe(model: onnx.ModelProto, contract: Contract, source: Source, weights: str) -> None:
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, contract.metadata(source, weights))


def _save(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / GRAPH_FILE
    if precision.weight_bytes(model) <= precision.MESSAGE_LIMIT:
        onnx.save(model, path)
    else:
        onnx.save(model, path, save_as_external_data=True, all_tensors_to_one_file=True, location=DATA_FILE, size_threshold=1024)
    return path
