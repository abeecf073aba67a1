"""`python -m tests.worker.hasty`: `thumbnailer worker` with a backoff of seconds in place of minutes."""

from __future__ import annotations

import sys

from handler.cli import main
from handler.worker import consumer

if __name__ == "__main__":
    vars(consumer).update(FIRST_BACKOFF=1.0, LONGEST_BACKOFF=5.0, UNREADABLE_SECONDS=1)
    sys.argv[1:] = ["worker"]
    main()
