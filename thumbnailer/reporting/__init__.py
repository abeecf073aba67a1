"""Outcomes as log lines, metrics and notes."""
