"""Pillow, or Pillow-SIMD if that provides `PIL`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from io import BytesIO
from itertools import islice
from time import perf_counter

from PIL import Image

from thumbnailer.engine.base import Rendering, crop_corner, refuse_other_size, thumbhash, within_bytes
from thumbnailer.engine.pillow_colours import convert_for_resize, in_srgb, on_white, profile_of
from thumbnailer.engine.pillow_formats import LOADERS, MOST_PLAYS, import_plugin, saver_for, turn_upright
from thumbnailer.engine.salvage import DECODER_ERRORS
from thumbnailer.errors import Corrupt
from thumbnailer.formats.details import HeifDetails, TiffDetails
from thumbnailer.formats.exif import build_credit
from thumbnailer.model import EngineName, ImageInfo
from thumbnailer.planning.capabilities import REDUCING_GAP, decoder_shrink
from thumbnailer.planning.plan import Plan
from thumbnailer.planning.targets import Target, keeps_animation

HAS_VIPS = find_spec("pyvips") is not None
MOST_CROPPED = 4 << 20
"""Pixels that the probe lets a picture be larger before it is cropped."""
Frame = tuple[Image.Image, float]
"""A picture and its duration in milliseconds."""
Decoded = tuple[Iterator[list[Frame]], int, bool]
"""The frames of each target, how often they are played, and whether there is a profile that cannot be used.

