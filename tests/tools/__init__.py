"""Developers' tools: run one with `python -m tests.tools.NAME`."""
