"""What a task tells about its run: a container of scalars, lists and further containers.

Every name is in exactly one of the three parts. A path of names separated by "." leads through nested
containers. Values are str, int, float and bool; NaN and infinities are allowed, in JSON they are null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from psfmatch_cli.strict_json import to_json

Scalar = str | int | float | bool

_PARTS = ("scalars", "arrays", "metadata")


class TaskMetadata:
    """Container of named scalars, lists of one type, and containers.

    Attributes
    ----------
    scalars : dict of str to str, int, float or bool
    arrays : dict of str to list
        All elements of a list have one type.
    metadata : dict of str to TaskMetadata
    """

    def __init__(self, items: Mapping[str, Any] | None = None):
        self.scalars: dict[str, Scalar] = {}
        self.arrays: dict[str, list[Scalar]] = {}
        self.metadata: dict[str, TaskMetadata] = {}
        for path, value in (items or {}).items():
            self[path] = value

    def __setitem__(self, path: str, value: Any) -> None:
        """Set an item; its type decides the part. Containers on the path are made if they are missing.

        Raises
        ------
        TypeError
            If the value, or an element of it, has no allowed type, or the elements' types differ.
        KeyError
            If a name on the path is empty.
        """
        name, _, rest = _checked_path(path).partition(".")
        if rest:
            child = self.metadata.get(name)
            if child is None:
                child = TaskMetadata()
            child[rest] = value
            self._store("metadata", name, child)
        elif isinstance(value, TaskMetadata):
            self._store("metadata", name, value)
        elif isinstance(value, Mapping):
            self._store("metadata", name, TaskMetadata(value))
        else:
            value = _plain(value, path)
            self._store("arrays" if isinstance(value, list) else "scalars", name, value)

    def _store(self, part: str, name: str, value: Any) -> None:
        for other in _PARTS:
            if other != part:
                getattr(self, other).pop(name, None)
        getattr(self, part)[name] = value

    def __getitem__(self, path: str) -> Scalar | TaskMetadata:
        """A scalar, the last element of a list, or a container.

        Raises
        ------
        KeyError
            If there is no such item, or it is an empty list.
        """
        value = self._find(path)
        if not isinstance(value, list):
            return value
        if not value:
            raise KeyError(f"{path} is an empty list")
        return value[-1]

    def get(self, path: str, default: Any = None) -> Any:
        """What indexing returns, or the default where that is an error."""
        try:
            return self[path]
        except KeyError:
            return default

    def get_array(self, path: str) -> list[Scalar]:
        """A list (a copy), or a scalar as a list of one element.

        Raises
        ------
        KeyError
            If there is no such item, or it is a container.
        """
        value = self._find(path)
        if isinstance(value, TaskMetadata):
            raise KeyError(f"{path} is a container, not a list")
        return list(value) if isinstance(value, list) else [value]

    def add(self, path: str, value: Any) -> None:
        """Append a value, or all of a list of values, to the list of this name.

        The list is made if it is missing; a scalar of this name becomes its first element.

        Raises
        ------
        TypeError
            If the type differs from that of the elements present.
        KeyError
            If the name is a container, or a container on the path is missing.
        """
        parent, _, name = _checked_path(path).rpartition(".")
        owner = self._find(parent) if parent else self
        if not isinstance(owner, TaskMetadata) or name in owner.metadata:
            raise KeyError(f"{path}: items are added to lists inside containers")
        value = _plain(value, path)
        present = owner.get_array(name) if name in owner else []
        owner[name] = present + (value if isinstance(value, list) else [value])

    def _find(self, path: str) -> Any:
        name, _, rest = path.partition(".")
        if rest:
            if name not in self.metadata:
                raise KeyError(f"there is no container {name!r} for {path!r}")
            return self.metadata[name]._find(rest)
        for part in _PARTS:
            if name in getattr(self, part):
                return getattr(self, part)[name]
        raise KeyError(f"there is no item {path!r}")

    def __delitem__(self, path: str) -> None:
        parent, _, name = path.rpartition(".")
        owner = self._find(parent) if parent else self
        for part in _PARTS:
            if isinstance(owner, TaskMetadata) and name in getattr(owner, part):
                del getattr(owner, part)[name]
                return
        raise KeyError(f"there is no item {path!r}")

    def __contains__(self, path: object) -> bool:
        try:
            self._find(str(path))
        except KeyError:
            return False
        return True

    def __iter__(self) -> Iterator[str]:
        for part in _PARTS:
            yield from getattr(self, part)

    def __len__(self) -> int:
        return sum(len(getattr(self, part)) for part in _PARTS)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskMetadata) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]  # it is mutable

    def __repr__(self) -> str:
        return f"TaskMetadata.from_dict({self.to_dict()!r})"

    def flat(self) -> dict[str, Scalar | list[Scalar]]:
        """Path -> scalar or list, for all items here and in the containers below."""
        own = {**self.scalars, **{name: list(values) for name, values in self.arrays.items()}}
        for name, child in self.metadata.items():
            own.update({f"{name}.{path}": value for path, value in child.flat().items()})
        return own

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Plain dictionary with the keys "scalars", "arrays" and "metadata"."""
        return {
            "scalars": dict(self.scalars),
            "arrays": {name: list(values) for name, values in self.arrays.items()},
            "metadata": {name: child.to_dict() for name, child in self.metadata.items()},
        }

    @classmethod
    def from_dict(cls, parts: Mapping[str, Mapping[str, Any]]) -> TaskMetadata:
        """Container from what `to_dict` returns; None stands for NaN.

        Raises
        ------
        ValueError
            If there is another key than the three, or a name is in more than one part.
        TypeError
            If a value has no allowed type.
        """
        unknown = set(parts) - set(_PARTS)
        names = [name for part in parts.values() for name in part]
        if unknown or len(names) != len(set(names)):
            raise ValueError(f"metadata has the parts {', '.join(_PARTS)} with different names, got {sorted(parts)}")
        made = cls()
        for name, value in parts.get("scalars", {}).items():
            made.scalars[name] = _scalar(math.nan if value is None else value, name)
        for name, values in parts.get("arrays", {}).items():
            made.arrays[name] = _plain([math.nan if value is None else value for value in values], name)
        for name, child in parts.get("metadata", {}).items():
            made.metadata[name] = cls.from_dict(child)
        return made

    def to_json(self) -> str:
        """JSON text, with null for floats that are not finite."""
        return to_json(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> TaskMetadata:
        """Container from the text that `to_json` returns; null stands for NaN."""
        return cls.from_dict(json.loads(text))


def _checked_path(path: str) -> str:
    if not all(path.split(".")):
        raise KeyError(f"every name on the path {path!r} needs at least one character")
    return path


def _plain(value: Any, path: str) -> Scalar | list[Scalar]:
    """The value in Python's own types: a scalar, or a list of scalars of one type."""
    if hasattr(value, "tolist"):  # numpy numbers and arrays
        value = value.tolist()
    if not isinstance(value, list | tuple):
        return _scalar(value, path)
    plain = [_scalar(element, path) for element in value]
    kinds = {type(element) for element in plain}
    if len(kinds) > 1:
        raise TypeError(f"{path}: a list holds one type, got {', '.join(sorted(k.__name__ for k in kinds))}")
    return plain


def _scalar(value: Any, path: str) -> Scalar:
    if hasattr(value, "tolist"):
        value = value.tolist()
    for kind in (bool, int, float, str):  # bool before int, of which it is a subclass
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"{path}: metadata holds str, int, float and bool, got {type(value).__name__}")
