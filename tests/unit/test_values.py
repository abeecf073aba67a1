"""`thumbnailer.values.dataclass` agrees with the library's frozen dataclasses."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from thumbnailer.values import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int = 2
    note: str = dataclasses.field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Dot(Point):
    """A point with a colour."""

    colour: str = "red"


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    x: int
    y: int = 2
    note: str = dataclasses.field(default="", repr=False)


def test_values_are_equal_by_class_and_fields() -> None:
    assert Point(1) == Point(1, 2) != Point(1, 3)
    assert len({Point(1), Point(1, y=2), Dot(1)}) == 2
    assert Dot(1, colour="red") == Dot(1)
    assert Point(1) != Dot(1)
    other: object = (1, 2, "")
    assert Point(1) != other


def test_text_fields_and_patterns_are_those_of_the_library() -> None:
    assert repr(Point(1, note="secret")) == repr(Known(1)).replace("Known", "Point")
    assert dataclasses.astuple(Dot(1)) == (1, 2, "", "red")
    assert dataclasses.replace(Dot(1), y=5) == Dot(1, 5)
    assert Dot.__match_args__ == ("x", "y", "note", "colour")
    assert (Point.__slots__, Dot.__doc__) == (Known.__slots__, "A point with a colour.")


def test_values_cannot_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'x'"):
        Point(1).x = 2  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        del Point(1).x
    with pytest.raises(TypeError):
        Point()  # type: ignore[call-arg]


def test_values_survive_copies_and_pickles() -> None:
    dot = Dot(1, note="kept")
    assert copy.deepcopy(dot) == pickle.loads(pickle.dumps(dot)) == dot
    assert pickle.loads(pickle.dumps(dot)).note == "kept"


def test_a_class_that_can_change_is_refused() -> None:
    with pytest.raises(TypeError):
        dataclass(slots=True)(Known)
