"""`dataclass` for frozen values with slots, made in a quarter of the library's time: a cold start makes forty classes.

The library compiles nine methods of each class, this module only `__init__` (docs/why.md).
"""

import dataclasses
from dataclasses import MISSING, FrozenInstanceError, field, fields, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass", "field", "fields", "replace"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(*, frozen: bool, slots: bool):  # noqa: ARG001
        """`dataclasses.dataclass(frozen=True, slots=True)`, for whatever arguments."""
        return _make


def _make(cls: Any) -> Any:
    cls.__doc__ = cls.__doc__ or cls.__name__  # the library would write a signature
    made: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True)(cls)
    known: dict[str, Any] = {f"_{each.name}": each.default for each in fields(made)} | {"_set": object.__setattr__}
    names = (each.name if each.default is MISSING else f"{each.name}=_{each.name}" for each in fields(made))
    body = "; ".join(f"_set(self, {each.name!r}, {each.name})" for each in fields(made))
    exec(f"def __init__(self, {', '.join(names)}): {body}", known)  # noqa: S102  # nosec B102  # names of our own fields
    made.__init__, made.__repr__ = known["__init__"], _repr
    values = attrgetter(*made.__match_args__ or ("__class__",))
    made.__eq__ = lambda one, other: one.__class__ is other.__class__ and values(one) == values(other)
    made.__hash__ = lambda value: hash(values(value))
    made.__reduce__ = lambda value: (value.__class__, _values(value))
    made.__setattr__ = made.__delattr__ = _refuse
    return made


def _values(value: Any) -> tuple[Any, ...]:
    return tuple(getattr(value, name) for name in value.__match_args__)


def _repr(value: Any) -> str:
    shown = (f"{each.name}={getattr(value, each.name)!r}" for each in fields(value) if each.repr)
    return f"{value.__class__.__qualname__}({', '.join(shown)})"


def _refuse(_: Any, name: str, *__: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")
