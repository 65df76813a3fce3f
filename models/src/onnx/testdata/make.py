"""Writes graphs in the layouts that others have published, to test how they are put to use: `python make.py` (needs onnx 1.23).

Each answers something plain: the last value of the context, going up by 0.01 a step, the quantiles 1 apart, and what shows that the other
inputs came through.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FOLDER = Path(__file__).parent


def write(name: str, nodes: list, inputs: list, output, constants: dict[str, np.ndarray]) -> None:
    initializers = [numpy_helper.from_array(value, key) for key, value in constants.items()]
    graph = helper.make_graph(nodes, name, inputs, [output], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9, producer_name="make.py")
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, FOLDER / f"{name}.onnx")


def floats(name: str, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def ids(name: str):
    return helper.make_tensor_value_info(name, TensorProto.INT64, ["batch"])


def last_and_id(group_input: str) -> list:
    """`start: [batch, 1, 1]`, the last value and a thousandth of the group's number."""
    return [
        helper.make_node("Slice", ["context", "minus_one", "end", "one"], ["last"]),
        helper.make_node("Cast", [group_input], ["id"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["id", "one"], ["id_column"]),
        helper.make_node("Mul", ["id_column", "thousandth"], ["id_share"]),
        helper.make_node("Add", ["last", "id_share"], ["marked"]),
        helper.make_node("Unsqueeze", ["marked", "two"], ["start"]),
    ]


def shared() -> dict[str, np.ndarray]:
    return {
        "minus_one": np.array([-1]),
        "end": np.array([np.iinfo(np.int64).max]),
        "one": np.array([1]),
        "two": np.array([2]),
        "thousandth": np.array(0.001, dtype=np.float32),
    }


def toto() -> None:
    """Toto 2.0 with one length of context and no known futures: `series_ids`, quantiles last."""
    steps = (0.01 * np.arange(1, 97, dtype=np.float32)).reshape(1, 96, 1)
    levels = (np.arange(9, dtype=np.float32) - 4).reshape(1, 1, 9)
    nodes = [
        *last_and_id("series_ids"),
        helper.make_node("Add", ["start", "steps"], ["rising"]),
        helper.make_node("Add", ["rising", "levels"], ["quantiles"]),
    ]
    inputs = [floats("context", "batch", 2048), ids("series_ids")]
    write("toto", nodes, inputs, floats("quantiles", "batch", 96, 9), {**shared(), "steps": steps, "levels": levels})


def chronos2() -> None:
    """Chronos-2 with a mask and 64 steps of known futures. The number of observations is told by whole hundreds."""
    steps = (0.01 * np.arange(1, 65, dtype=np.float32)).reshape(1, 1, 64)
    levels = (np.arange(21, dtype=np.float32) - 10).reshape(1, 21, 1)
    nodes = [
        *last_and_id("group_ids"),
        helper.make_node("ReduceSum", ["attention_mask", "one"], ["seen"], keepdims=1),
        helper.make_node("Mul", ["seen", "hundred"], ["seen_share"]),
        helper.make_node("Unsqueeze", ["seen_share", "two"], ["seen_column"]),
        helper.make_node("Add", ["start", "seen_column"], ["counted"]),
        helper.make_node("Add", ["counted", "steps"], ["rising"]),
        helper.make_node("Add", ["rising", "levels"], ["free"]),
        helper.make_node("Unsqueeze", ["future_covariates", "one"], ["known"]),
        helper.make_node("IsNaN", ["known"], ["unknown"]),
        helper.make_node("Where", ["unknown", "free", "known"], ["quantile_preds"]),
    ]
    inputs = [
        floats("context", "batch", "time"),
        ids("group_ids"),
        floats("attention_mask", "batch", "time"),
        floats("future_covariates", "batch", 64),
    ]
    constants = {**shared(), "steps": steps, "levels": levels, "hundred": np.array(100, dtype=np.float32)}
    write("chronos2", nodes, inputs, floats("quantile_preds", "batch", 21, 64), constants)


if __name__ == "__main__":
    toto()
    chronos2()
