"""Measures the pipeline from outside, as a caller would."""
