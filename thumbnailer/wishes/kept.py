"""Pictures that the destination holds: thumbnails of records, and offers once they are made."""

from typing import Final, NamedTuple
from urllib.parse import unquote

from thumbnailer.errors import RecordError
from thumbnailer.model import EventKind, Format, ObjectEvent
from thumbnailer.planning.plan import refuse_event
from thumbnailer.renditions import EXTENSIONS, any_key, any_name, any_template, can_collide, target_key
from thumbnailer.settings import Settings
from thumbnailer.values import replace
from thumbnailer.wishes.wish import BadWish, Site, Wish, locate, place

_FORMATS: Final = {"jpeg": Format.JPEG} | {extension: format_ for format_, extension in EXTENSIONS.items()}


class Place(NamedTuple):
    """The key of a picture in the destination. `template` is its key template if requests write it, else None."""

    key: str
    template: str | None = None


def find_place(wish: Wish, settings: Settings) -> Place | None:
    """None if the destination cannot hold the picture, or no key can be told before the source is read."""
    try:
        refuse_event(source_event(wish), settings)
        if wish.rendition in settings.renditions:
            return None if can_collide(settings.key, settings.renditions) else Place(_thumbnail_key(wish, settings))
        for offer in settings.kept_offers:
            if wish.rendition == replace(offer, format=offer.format or wish.rendition.format):
                prefix = settings.any_prefix
                return Place(any_key(prefix, wish.key, wish.rendition), any_template(prefix, wish.rendition))
    except RecordError:
        pass
    return None


def source_event(wish: Wish) -> ObjectEvent:
    """The event of an upload of the source."""
    return ObjectEvent(EventKind.CREATED, wish.bucket, wish.key)


def _thumbnail_key(wish: Wish, settings: Settings) -> str:
    """Guesses the source's format by the end of its key: a wrong guess finds nothing."""
    format_ = wish.rendition.format or _FORMATS.get(wish.key.rpartition(".")[2].lower(), Format.JPEG)
    return target_key(settings.key, wish.key, wish.rendition, format_)


def parse(path: str, _query: str, site: Site, _now: float) -> Wish | None:
    """The wish of a kept picture's own key: an edge asks for it if the destination has none. Raises BadWish."""
    text = unquote(path[1:])
    if not site.any_prefix or not (text if site.only_bucket else text.partition("/")[2]).startswith(site.any_prefix):
        return None
    bucket, text = locate(path, site)
    key, _, name = text.removeprefix(site.any_prefix).rpartition("/")
    for offer in site.offers:
        for format_ in (offer.format,) if offer.format else (None, *site.negotiate):
            if any_name(rendition := replace(offer, format=format_)) == name:
                return Wish(*place(bucket, key, site), rendition)
    raise BadWish("path", "there is no such offer")
