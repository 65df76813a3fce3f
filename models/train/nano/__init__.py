"""Training, evaluation and export of the bundled zero-shot forecaster."""
