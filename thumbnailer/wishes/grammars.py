"""The grammars by name, and the first of them that a URL fits."""

from collections.abc import Callable, Sequence
from typing import Final

from thumbnailer.wishes import dit, imgproxy, kept, query, thumbor
from thumbnailer.wishes.wish import BadWish, Site, Wish

GRAMMARS: Final[dict[str, Callable[[str, str, Site, float], Wish | None]]] = {
    "query": query.parse,
    "dit": dit.parse,
    "imgproxy": imgproxy.parse,
    "thumbor": thumbor.parse,
}
"""Each takes path and query as they were sent, the site and Unix time. None: the URL has another form."""


def read_url(path: str, query_: str, site: Site, now: float, grammars: Sequence[str]) -> Wish:
    """Raises BadWish, NotAllowed, Expired."""
    for parse in (kept.parse, *map(GRAMMARS.__getitem__, grammars)):
        if wish := parse(path, query_, site, now):
            return wish
    raise BadWish("path", f"it has no form of {', '.join(grammars)}")
