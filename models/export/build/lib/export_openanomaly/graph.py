"""From a PyTorch module to an ONNX file with its metadata."""

from __future__ import annotations

import contextlib
import logging
import warnings

import onnx
import torch
from torch import nn

OPSET = 18

Axis = str | tuple[str, int]
"""The name of a dynamic axis, or the name of what it is a multiple of and how many times that."""


def to_onnx(module: nn.Module, examples: tuple[torch.Tensor, ...], inputs: dict[str, dict[int, Axis]], outputs: list[str]) -> onnx.ModelProto:
    """Traces a module. `inputs` names each input's dynamic axes, in the order of `examples`; axes of one name have one length."""
    dynamic = tuple({axis: _dimension(length) for axis, length in axes.items()} for axes in inputs.values())
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            examples,
            dynamo=True,
            opset_version=OPSET,
            external_data=False,
            verbose=False,
            dynamic_shapes=dynamic,
            input_names=list(inputs),
            output_names=outputs,
        )
    return _bare(program.model_proto)


def _bare(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without what the exporter says of each node: stack traces with the paths of this machine, larger than a small model's weights."""
    del model.graph.value_info[:]
    del model.graph.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    return model


@contextlib.contextmanager
def _quiet():
    """The exporter reports on its own progress and on its libraries' deprecations, which hides errors that matter."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _dimension(axis: Axis):
    if isinstance(axis, str):
        return torch.export.Dim(axis, min=1, max=2**20)
    name, times = axis
    return times * torch.export.Dim(name, min=1, max=2**16)
