"""What do devices have, and what do they cost?

The rows stand in ``hardware.yaml``, each figure with its source and date; a file of the user's replaces whole
labels. What a row does not say is not known: None, and never 0.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pytest_llmbench.errors import UsageError, one_line
from pytest_llmbench.results.records import Market

_MOST_BYTES = 2**20
_GIB = 2**30
OLD = 90
"""Days from which on a price is called old."""
_Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
_Text = Annotated[str, Field(min_length=1, max_length=300)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Price(_Row):
    """One price, as somebody lists it."""

    provider: _Text
    region: _Text | None = None
    instance: _Text | None = None
    devices: Annotated[int, Field(ge=1, le=1024)] = 1
    """That the price is for, together."""
    market: Market = "on_demand"
    usd_per_hour: _Positive
    date: datetime.date
    source: _Text

    @property
    def each(self) -> float:
        """US dollars an hour for one device."""
        return self.usd_per_hour / self.devices

    def days_old(self, today: datetime.date) -> int:
        """Days since it was listed so."""
        return (today - self.date).days


class Device(_Row):
    """One kind of devices."""

    products: tuple[_Text, ...] = ()
    """What drivers call it."""
    memory: _Positive | None = None
    """GiB."""
    power: _Positive | None = None
    """W."""
    source: _Text | None = None
    date: datetime.date
    prices: Annotated[tuple[Price, ...], Field(max_length=1000)] = ()


class _File(_Row):
    hardware: Annotated[dict[_Text, Device], Field(max_length=1000)]


@dataclass(frozen=True, slots=True)
class Devices:
    """What is known of all kinds of hardware."""

    rows: Mapping[str, Device]
    names: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Labels by what drivers, and people who write in small letters, call them."""

    @classmethod
    def of(cls, rows: Mapping[str, Device]) -> Devices:
        """The table of *rows*, by label."""
        names = {product.casefold(): label for label, row in rows.items() for product in row.products}
        return cls(rows, names | {label.casefold(): label for label in rows})

    def label(self, name: str) -> str | None:
        """The label of a product, or of a label written in another way; None if there is no row."""
        return self.names.get(name.casefold())

    def find(self, name: str) -> Device | None:
        """The row of a label or a product."""
        label = self.label(name)
        return None if label is None else self.rows[label]

    def memory(self, name: str, count: int) -> int | None:
        """Bytes that so many devices have together."""
        row = self.find(name)
        return None if row is None or row.memory is None else int(row.memory * _GIB) * count

    def price(self, name: str, market: Market = "on_demand") -> Price | None:
        """The lowest price of a device; a price of the other market is none."""
        row = self.find(name)
        prices = () if row is None else [one for one in row.prices if one.market == market]
        return min(prices, key=lambda one: one.each, default=None)

    def usd_per_hour(self, name: str, count: int, market: Market = "on_demand") -> float | None:
        """US dollars an hour for so many devices; None where no price is known."""
        price = self.price(name, market)
        return None if price is None else price.each * count


def read_devices(path: Path | None = None) -> Devices:
    """The table that comes with the package, with the labels of a file in place of its own.

    :raises UsageError: in one line, for a file that cannot be read or is not valid.
    """
    shipped = _shipped()
    if path is None:
        return shipped
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        msg = f"{path}: the file cannot be read: {error.strerror or error}"
        raise UsageError(msg) from None
    if len(content) > _MOST_BYTES:
        msg = f"{path}: the file is larger than {_MOST_BYTES >> 20} MiB"
        raise UsageError(msg)
    return Devices.of({**shipped.rows, **_read(content, str(path))})


@cache
def _shipped() -> Devices:
    content = resources.files("pytest_llmbench.catalog").joinpath("hardware.yaml").read_bytes()
    return Devices.of(_read(content, "hardware.yaml"))


def _read(content: bytes, where: str) -> dict[str, Device]:
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        # Aliases make a large thing of a small file.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(content, Loader=loader)):
            msg = f"{where}: anchors and aliases of YAML are not read: write it out"
            raise UsageError(msg)
        return _File.model_validate(yaml.load(content, Loader=loader)).hardware
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError) as error:
        msg = f"{where}: this is not valid YAML: {one_line(str(error), 200)}"
        raise UsageError(msg) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        msg = f"{where}: {place}: {one_line(first['msg'], 200)}"
        raise UsageError(msg) from None
