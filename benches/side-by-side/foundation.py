#!/usr/bin/env python3
"""Forecasts the same series with Chronos-Bolt three ways on one thread, in turn: by the pipeline of chronos-forecasting
(PyTorch), by bare ONNX Runtime on the exported graph at its best batch, and by the whole call of our model. Prints
series a CPU-second and ratios. The weights are random; speed doesn't depend on them.

    python3 -m venv .venv && .venv/bin/pip install -e 'models/export[chronos]'
    .venv/bin/python benches/side-by-side/foundation.py [tiny|small] [ROUNDS]
"""

import os
import pathlib
import sys
import tempfile
import time

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import numpy as np
import onnxruntime
import torch
from chronos.chronos_bolt import ChronosBoltModelForForecasting, ChronosBoltPipeline
from export_openanomaly.export import export
from transformers import T5Config

from server import build, median, run

CONTEXT, HORIZON = 512, 64
SIZES = {
    "tiny": {"d_model": 256, "d_ff": 1024, "num_heads": 4, "num_layers": 4, "num_decoder_layers": 4},
    "small": {"d_model": 512, "d_ff": 2048, "num_heads": 8, "num_layers": 6, "num_decoder_layers": 6},
}


def checkpoint(size, folder):
    """Saves a Chronos-Bolt of random weights, as the hub has it."""
    chronos = {"context_length": 2048, "prediction_length": HORIZON, "input_patch_size": 16, "input_patch_stride": 16,
               "quantiles": [level / 10 for level in range(1, 10)], "use_reg_token": True}
    torch.manual_seed(0)
    config = T5Config(**SIZES[size], d_kv=64, feed_forward_proj="relu", decoder_start_token_id=0, pad_token_id=0,
                      eos_token_id=1, is_encoder_decoder=True, architectures=["ChronosBoltModelForForecasting"],
                      chronos_pipeline_class="ChronosBoltPipeline", chronos_config=chronos)
    ChronosBoltModelForForecasting(config).eval().save_pretrained(folder)


def series(count, lengths):
    """`count` noisy waves, the lengths in turn."""
    chance = np.random.default_rng(0)
    wave = lambda length, row: 100 + 10 * np.sin(np.arange(length) / 20 + row) + chance.normal(size=length)
    return [wave(lengths[row % len(lengths)], row) for row in range(count)]


def rate(count, work):
    """Series a CPU-second."""
    begun = time.process_time()
    work()
    return count / (time.process_time() - begun)


def session(file):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def padded(batch):
    rows = np.full((len(batch), max(map(len, batch))), np.nan, np.float32)
    for row, values in zip(rows, batch):
        row[len(row) - len(values):] = values
    return rows


def bare(graph, contexts, size):
    """Batches as they come, each as long as its longest."""
    for first in range(0, len(contexts), size):
        graph.run(None, {"context": padded(contexts[first:first + size])})


def torch_pipeline(pipeline, contexts):
    for first in range(0, len(contexts), 32):
        batch = [torch.from_numpy(values).float() for values in contexts[first:first + 32]]
        pipeline.predict_quantiles(batch, prediction_length=HORIZON, quantile_levels=[0.1, 0.5, 0.9])


def ours(programs, folder, model, contexts, rounds=1):
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.writelines(" ".join(map(repr, map(float, values))) + "\n" for values in contexts)
        file.flush()
        return run(programs / "graph_rate", folder, model, file.name, HORIZON, rounds)[0]["series_a_second"]


def main(size="small", rounds=3):
    rounds = int(rounds)
    torch.set_num_threads(1)
    programs, count = build(), {"tiny": 256, "small": 96}[size]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        checkpoint(size, folder / "checkpoint")
        files = {}
        for precision in ("fp32", "int8"):
            target = folder / "models" / "bench" / precision
            # Random weights amplify what little the precisions differ by; only the time it takes counts here.
            export(str(folder / "checkpoint"), target, precision, "bolt", "Apache-2.0", tolerance=1e9)
            files[precision] = str(target / "model.onnx")
        pipeline = ChronosBoltPipeline.from_pretrained(folder / "checkpoint", dtype=torch.float32, device_map="cpu")
        graph = session(files["fp32"])
        even, mixed = series(count, [CONTEXT]), series(count, [32, 512, 64, 2048, 128, 100, 256, 48])
        best = max((8, 16, 32), key=lambda batch: rate(count, lambda: bare(graph, even, batch)))
        rows = []
        for _ in range(rounds):
            rows.append({
                "PyTorch pipeline": rate(count, lambda: torch_pipeline(pipeline, even)),
                "bare ONNX Runtime": rate(count, lambda: bare(graph, even, best)),
                "ours": ours(programs, folder / "models", "bench/fp32", even),
                "ours, int8": ours(programs, folder / "models", "bench/int8", even),
                "bare, mixed lengths as they come": rate(count, lambda: bare(graph, mixed, 32)),
                "PyTorch, mixed lengths as they come": rate(count, lambda: torch_pipeline(pipeline, mixed)),
                "ours, mixed lengths": ours(programs, folder / "models", "bench/fp32", mixed),
            })
            print(", ".join(f"{name} {value:.1f}" for name, value in rows[-1].items()), flush=True)
    print(f"Chronos-Bolt {size}, context {CONTEXT}, horizon {HORIZON}, one thread, bare at batches of {best}:")
    for above, below in [("ours", "bare ONNX Runtime"), ("ours", "PyTorch pipeline"), ("ours, int8", "PyTorch pipeline"),
                         ("ours, mixed lengths", "bare, mixed lengths as they come"),
                         ("ours, mixed lengths", "PyTorch, mixed lengths as they come")]:
        ratios = [row[above] / row[below] for row in rows]
        print(f"  {above} / {below}: {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main(*sys.argv[1:])
