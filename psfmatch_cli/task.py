"""Named tasks, their metadata and the timing of their methods.

A task has a name; the full name of a subtask is its parent's full name, a period and its own name. Each task
owns one `TaskMetadata`. In the metadata of a whole tree the periods of a full name become colons, so that
a subtask and an item of the same name cannot collide: ``psfMatch:selectDetection.nGrow``.
"""

from __future__ import annotations

import logging
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from datetime import UTC, datetime
from functools import wraps
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, Field
from pydantic.alias_generators import to_camel

from psfmatch_cli.errors import UsageError
from psfmatch_cli.metadata import TaskMetadata

Method = TypeVar("Method", bound=Callable[..., Any])

#: Version of the units of the timing items: 1 is bytes for memory.
UNITS_VERSION = 1


class Task:
    """A named step with a configuration, metadata and subtasks.

    Parameters
    ----------
    config : BaseModel or None
        Settings; None for the defaults of `ConfigClass`.
    name : str or None
        Name without a period; None for `default_name`.
    parent_task : Task or None
        The task that this one is a part of.
    record_host : bool or None
        Whether timing notes the name of this computer; None for as the parent does, or True.

    Raises
    ------
    UsageError
        If the name is empty, has a period or is taken in the tree, or the configuration is of another class.
    """

    ConfigClass: ClassVar[type[BaseModel] | None] = None
    default_name: ClassVar[str | None] = None

    def __init__(
        self,
        config: BaseModel | None = None,
        name: str | None = None,
        parent_task: Task | None = None,
        *,
        record_host: bool | None = None,
    ):
        self._name = _checked_name(name or self.default_name)
        self._full_name = f"{parent_task.get_full_name()}.{self._name}" if parent_task else self._name
        self.config = self._checked_config(config)
        self.metadata = TaskMetadata()
        self.log = logging.getLogger(f"psfmatch_cli.{self._full_name}")
        if record_host is None:
            record_host = parent_task.record_host if parent_task else True
        self.record_host = record_host
        self._tasks: dict[str, Task] = parent_task._tasks if parent_task else {}
        if self._full_name in self._tasks:
            raise UsageError(f"there is already a task {self._full_name!r}; subtasks need different names")
        self._tasks[self._full_name] = self

    def _checked_config(self, config: BaseModel | None) -> BaseModel | None:
        if config is None:
            return self.ConfigClass() if self.ConfigClass else None
        if self.ConfigClass and not isinstance(config, self.ConfigClass):
            raise UsageError(
                f"the configuration of task {self._full_name!r} must be a {self.ConfigClass.__name__}, "
                f"got a {type(config).__name__}"
            )
        return config

    def get_name(self) -> str:
        """Own name, without the parents'."""
        return self._name

    def get_full_name(self) -> str:
        """Names from the top-level task down to this one, separated by periods."""
        return self._full_name

    def get_task_dict(self) -> dict[str, Task]:
        """Full name -> task for the whole tree, in order of creation (parents first); a shallow copy."""
        return dict(self._tasks)

    def get_full_metadata(self) -> TaskMetadata:
        """Metadata of every task of the tree under its full name with ":" for "."; a deep copy."""
        full = TaskMetadata()
        for name, task in self._tasks.items():
            full[name.replace(".", ":")] = deepcopy(task.metadata)
        return full

    def empty_metadata(self) -> None:
        """Give every task of the tree new, empty metadata."""
        for task in self._tasks.values():
            task.metadata = TaskMetadata()

    @classmethod
    def make_field(cls, doc: str) -> Any:
        """Field of another task's configuration that makes this task its subtask.

        The field's value is this task's own configuration::

            class OtherConfig(BaseModel):
                detection: DetectionConfig = DetectionTask.make_field("find the sources")
        """
        return Field(default_factory=cls._checked_default, description=doc, json_schema_extra=_SubtaskMark(cls))

    @classmethod
    def _checked_default(cls) -> BaseModel:
        if cls.ConfigClass is None:
            raise UsageError(f"task {cls.__name__} has no ConfigClass, so it cannot be a field of a configuration")
        return cls.ConfigClass()

    def make_subtask(self, name: str, **key_args: Any) -> None:
        """Create a subtask as the attribute `name`.

        Parameters
        ----------
        name : str
            A field of this task's configuration, made by `make_field` of the subtask's class.
        **key_args
            Further arguments of the subtask; "config" and "parent_task" are given already.

        Raises
        ------
        UsageError
            If the configuration has no such field, or `key_args` has one of the two given arguments.
        """
        taken = {"config", "parent_task"} & set(key_args)
        if taken:
            raise UsageError(f"make_subtask sets {' and '.join(sorted(taken))} itself; leave it out")
        fields = type(self.config).model_fields if self.config else {}
        mark = fields[name].json_schema_extra if name in fields else None
        if not isinstance(mark, _SubtaskMark):
            raise UsageError(f"the configuration of task {self._full_name!r} has no subtask field {name!r}")
        subtask = mark.task_class(config=getattr(self.config, name), name=name, parent_task=self, **key_args)
        setattr(self, name, subtask)

    @contextmanager
    def timer(self, name: str, log_level: int = logging.DEBUG) -> Iterator[None]:
        """Record the resource usage before and after a block, also after an exception.

        Parameters
        ----------
        name : str
            Items are appended as `name` + "Start" or "End" + quantity.
        log_level : int
            Level of the log lines, to the logger "timer." + this task's logger.
        """
        self._record_usage(f"{name}Start", log_level)
        try:
            yield
        finally:
            self._record_usage(f"{name}End", log_level)

    def _record_usage(self, prefix: str, log_level: int) -> None:
        usage = resource_usage()
        self.metadata.add(f"{prefix}Utc", datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds"))
        for suffix, value in usage.items():
            self.metadata.add(prefix + suffix, value)
        self.metadata["__version__"] = UNITS_VERSION
        if self.record_host:
            self.metadata["nodeName"] = platform.node()
        pairs = "; ".join(f"{prefix}{suffix}={value}" for suffix, value in usage.items())
        logging.getLogger(f"timer.{self.log.name}").log(log_level, "%s", pairs)


def timed(method: Method) -> Method:
    """Time every call of a task's method, under its name in camel case (match_exposures -> matchExposures)."""
    bare = method.__name__.lstrip("_")
    item = "_" * (len(method.__name__) - len(bare)) + to_camel(bare)

    @wraps(method)
    def wrapper(self: Task, *args, **kwargs):
        with self.timer(item):
            return method(self, *args, **kwargs)

    return wrapper  # type: ignore[return-value]


def resource_usage() -> dict[str, float | int]:
    """What this process used so far, without its children: seconds, bytes and counts by item suffix."""
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    bytes_per_unit = 1 if sys.platform == "darwin" else 1024
    return {
        "CpuTime": time.process_time(),
        "UserTime": usage.ru_utime,
        "SystemTime": usage.ru_stime,
        "MaxResidentSetSize": usage.ru_maxrss * bytes_per_unit,
        "MinorPageFaults": usage.ru_minflt,
        "MajorPageFaults": usage.ru_majflt,
        "BlockInputs": usage.ru_inblock,
        "BlockOutputs": usage.ru_oublock,
        "VoluntaryContextSwitches": usage.ru_nvcsw,
        "InvoluntaryContextSwitches": usage.ru_nivcsw,
    }


class _SubtaskMark:
    """Tells `Task.make_subtask` the class behind a configuration field; adds nothing to the field's schema."""

    def __init__(self, task_class: type[Task]):
        self.task_class = task_class

    def __call__(self, schema: dict[str, Any]) -> None:
        return None


def _checked_name(name: str | None) -> str:
    if not name or "." in name:
        raise UsageError(f"a task needs a name without a period, got {name!r}")
    return name
