"""Names, trees, metadata and timing of tasks."""

import logging
import platform
import re

import pytest
from pydantic import BaseModel

from psfmatch_cli.errors import UsageError
from psfmatch_cli.task import Task, TaskMetadata, timed

SUFFIXES = [
    "Utc",
    "CpuTime",
    "UserTime",
    "SystemTime",
    "MaxResidentSetSize",
    "MinorPageFaults",
    "MajorPageFaults",
    "BlockInputs",
    "BlockOutputs",
    "VoluntaryContextSwitches",
    "InvoluntaryContextSwitches",
]


class InnerConfig(BaseModel):
    depth: int = 3


class InnerTask(Task):
    ConfigClass = InnerConfig
    default_name = "inner"


class OuterConfig(BaseModel):
    inner: InnerConfig = InnerTask.make_field("the inner step")
    plain: int = 1


class OuterTask(Task):
    ConfigClass = OuterConfig
    default_name = "outer"

    @timed
    def match_exposures(self, value):
        """Docs."""
        return self._solve(value)

    @timed
    def _solve(self, value):
        if value < 0:
            raise ValueError("negative")
        return 2 * value


def test_names_of_a_tree():
    top = Task(name="top")
    sub = Task(name="sub", parent_task=top)
    sub2 = Task(name="sub2", parent_task=sub)
    assert [task.get_full_name() for task in (top, sub, sub2)] == ["top", "top.sub", "top.sub.sub2"]
    assert sub2.get_name() == "sub2"
    assert list(sub.get_task_dict().items()) == [("top", top), ("top.sub", sub), ("top.sub.sub2", sub2)]


def test_the_task_dictionary_is_a_copy():
    top = Task(name="top")
    top.get_task_dict().clear()
    assert list(top.get_task_dict()) == ["top"]


@pytest.mark.parametrize("name", [None, "", "a.b"])
def test_a_bad_name_is_refused(name):
    with pytest.raises(UsageError, match="without a period"):
        Task(name=name)


def test_a_name_that_is_taken_is_refused():
    top = Task(name="top")
    Task(name="sub", parent_task=top)
    with pytest.raises(UsageError, match=r"already a task 'top\.sub'"):
        Task(name="sub", parent_task=top)


def test_full_metadata_has_colons_between_tasks_and_is_a_copy():
    top = Task(name="psfMatch")
    sub = Task(name="selectDetection", parent_task=top)
    top.metadata["selectDetection"] = 1
    sub.metadata["nGrow"] = 4
    full = top.get_full_metadata()
    assert full.flat() == {"psfMatch.selectDetection": 1, "psfMatch:selectDetection.nGrow": 4}
    full["psfMatch:selectDetection.nGrow"] = 5
    assert sub.metadata["nGrow"] == 4


def test_emptying_reaches_every_task_and_spares_what_was_handed_out():
    top = Task(name="top")
    sub = Task(name="sub", parent_task=top)
    sub.metadata["n"] = 1
    before = sub.metadata
    sub.empty_metadata()
    assert top.get_full_metadata() == TaskMetadata({"top": {}, "top:sub": {}})
    assert before["n"] == 1


def test_a_subtask_is_made_from_its_field_with_its_own_configuration():
    task = OuterTask(OuterConfig(inner=InnerConfig(depth=7)))
    task.make_subtask("inner", record_host=False)
    assert isinstance(task.inner, InnerTask)
    assert (task.inner.config.depth, task.inner.get_full_name()) == (7, "outer.inner")
    assert OuterConfig().inner == InnerConfig()
    assert OuterConfig.model_json_schema()["properties"]["inner"]["description"] == "the inner step"


def test_subtasks_that_cannot_be_made():
    task = OuterTask()
    with pytest.raises(UsageError, match="no subtask field 'plain'"):
        task.make_subtask("plain")
    with pytest.raises(UsageError, match="no subtask field 'missing'"):
        task.make_subtask("missing")
    with pytest.raises(UsageError, match="config and parent_task"):
        task.make_subtask("inner", config=InnerConfig(), parent_task=task)
    with pytest.raises(UsageError, match="no subtask field 'x'"):
        Task(name="bare").make_subtask("x")


def test_a_configuration_of_another_class_is_refused():
    with pytest.raises(UsageError, match="must be a OuterConfig, got a InnerConfig"):
        OuterTask(InnerConfig())


def test_a_task_without_configuration_is_no_field():
    class Model(BaseModel):
        field: int = Task.make_field("nothing")

    with pytest.raises(UsageError, match="no ConfigClass"):
        Model()


def test_timed_methods_are_named_in_camel_case_and_keep_their_underscore():
    task = OuterTask()
    assert task.match_exposures(3) == 6
    assert task.match_exposures.__doc__ == "Docs."
    expected = {
        f"{name}{end}{suffix}"
        for name in ("matchExposures", "_solve")
        for end in ("Start", "End")
        for suffix in SUFFIXES
    }
    assert set(task.metadata.arrays) == expected
    assert task.metadata.scalars == {"__version__": 1, "nodeName": platform.node()}


def test_every_call_is_appended_also_one_that_fails():
    task = OuterTask()
    task.match_exposures(1)
    with pytest.raises(ValueError, match="negative"):
        task.match_exposures(-1)
    assert {len(values) for values in task.metadata.arrays.values()} == {2}


def test_timing_items_have_plausible_values_in_their_units():
    task = Task(name="top")
    with task.timer("block"):
        sum(range(10000))
    get = task.metadata.__getitem__
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", get("blockStartUtc"))
    assert get("blockEndCpuTime") >= get("blockStartCpuTime") > 0
    # Bytes: a Python process is larger than 1 MiB, and than 1 GiB only if the unit were wrong.
    assert 2**20 < get("blockEndMaxResidentSetSize") < 2**33
    kinds = {suffix: type(get(f"blockEnd{suffix}")) for suffix in SUFFIXES}
    assert {suffix for suffix, kind in kinds.items() if kind is float} == {"CpuTime", "UserTime", "SystemTime"}
    assert {suffix for suffix, kind in kinds.items() if kind is str} == {"Utc"}


def test_the_host_is_left_out_for_the_whole_tree_on_request():
    top = Task(name="top", record_host=False)
    sub = Task(name="sub", parent_task=top)
    with top.timer("a"), sub.timer("b"):
        pass
    assert "nodeName" not in top.metadata
    assert "nodeName" not in sub.metadata


def test_timer_logs_the_pairs_without_utc(caplog):
    task = Task(name="top")
    with caplog.at_level(logging.DEBUG), task.timer("block"):
        pass
    assert [record.name for record in caplog.records] == ["timer.psfmatch_cli.top"] * 2
    assert "blockEndCpuTime=" in caplog.messages[1]
    assert "Utc" not in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO), task.timer("block", logging.INFO):
        pass
    assert len(caplog.records) == 2