Nothing keeps the frames of one target when the next are taken."""


class PillowEngine:
    """The faster engine for JPEG: the decoder shrinks, SIMD resamples."""

    def render(self, path: str, plan: Plan) -> Rendering:
        return rendered(EngineName.PILLOW, _decode, path, plan)


def render_damaged(path: str, plan: Plan) -> Rendering:
    """The readable part of a damaged picture. Raises Corrupt if that is less than half of its rows."""
    if LOADERS[plan.info.format].salvage is None:
        raise Corrupt(f"{plan.info.format}: it is damaged, and only all of it could be shown")
    decode = partial(_decode, damaged=True)
    return rendered(EngineName.PILLOW, decode, path, plan, "not all of it can be decoded")


def rendered(
    name: EngineName, decode: Callable[[str, Plan], Decoded], path: str, plan: Plan, defect: str = ""
) -> Rendering:
    """The pictures of `decode`, encoded."""
    started = perf_counter()
    resized, plays, profile_ignored = decode(path, plan)
    decoded = perf_counter()
    finish = partial(_finish, path, plan, plays, not defect)
    pictures, placeholders = zip(*map(finish, plan.targets, resized), strict=True)
    seconds = decoded - started, perf_counter() - decoded
    return Rendering(name, pictures, defect, *seconds, placeholders if plan.thumbhash else (), profile_ignored)


def _finish(path: str, plan: Plan, plays: int, whole: bool, target: Target, frames: list[Frame]) -> tuple[bytes, str]:
    """A thumbnail, and its placeholder if the plan asks for one."""
    placeholder = _placeholder(frames[0][0]) if plan.thumbhash else ""
    return within_bytes(target, partial(_encode, frames, plays, plan.info), path, plan, whole), placeholder


def _decode(path: str, plan: Plan, damaged: bool = False) -> Decoded:
    """The decoded picture is freed before any thumbnail is encoded."""
    with open_picture(path, plan, damaged) as image:
        plays = LOADERS[plan.info.format].plays(image.info.get("loop"))
        profile_ignored = "icc_profile" in image.info and profile_of(image) is None
        frames = _readable_frames if damaged else all_frames
        return _popped(_resize(frames(image, plan), plan)), plays, profile_ignored


def _popped(resized: list[list[Frame]]) -> Iterator[list[Frame]]:
    while resized:
        yield resized.pop(0)


@contextmanager
def open_picture(path: str, plan: Plan, damaged: bool = False) -> Iterator[Image.Image]:
    """The file, opened as the format that was probed. Raises Corrupt for every error of a decoder."""
    loader, info = LOADERS[plan.info.format], plan.info
    opener = loader.open_damaged if damaged and loader.open_damaged else loader.open
    try:
        with opener(path, plan) as image:
            slack = MOST_CROPPED if info.details_of(HeifDetails).crop else 65_536
            refuse_other_size(image.size, info, 2 * info.pixels + slack)
            shrink = _decoder_shrink(plan)
            if info.details.profile:
                image.info["icc_profile"] = info.details.profile
            if shrink > 1:  # rounded down: Pillow takes the largest scale that leaves no side smaller than this
                image.draft(None, (image.width // shrink, image.height // shrink))
            yield image
    except Image.DecompressionBombError as error:
        raise Corrupt(f"Pillow refuses its size: {error}") from error
    except DECODER_ERRORS as error:
        raise Corrupt(f"Pillow cannot read it: {str(error)[:200]}") from error


def _decoder_shrink(plan: Plan) -> int:
    return decoder_shrink(EngineName.PILLOW, plan.info.format, plan.shrink)


def all_frames(image: Image.Image, plan: Plan) -> Iterator[Image.Image]:
    """Every frame of the plan, decoded. Raises Corrupt if there are fewer."""
    info, loader = plan.info, LOADERS[plan.info.format]
    if info.details_of(TiffDetails).missing_from is not None:
        raise Corrupt("not all of its bytes are there")
    number = 0
    for number, frame in enumerate(islice(loader.frames(image, plan), plan.frames), 1):  # noqa: B007
        frame.load()
        if loader.check is not None:
            loader.check(frame, info)
        yield frame
    if number < plan.frames:
        raise Corrupt(f"{number} of its {plan.frames} frames can be decoded")


def _readable_frames(image: Image.Image, plan: Plan) -> Iterator[Image.Image]:
    """The readable part of the first frame, and the whole frames after it."""
    salvage = LOADERS[plan.info.format].salvage
    yield image if salvage is None else salvage(image, plan.info)
    for number in range(1, plan.frames):
        try:
            image.seek(number)
            image.load()
        except DECODER_ERRORS:
            return
        yield image


def _resize(frames_in: Iterator[Image.Image], plan: Plan) -> list[list[Frame]]:
    """The frames of each target, all cropped at the corner of the first one."""
    resized: list[list[Frame]] = [[] for _ in plan.targets]
    corners: list[tuple[int, int]] = []
    visible = plan.info.details_of(HeifDetails).crop
    for number, frame in enumerate(frames_in):
        pixels = convert_for_resize(frame if visible is None else frame.crop(visible), plan.info.bit_depth)
        for index, target in enumerate(plan.targets):
            if number and not keeps_animation(plan.info, target):
                continue
            whole = _thumbnail(pixels, plan, target)
            if number == 0:
                corners.append(corner_of(whole, target))
            resized[index].append((cropped(whole, corners[index], target), frame.info.get("duration", 100)))
    return resized


def _thumbnail(image: Image.Image, plan: Plan, target: Target) -> Image.Image:
    """Resized, in sRGB and upright: colours and turns come after the resize, on fewer pixels."""
    orientation = LOADERS[plan.info.format].orientation(image, plan.info)
    width, height = reversed(target.scaled) if orientation >= 5 else target.scaled
    box = _decoded_box(image, plan)
    small = image.resize((width, height), Image.Resampling.LANCZOS, box, reducing_gap=REDUCING_GAP)
    return turn_upright(in_srgb(small, profile_of(image)), orientation)


def _decoded_box(image: Image.Image, plan: Plan) -> tuple[float, float, float, float]:
    """The part of the decoded pixels that is picture: a shrunken decode of 631 rows has 316, of which 315.5 are."""
    shrink = _decoder_shrink(plan)
    width, height = (plan.info.width / shrink, plan.info.height / shrink) if shrink > 1 else image.size
    return 0, 0, min(width, image.width), min(height, image.height)


def corner_of(image: Image.Image, target: Target) -> tuple[int, int]:
    return crop_corner(*image.size, target, lambda: on_white(image).tobytes())


def cropped(image: Image.Image, corner: tuple[int, int], target: Target) -> Image.Image:
    size = (target.width, target.height)
    return image if image.size == size else image.crop((*corner, corner[0] + size[0], corner[1] + size[1]))


def _placeholder(image: Image.Image) -> str:
    def resized(width: int, height: int) -> bytes:
        return on_white(image).resize((width, height), Image.Resampling.BOX).convert("RGBA").tobytes()

    return thumbhash(*image.size, resized)


def encoder_beside(vips: bool) -> Callable[[list[Frame], int, ImageInfo, Target], bytes]:
    """The encoder of formats that Pillow is not the best for."""
    if vips:
        from thumbnailer.engine.vips import encode_pixels

        return encode_pixels
    from thumbnailer.engine.pillow_alone import encode_alone

    return encode_alone


def _encode(frames: list[Frame], plays: int, info: ImageInfo, target: Target) -> bytes:
    frames[0][0].info.clear()  # nothing of the source's metadata but artist and copyright
    saver = saver_for(target)
    if saver is None:
        return encoder_beside(HAS_VIPS)(frames, plays, info, target)
    pictures = [saver.mode(frame) for frame, _ in frames]
    options = {"quality": target.quality, **saver.options(target)}
    credit = build_credit(info.credit)
    if credit:
        options["exif"] = credit
    if len(pictures) > 1:
        options |= {"save_all": True, "append_images": pictures[1:]}
        options["duration"] = [int(duration) for _, duration in frames]
        options["loop"] = min(plays, MOST_PLAYS)
    import_plugin(saver.name)
    out = BytesIO()
    pictures[0].save(out, saver.name, **options)
    return out.getvalue()
