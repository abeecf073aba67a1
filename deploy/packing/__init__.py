"""The zip and the layer for Lambda's managed Python runtimes: `python -m deploy.packing`, or `make zip`.

target (the runtime) -> install (wheels for it) -> strip (files that are never used) -> build (the same bytes for the
same files).
"""

from thumbnailer.errors import ThumbnailerError


class PackingError(ThumbnailerError):
    """There is no zip; the message says what to do."""


class IndexUnreachable(PackingError):
    """uv cannot reach the package index."""
