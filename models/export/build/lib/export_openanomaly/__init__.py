"""Exports published time-series foundation models to ONNX, and proves each export against upstream."""
