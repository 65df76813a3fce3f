"""Export to ONNX by the contract: `context[batch, time]` to `quantiles[batch, level, horizon]`."""

import hashlib
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from .model import Config, Nano

CONTEXT_MAX = 2048
VERSION = "1"
HALF_FROM = 256
"""Tensors of fewer elements stay in f32: they weigh nothing, and scales and indices need the digits."""


def load_average(path: Path) -> Nano:
    """The model of a checkpoint with its averaged weights."""
    state = torch.load(path, map_location="cpu", weights_only=False)
    model = Nano(Config(**state["config"]))
    model.load_state_dict(state["average"])
    return model.eval()


def metadata(path: Path, config: Config, seed: int) -> dict[str, str]:
    """What a reader of the file needs to know; all values are strings."""
    entries = {
        "contract": "1",
        "family": "nano",
        "quantiles": ",".join(str(v) for v in config.levels),
        "horizon": str(config.horizon),
        "patch": str(config.patch),
        "context_max": str(CONTEXT_MAX),
        "license": "Apache-2.0",
        "source": f"trained from scratch on synthetic series; seed {seed}",
        "source_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "version": VERSION,
    }
    return {f"openanomaly.{key}": value for key, value in entries.items()}


def to_graph(model: Nano) -> onnx.ModelProto:
    """The network as an ONNX graph in f32, of dynamic batch and time."""
    example = torch.randn(3, 200)
    example[0, :50] = torch.nan
    axes = {"context": {0: torch.export.Dim("batch"), 1: torch.export.Dim("time", min=2)}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        torch.onnx.export(
            model,
            (example,),
            path,
            input_names=["context"],
            output_names=["quantiles"],
            dynamic_shapes=axes,
            dynamo=True,
            opset_version=18,
            external_data=False,
            verbose=False,
        )
        return onnx.load(path)


def strip(graph: onnx.ModelProto) -> None:
    """Takes out what the exporter says of each node: traces with the paths of this machine."""
    del graph.metadata_props[:]
    del graph.graph.metadata_props[:]
    del graph.graph.value_info[:]
    for node in graph.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*graph.graph.input, *graph.graph.output, *graph.graph.initializer):
        del value.metadata_props[:]


def halve_weights(graph: onnx.ModelProto) -> None:
    """Stores the weights in f16 with a cast to f32 before their use, which a runtime folds on loading."""
    casts = []
    for weight in graph.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < HALF_FROM:
            continue
        name, stored = weight.name, f"{weight.name}.f16"
        values = numpy_helper.to_array(weight).astype(np.float16)
        weight.CopyFrom(numpy_helper.from_array(values, stored))
        casts.append(helper.make_node("Cast", [stored], [name], name=f"{name}.f32", to=TensorProto.FLOAT))
    nodes = list(graph.graph.node)
    del graph.graph.node[:]
    graph.graph.node.extend(casts + nodes)


def difference(model: Nano, graph: bytes, shortest: int = 1) -> float:
    """The largest difference of graph and network over ragged contexts, relative to the spread + |q|."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    rng, worst = np.random.default_rng(0), 0.0
    for length in (1, 2, 15, 16, 17, 100, 512, 1000, CONTEXT_MAX):
        x = rng.standard_normal((4, length)).cumsum(1).astype(np.float32)
        x[1, : length // 2] = np.nan
        x[2, rng.random(length) < 0.2] = np.nan
        if length < shortest:
            continue
        with torch.no_grad():
            want = model(torch.from_numpy(x)).numpy()
        found = session.run(["quantiles"], {"context": x})[0]
        spread = np.nanstd(x, axis=1)[:, None, None]
        spread = np.where(spread > 0, spread, 1.0)
        worst = max(worst, float(np.max(np.abs(found - want) / (spread + np.abs(want)))))
    return worst


def export(checkpoint: Path, out: Path, tolerance: float = 1e-4, halved_tolerance: float = 1e-2) -> None:
    """Writes the graph of a checkpoint and checks it against the network.

    With weights in f32 it must agree within `tolerance` at every length, with weights in f16 within
    `halved_tolerance` from 32 points on, below which no forecast is asked for. Raises `ValueError`
    where it does not.
    """
    state = torch.load(checkpoint, map_location="cpu", weights_only=False)
    model = load_average(checkpoint)
    graph = to_graph(model)
    off = difference(model, graph.SerializeToString())
    strip(graph)
    halve_weights(graph)
    helper.set_model_props(graph, metadata(checkpoint, model.config, state["seed"]))
    onnx.checker.check_model(graph)
    content = graph.SerializeToString()
    halved = difference(model, content, shortest=32)
    if not (off <= tolerance and halved <= halved_tolerance):
        raise ValueError(f"{checkpoint}: the graph differs from the network by {off:.1e}, {halved:.1e} in f16")
    out.write_bytes(content)
    print(f"{out}: {len(content) / 1e6:.2f} MB, f32 within {off:.1e}, f16 weights within {halved:.1e}")
