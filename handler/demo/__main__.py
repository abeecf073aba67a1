"""`python -m handler.demo [--once] [PORT]`, for where the command line `thumbnailer demo` is not installed."""

from __future__ import annotations

import asyncio
import sys

from handler.demo.run import DEFAULT_PORT, demo
from thumbnailer.app import new_event_loop

ports = [int(word) for word in sys.argv[1:] if word.isdigit()]
with asyncio.Runner(loop_factory=new_event_loop) as runner:
    sys.exit(runner.run(demo(once="--once" in sys.argv, port=(ports or [DEFAULT_PORT])[0])))
