"""From a checkpoint to a proven ONNX file: load, trace, shrink, compare with upstream, and only then keep."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from . import parity
from .case import Case
from .contract import GRAPH_FILE, Contract, Source, write_manifest
from .errors import ExportError
from .families import Family, family, name_of
from .precision import with_precision
from .source import Checkpoint, resolve

DATA_FILE = GRAPH_FILE + ".data"
"""Weights of graphs above the 2 GiB that one protobuf message can hold."""

LOSSY = {"fp16": 0.05, "int8": 1.0}
"""How far a graph of less precision may be from upstream, in the measure of `parity.error`."""


def export(
    source: str, output: Path, precision: str = "fp32", family_name: str = "auto", license: str | None = None, revision: str | None = None
) -> dict:
    """Exports `source`, a hub id or a folder, to `output/model.onnx` and `output/manifest.json`. Answers the manifest.

    Nothing is left in `output` where the graph is not as good as it must be.
    """
    checkpoint = resolve(source, revision)
    chosen = family(name_of(checkpoint) if family_name == "auto" else family_name)
    try:
        upstream = chosen.load(checkpoint)
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(f"{checkpoint.id} can't be loaded as {chosen.name}: {error}") from error
    return export_loaded(chosen, upstream, checkpoint, output, precision, license)


def export_loaded(chosen: Family, upstream, checkpoint: Checkpoint, output: Path, precision: str = "fp32", license: str | None = None) -> dict:
    """As `export`, of an upstream model that is loaded already."""
    contract = chosen.contract(upstream)
    source = checkpoint.describe(license)
    model = with_precision(chosen.graph(upstream), precision)
    _describe(model, contract, source, precision)
    with tempfile.TemporaryDirectory() as folder:
        graph = _save(model, Path(folder))
        proof = prove(chosen, upstream, graph, contract, precision)
        if not proof["max_error"] <= proof["tolerance"]:
            raise ExportError(
                f"{source.id} in {precision} is {proof['max_error']:.2g} from upstream in case {proof['worst']}, more than {proof['tolerance']:g}: not kept"
            )
        output.mkdir(parents=True, exist_ok=True)
        for file in (GRAPH_FILE, DATA_FILE):
            (output / file).unlink(missing_ok=True)
        for file in Path(folder).iterdir():
            shutil.move(file, output / file.name)
    manifest = contract.manifest(source, precision, output / GRAPH_FILE, proof)
    write_manifest(output, manifest)
    return manifest


def prove(chosen: Family, upstream, graph: Path, contract: Contract, precision: str) -> dict:
    """The largest error over a family's cases, with the case that has it."""
    run = runner(graph)
    cases = chosen.cases(contract)
    errors = {case.name: _error(chosen, upstream, run, contract, case) for case in cases}
    worst = max(errors, key=errors.get)
    tolerance = max(chosen.tolerance, LOSSY.get(precision, 0.0))
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


def _describe(model: onnx.ModelProto, contract: Contract, source: Source, precision: str) -> None:
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, contract.metadata(source, precision))


def _save(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / GRAPH_FILE
    if model.ByteSize() < 2**31 - 1:
        onnx.save(model, path)
    else:
        onnx.save(model, path, save_as_external_data=True, all_tensors_to_one_file=True, location=DATA_FILE, size_threshold=1024)
    return path
