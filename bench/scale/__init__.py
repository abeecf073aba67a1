"""Simulates a queue and how Lambda and Fargate scale to drain it (`python -m bench scale`)."""
