"""The page of `thumbnailer demo`, of `serve --page` and of uploads: one document with its script, styles and icon."""

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any, Final

from handler.http.messages import HttpAnswer, HttpRequest

ASSETS: Final = Path(__file__).parent / "assets"
FILES: Final = {
    "/_page/page.js": "text/javascript",
    "/_page/cards.js": "text/javascript",
    "/_page/page.css": "text/css",
    "/_page/favicon.svg": "image/svg+xml",
}
"""Paths and content types."""
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src {}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
EVERYWHERE: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
MOST_KEYS: Final = 200


def page(facts: Mapping[str, Any], origin: str = "") -> HttpAnswer:
    """The document. Its script reads `facts` (see assets/page.js), and may send to this server and to `origin`."""
    text = (ASSETS / "page.html").read_text(encoding="utf-8").replace("{{facts}}", escape(json.dumps(facts)))
    return _answer(text.encode(), "text/html", {"Content-Security-Policy": POLICY.format(f"'self' {origin}".rstrip())})


def page_file(path: str) -> HttpAnswer | None:
    """A file that the document loads; None for another path."""
    kind = FILES.get(path)
    return _answer((ASSETS / path.removeprefix("/_page/")).read_bytes(), kind, {}) if kind else None


def _answer(body: bytes, kind: str, headers: Mapping[str, str]) -> HttpAnswer:
    return HttpAnswer(200, {**EVERYWHERE, **headers, "Content-Type": f"{kind}; charset=utf-8"}, body)


class FolderPage:
    """The page to try URLs on: pictures of a folder, and sliders for their options."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def answer(self, request: HttpRequest) -> HttpAnswer | None:
        """None for a path that is no part of the page."""
        if request.path != "/":
            return page_file(request.path)
        return page({"route": f"Pictures on demand from {self._folder.name}", "keys": self._keys()})

    def _keys(self) -> list[str]:
        """Names of files that look like pictures."""
        found = sorted(path for path in self._folder.rglob("*.*") if path.is_file() and path.suffix != ".md")
        return [path.relative_to(self._folder).as_posix() for path in found[:MOST_KEYS]]
