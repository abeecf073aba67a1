"""The compiled JPEG engine is optional: its tests are collected where it is built."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("thumbnailer_jpeg") else ["test_*.py"]
