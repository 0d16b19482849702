"""What is a setting, and how does a field of a dataclass become one?

A table of settings is a frozen dataclass: each field is declared with :func:`setting`, which gives it its
default and everything else that is known of it. :func:`rows_of` makes the rows of such a class. Everything
that lists settings (the command line, the ini options, the marker, the arguments of a call, the schema of
suites, the documentation) is made from the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from pytest_llmbench.errors import UsageError, saying_where

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

IniType = Literal["string", "args", "linelist"]
PathKind = Literal["", "file", "program"]
Schema = Mapping[str, Any]
"""A JSON Schema."""
Values = Mapping[str, Any]
"""Values of settings by the names of their fields, each of its field's type."""

Role = Literal["cases", "test", "work", "repeats", "session"]
"""What a setting is about.

``cases``
    Which cases a test stands for.
``test``
    What holds for a whole test, so that no call can change it.
``work``
    What is measured.
``repeats``
    How often and for how long it is measured.
``session``
    The whole session.
"""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Reader(Generic[T_co]):
    """Reads a value as a marker, an ini file, a suite or the command line gives it: typed, or as a text."""

    read: Callable[[object], T_co]
    """Raises ValueError, TypeError or OverflowError for anything else, or a UsageError that says more."""
    takes: str
    """What it takes, in the words of a message: ``a whole number of at least 1``."""
    schema: Callable[[], Schema]
    """What it takes where values have types, as in YAML."""

    def __call__(self, value: object) -> T_co:
        return self.read(value)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Setting:
    """One row: ``key`` is the field, and of a case's setting the marker key too; ``flag`` is the option."""

    key: str
    default: object
    read_value: Reader[object]
    flag: str
    """Empty: it is a marker key only."""
    help: str
    metavar: str = "N"
    many: bool = False
    """Whether the option can be given several times."""
    switch: bool = False
    """Whether the option takes no value."""
    ini_type: IniType | None = "string"
    """As pytest names the types of ini options; None where there is no ini option."""
    path: PathKind = ""
    """Whether it is the path of a file or folder, or a program; see :mod:`pytest_llmbench.models.paths`."""
    role: Role = "work"
    only: tuple[str, ...] = ()
    """The kinds of cases (:data:`pytest_llmbench.settings.kinds.KINDS`) for which it does anything; empty is
    all."""
    also: tuple[str, ...] = ()
    """What other tools call it, as an option without its dashes: known in messages, not taken."""
    instead_of: str = ""
    """The setting that does nothing beside it. A preset does not say it to whoever says that one."""
    short: tuple[str, ...] = ()
    """What a suite without a version may call it."""
    alone: str = ""
    """What the option says without a value; empty where it needs one."""

    @property
    def name(self) -> str:
        """The ini option, and what pytest's ``config.option`` calls the one of the command line."""
        return f"llm_{self.key}"

    def read(self, value: object, where: str) -> Any:
        """The parsed value.

        :raises UsageError: saying where it stands and what it must be.
        """
        # A marker's empty list or table takes back what stands elsewhere, if none is what holds by default.
        if says_nothing(value) and (isinstance(value, str) or value or not self.none_by_default):
            msg = f"{where} is empty: give {self.read_value.takes}, or leave it out"
            raise UsageError(msg)
        try:
            with saying_where(where):
                return self.read_value(value)
        except (ValueError, TypeError, OverflowError):
            msg = f"{where}: {value!r} is not {self.read_value.takes}"
            raise UsageError(msg) from None

    @property
    def default_text(self) -> str:
        """What holds where nothing is said, as a person would write it; empty where the help says it."""
        if self.none_by_default:
            return "none"
        if self.default is None or self.switch:
            return ""
        if isinstance(self.default, tuple):
            return ", ".join(map(str, self.default))
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)

    @property
    def none_by_default(self) -> bool:
        """Whether it is a list or a table that is empty where nothing is said."""
        return hasattr(self.default, "__len__") and not isinstance(self.default, str) and not self.default


_ROW = "pytest_llmbench"


def setting(
    default: T,
    reader: Reader[T],
    flag: str,
    help: str,  # noqa: A002  # argparse's word
    *,
    role: Role,
    metavar: str = "N",
    many: bool = False,
    switch: bool = False,
    ini_type: IniType | None = "string",
    path: PathKind = "",
    only: tuple[str, ...] = (),
    also: tuple[str, ...] = (),
    instead_of: str = "",
    short: tuple[str, ...] = (),
    alone: str = "",
) -> T:
    """Declare a field as a setting; see :class:`Setting`. Default, reader and field are of one type."""
    row = Setting(
        *(
            "",
            default,
            reader,
            flag,
            help,
            metavar,
            many,
            switch,
            ini_type,
            path,
            role,
            only,
            also,
            instead_of,
            short,
            alone,
        )
    )
    if type(default).__hash__ is None:  # which a dataclass does not take as a default
        return field(default_factory=lambda: default, metadata={_ROW: row})
    return field(default=default, metadata={_ROW: row})


def rows_of(table: type[DataclassInstance]) -> dict[str, Setting]:
    """The rows of a dataclass whose fields are settings, by their keys and in their order."""
    return {one.name: replace(one.metadata[_ROW], key=one.name) for one in fields(table)}


def says_nothing(value: object) -> bool:
    """Whether a text, a list or a table is there, and is empty, or has an empty part."""
    if isinstance(value, str):
        return not value.strip(", \t\r\n")
    if isinstance(value, Mapping):
        return not value
    return isinstance(value, Collection) and (not len(value) or any(map(says_nothing, value)))
