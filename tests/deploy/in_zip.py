"""Run by an interpreter of its own with nothing on its path but the standard library: `in_zip.py RUN.json`.

RUN.json holds `path` (put on sys.path), `events`, and `environments`, each of which all events are handled in. Writes
what was answered and which files were opened to `out`.
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
    # what the dynamic loader has opened
    mapped = {line.split(maxsplit=5)[-1].strip() for line in Path("/proc/self/maps").read_text().splitlines()}
    said = {"answers": answers, "opened": sorted(opened | mapped), "services": services(), "doctor": doctor()}
    said["broken"] = broken_plugins()
    Path(run["out"]).write_text(json.dumps(said))


def services() -> list[str]:
    """The AWS services that a client can be made for."""
    import boto3

    return [s for s in boto3.Session(region_name="eu-west-1").get_available_services() if boto3.client(s, "eu-west-1")]


def doctor() -> dict[str, tuple[bool | None, str]]:
    from handler.doctor import examine

    return {finding.what: (finding.good, finding.found) for finding in examine()}


def broken_plugins() -> list[str]:
    """Pillow's, that cannot be imported; it says nothing of them itself, and then does not know their formats."""
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
