"""Run by an interpreter that has only the standard library on its path: `in_zip.py RUN.json`.

RUN.json has `path` (added to sys.path), `events`, and `environments`; the handler gets all events in each environment.
The answers and the opened files are written to `out`.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

opened: set[str] = set()


def note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str):
        opened.add(os.path.abspath(arguments[0]))


class Context:
    aws_request_id = "11111111-2222-3333-4444-555555555555"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


def main(run: dict[str, Any]) -> None:
    sys.path[:0] = run["path"]
    sys.addaudithook(note)
    from handler import aws_lambda

    answers = []
    for environment in run["environments"]:
        os.environ.update(environment)
        answers.append([aws_lambda.handler(event, Context()) for event in run["events"]])
        aws_lambda.close()
    for door in ("handler.aws_http", "handler.http.uploads", "handler.steps"):
        import_module(door)
    # the files that the dynamic loader opened
    mapped = {line.split(maxsplit=5)[-1].strip() for line in Path("/proc/self/maps").read_text().splitlines()}
    said = {"answers": answers, "opened": sorted(opened | mapped), "services": services(), "doctor": doctor()}
    said["broken"] = broken_plugins()
    Path(run["out"]).write_text(json.dumps(said))


def services() -> list[str]:
    """The AWS services that boto3 has a client for."""
    import boto3

    return [s for s in boto3.Session(region_name="eu-west-1").get_available_services() if boto3.client(s, "eu-west-1")]


def doctor() -> dict[str, tuple[bool | None, str]]:
    from handler.doctor import examine

    return {finding.what: (finding.good, finding.found) for finding in examine()}


def broken_plugins() -> list[str]:
    """Pillow's plugins that cannot be imported; Pillow itself ignores them silently."""
    import PIL

    names = [path.stem for path in Path(PIL.__path__[0]).glob("*ImagePlugin.py")]
    return [name for name in sorted(names) if not imports(f"PIL.{name}")]


def imports(module: str) -> bool:
    try:
        import_module(module)
    except ImportError:
        return False
    return True


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
