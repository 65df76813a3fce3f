"""Serves forecasting models to OpenAnomaly."""
