"""One small generic registry: names to objects, duplicates refused, unknown names answered with close ones."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from ssl_pdr.errors import ConfigError, unknown_name

T = TypeVar("T")


class Registry(Generic[T]):
    """Objects of one kind by name, in the order of registration.

    Other packages add theirs through the entry-point group `ssl_pdr.<kind>s`: the entry point is loaded (which
    registers it) the first time that a name is looked up or listed.

    Args:
        kind: what is registered, in the singular, as error messages name it.

    Example:
        >>> colours = Registry("colour")
        >>> colours.register("red", 0xFF0000)
        >>> colours.get("red") == 0xFF0000
        True
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._objects: dict[str, T] = {}
        self._plugins_loaded = False

    def register(self, name: str, item: T) -> None:
        """Add `item` under `name`; a `ConfigError` if the name is taken."""
        if name in self._objects:
            raise ConfigError(f"{self.kind} {name!r} is registered already; choose another name or unregister it first")
        self._objects[name] = item

    def unregister(self, name: str) -> None:
        """Remove `name`, so that a notebook cell or a test can register it anew."""
        self.get(name)
        del self._objects[name]

    def get(self, name: str) -> T:
        """The object called `name`; an `UnknownNameError` with close matches if there is none."""
        self._load_plugins()
        if name not in self._objects:
            raise unknown_name(self.kind, name, self._objects)
        return self._objects[name]

    def __iter__(self) -> Iterator[str]:
        self._load_plugins()
        return iter(sorted(self._objects))

    def __contains__(self, name: object) -> bool:
        self._load_plugins()
        return name in self._objects

    def _load_plugins(self) -> None:
        if not self._plugins_loaded:
            self._plugins_loaded = True
            for entry in entry_points(group=f"ssl_pdr.{self.kind}s"):
                entry.load()
