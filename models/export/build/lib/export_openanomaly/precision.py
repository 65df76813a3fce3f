"""Smaller graphs: weights in fp16, or matrix products in int8."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PRECISIONS = ("fp32", "fp16", "int8")

SMALLEST = 1024
"""Tensors of fewer values stay as they are: they weigh nothing, and are often tables in which every digit counts."""

FP16_MAX = 65504.0

MESSAGE_LIMIT = 2**31 - 2**24
"""A protobuf message holds less than 2 GiB; this leaves 16 MiB to what is not weights. Larger weights go into a file of their own."""


def weight_bytes(model: onnx.ModelProto) -> int:
    """Bytes of all constants."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer)


def with_precision(model: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    """The model in one of `PRECISIONS`."""
    return {"fp32": lambda model: model, "fp16": halved, "int8": quantised}[precision](model)


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights stored as fp16 and cast to fp32 where they are used; computing stays in fp32, and so does its speed."""
    graph = model.graph
    casts = []
    for position, tensor in enumerate(list(graph.initializer)):
        values = _weights(tensor)
        if values is None:
            continue
        name = tensor.name
        stored = f"{name}_fp16"
        graph.initializer[position].CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
        casts.append(helper.make_node("Cast", [stored], [name], name=f"{stored}_cast", to=TensorProto.FLOAT))
    nodes = casts + list(graph.node)
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def _weights(tensor: TensorProto) -> np.ndarray | None:
    """The values of a tensor that is to be halved, or nothing."""
    if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2 or np.prod(tensor.dims) < SMALLEST:
        return None
    values = numpy_helper.to_array(tensor)
    return values if np.abs(values).max() < FP16_MAX else None


def quantised(model: onnx.ModelProto) -> onnx.ModelProto:
    """Matrix products with constant weights in int8: signed weights with a scale a column, inputs scaled at run time.

    Unsigned weights would lose most of the speed. The scale of an input is that of the whole batch, so that an answer depends a little
    on what else is in the batch.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder, "before.onnx"), Path(folder, "after.onnx")
        large = weight_bytes(model) > MESSAGE_LIMIT
        onnx.save(model, before, save_as_external_data=large, location="before.data")
        quantize_dynamic(
            before, after, op_types_to_quantize=["MatMul"], weight_type=QuantType.QInt8, per_channel=True, use_external_data_format=large
        )
        return onnx.load(after)
