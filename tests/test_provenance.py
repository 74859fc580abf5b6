"""The record of a run."""

import hashlib
import json

import numpy as np
import pytest

from psfmatch_cli.errors import NoCandidatesError
from psfmatch_cli.exposure import Exposure, MaskedImage, NoiseModel
from psfmatch_cli.facts import Fact, FileFacts
from psfmatch_cli.metadata import TaskMetadata
from psfmatch_cli.provenance import RunRecord, describe_file, failure, is_failed_record, without_none
from psfmatch_cli.settings import Settings, load_settings, load_with_sources, settings_from


@pytest.fixture
def record():
    made = RunRecord("match", ["match", "a.fits"])
    yield made
    made.close()


def test_the_document_has_the_tasks_and_the_run(record, tmp_path):
    path = tmp_path / "a.fits"
    path.write_bytes(b"content")
    record.add_input("template", path)
    exposure = Exposure(
        MaskedImage.from_arrays(np.ones((2, 2))), noise=NoiseModel("gain", 1.5, sources={"gain": "GAIN"})
    )
    record.add_noise("template", exposure)
    record.settings = Settings()
    record.warnings.append("careful")
    record.tasks = TaskMetadata({"psfMatch": {"nGood": 7}, "psfMatch:background": {}})
    record.summary = {"kernel_sum": 1.25, "fwhm": None}
    document = TaskMetadata.from_json(record.document({"status": "ok", "exitCode": 0}).to_json())
    assert document.scalars == {"__format__": "psfmatch-metadata", "__formatVersion__": 1}
    assert document["psfMatch.nGood"] == 7
    assert list(document.metadata) == ["psfMatch", "psfMatch:background", "run"]
    run = document["run"]
    assert (run["status"], run["exitCode"], run["command"]) == ("ok", 0, "match")
    assert run.get_array("arguments") == ["match", "a.fits"]
    assert run.get_array("warnings") == ["careful"]
    assert run["inputs.template"].scalars == {
        "path": str(path),
        "bytes": 7,
        "sha256": hashlib.sha256(b"content").hexdigest(),
    }
    assert run["noise.template"].flat() == {"origin": "gain", "gain": 1.5, "sources.gain": "GAIN"}
    assert run["summary"].scalars == {"kernel_sum": 1.25}
    assert run["wallSeconds"] >= 0
    assert {"python", "psfmatch", "numpy", "scipy", "astropy", "sep"} <= set(run["versions"])


def test_the_record_tells_how_a_file_was_understood(record, tmp_path):
    mask = tmp_path / "m.fits"
    mask.write_bytes(b"flags")
    facts = FileFacts(
        "ztf", {"mask": "HDU 0 of m.fits"}, {"gain": Fact(2.0, "header GAIN", "e-/count")}, {"mask": mask}
    )
    record.add_reading("science", Exposure(MaskedImage.from_arrays(np.ones((2, 2))), facts=facts))
    run = TaskMetadata.from_json(record.document({"status": "ok"}).to_json())["run"]
    assert run["reading.science"].flat() == {
        "layout": "ztf",
        "planes.mask": "HDU 0 of m.fits",
        "quantities.gain.value": 2.0,
        "quantities.gain.source": "header GAIN",
        "quantities.gain.unit": "e-/count",
    }
    assert run["inputs.science_mask.bytes"] == 5
    assert run["noise.science.origin"] == "none"


def test_the_settings_of_a_record_repeat_the_run(record):
    given = load_settings(overrides={"kernel.spatial_kernel_order": 1, "detection.stats_mask": ["SAT"]}, preset="head")
    record.settings = given
    stored = record.document({"status": "ok"})["run.settings"]
    assert settings_from(stored.flat()) == given


def test_the_record_tells_where_each_setting_came_from(record):
    loaded = load_with_sources(assignments=["kernel.spatial_kernel_order=1"])
    record.settings, record.setting_sources = loaded.settings, loaded.sources
    stored = record.document({"status": "ok"})["run.settingSources"]
    assert stored["kernel.spatial_kernel_order"] == "option -c"
    assert stored.flat() == loaded.sources


def test_an_hdu_in_brackets_does_not_hide_the_file(tmp_path):
    (tmp_path / "a.fits").write_bytes(b"content")
    described = describe_file(tmp_path / "a.fits[SCI,2]")
    assert described["path"].endswith("a.fits[SCI,2]")
    assert described["sha256"] == hashlib.sha256(b"content").hexdigest()


def test_a_missing_file_is_described_by_its_path(tmp_path):
    assert describe_file(tmp_path / "missing") == {"path": str(tmp_path / "missing")}


def test_a_failure_keeps_the_counts_of_its_exception(record):
    error = NoCandidatesError("none left", {"faint": 3, "science-mask": 2})
    run = record.document(failure(error, 3, str(error)))["run"]
    assert (run["status"], run["exitCode"], run["errorType"]) == ("failed", 3, "NoCandidatesError")
    assert run["errorMessage"] == "none left"
    assert run["counts"].scalars == {"faint": 3, "science-mask": 2}


def test_only_the_record_of_a_failed_run_counts_as_one(record, tmp_path):
    path = tmp_path / "x.json"
    assert not is_failed_record(path)
    path.write_text(record.document({"status": "ok"}).to_json())
    assert not is_failed_record(path)
    path.write_text(record.document(failure(ValueError("x"), 1, "x")).to_json())
    assert is_failed_record(path)
    for other in ("[]", "not json", json.dumps({"status": "failed"})):
        path.write_text(other)
        assert not is_failed_record(path)
    path.write_bytes(b"\xff\xfe\x00")
    assert not is_failed_record(path)


def test_values_that_are_none_are_left_out_at_every_depth():
    assert without_none({"a": None, "b": {"c": None, "d": 1}, "e": []}) == {"b": {"d": 1}, "e": []}
