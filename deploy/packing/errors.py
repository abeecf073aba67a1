"""Why there is no zip.

PackingError
├── UnknownTarget      no managed runtime is like that
├── CannotInstall      no wheels for it, or no uv
│   └── IndexUnreachable
├── DoesNotLoad        a shared object asks for what the runtime has not
└── TooLarge           beyond Lambda's limit
"""

from __future__ import annotations

from thumbnailer.errors import ThumbnailerError


class PackingError(ThumbnailerError):
    """The message says what to do."""


class UnknownTarget(PackingError):
    pass


class CannotInstall(PackingError):
    pass


class IndexUnreachable(CannotInstall):
    pass


class DoesNotLoad(PackingError):
    pass


class TooLarge(PackingError):
    pass
