"""`python -m tests.worker.hasty`: `thumbnailer worker`, whose backoff is seconds in place of minutes.

What has failed then comes back while a test waits for it.
"""

from __future__ import annotations

import sys

from handler.cli import main
from handler.worker import consumer

if __name__ == "__main__":
    vars(consumer).update(FIRST_BACKOFF=3.0, LONGEST_BACKOFF=10.0, UNREADABLE_SECONDS=2)
    sys.argv[1:] = ["worker"]
    main()
