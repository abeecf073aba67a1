"""A page to try URLs on: pictures of the folder, and sliders for their options (`serve --page`)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from handler.http.messages import HttpAnswer

HERE: Final = Path(__file__).parent
FILES: Final[Mapping[str, str]] = {"page.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
POLICY: Final = "default-src 'self'; img-src 'self' blob: data:"
MOST_KEYS: Final = 200


class Page:
    """The page's files by path. `folder` has the pictures to choose from."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = {f"/_page/{name}": _answer((HERE / name).read_bytes(), kind) for name, kind in FILES.items()}

    def answer(self, path: str) -> HttpAnswer | None:
        """None for a path that is no part of the page."""
        if path == "/":
            return self._files["/_page/page.html"]
        if path == "/_page/keys":
            return _answer(json.dumps(self._keys()).encode(), "application/json")
        return self._files.get(path)

    def _keys(self) -> list[str]:
        """Names of files that look like pictures."""
        found = sorted(path for path in self._folder.rglob("*.*") if path.is_file() and path.suffix != ".md")
        return [path.relative_to(self._folder).as_posix() for path in found[:MOST_KEYS]]


def _answer(body: bytes, kind: str) -> HttpAnswer:
    headers = {
        "Cache-Control": "no-cache",
        "Content-Length": str(len(body)),
        "Content-Security-Policy": POLICY,
        "Content-Type": f"{kind}; charset=utf-8",
        "X-Content-Type-Options": "nosniff",
    }
    return HttpAnswer(200, headers, body)
