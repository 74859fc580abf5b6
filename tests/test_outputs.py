import errno
import os
from pathlib import Path

import numpy as np
import pytest

from psfmatch_cli.errors import OutputError, UsageError
from psfmatch_cli.outputs import atomic_path, check_distinct, check_output, provenance_cards, settings_digest


def write(target, text, overwrite=False, then=lambda: None):
    """Write through a temporary file and do something before the end."""
    with atomic_path(target, overwrite) as temporary:
        temporary.write_text(text)
        then()


def fail(error):
    raise error


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_only_when_it_is_complete(tmp_path):
    target = tmp_path / "a.fits.gz"
    with atomic_path(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.endswith(".fits.gz")
        temporary.write_text("all of it")
        assert not target.exists()
    assert target.read_text() == "all of it"
    assert names(tmp_path) == ["a.fits.gz"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_nothing_is_left_after_an_exception(tmp_path, error):
    target = tmp_path / "a.fits"
    target.write_text("old")
    with pytest.raises(error):
        write(target, "half", overwrite=True, then=lambda: fail(error))
    assert names(tmp_path) == ["a.fits"]
    assert target.read_text() == "old"


def test_an_existing_file_is_replaced_only_with_overwrite(tmp_path):
    target = tmp_path / "a.fits"
    target.write_text("old")
    with pytest.raises(OutputError, match=r"a.fits: already exists; use --overwrite"), atomic_path(target):
        pytest.fail("the block must not start")
    with atomic_path(target, overwrite=True) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"


def test_a_file_that_appears_while_writing_is_kept(tmp_path):
    target = tmp_path / "a.fits"
    with pytest.raises(OutputError, match="already exists"):
        write(target, "mine", then=lambda: target.write_text("theirs"))
    assert target.read_text() == "theirs"
    assert names(tmp_path) == ["a.fits"]


def test_file_systems_without_hard_links(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    write(tmp_path / "a.fits", "mine")
    assert names(tmp_path) == ["a.fits"]
    with pytest.raises(OutputError, match="already exists"):
        write(tmp_path / "b.fits", "mine", then=lambda: (tmp_path / "b.fits").write_text("theirs"))
    assert (tmp_path / "b.fits").read_text() == "theirs"


def test_a_full_disk_is_named(tmp_path):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(OutputError, match=r"a.fits: cannot be written \(No space left on device\)"):
        write(tmp_path / "a.fits", "half", then=lambda: fail(full))
    assert names(tmp_path) == []


def test_missing_and_locked_folders_and_folders_are_refused(tmp_path, monkeypatch):
    with pytest.raises(OutputError, match=r"the folder .*nowhere does not exist"):
        check_output(tmp_path / "nowhere" / "a.fits", False)
    with pytest.raises(OutputError, match="is a folder, expected a file name"):
        check_output(tmp_path, True)
    with pytest.raises(OutputError, match="is not a regular file"):
        check_output(Path(os.devnull), True)
    monkeypatch.setattr(os, "access", lambda *args: False)
    with pytest.raises(OutputError, match="is not writable"):
        check_output(tmp_path / "a.fits", False)


def test_outputs_are_checked_against_each_other_and_the_inputs(tmp_path):
    (tmp_path / "in.fits").write_text("")
    check_distinct([tmp_path / "a.fits", tmp_path / "b.fits"], [tmp_path / "in.fits"])
    with pytest.raises(UsageError, match="two outputs have one name"):
        check_distinct([tmp_path / "a.fits", tmp_path / "x" / ".." / "a.fits"])
    for entry in ("in.fits", "in.fits[SCI,2]"):
        with pytest.raises(UsageError, match=r"is also an input; an input is never overwritten"):
            check_distinct([tmp_path / "in.fits"], [tmp_path / entry])


def test_an_input_is_recognised_through_a_link(tmp_path):
    (tmp_path / "in.fits").write_text("")
    (tmp_path / "link.fits").symlink_to(tmp_path / "in.fits")
    with pytest.raises(UsageError, match="is also an input"):
        check_distinct([tmp_path / "link.fits"], [tmp_path / "in.fits"])


def test_provenance_names_program_inputs_settings_and_values():
    cards = provenance_cards(
        "1.2",
        {
            "template": "/data/t.fits[SCI]",
            "science": "s.fits",
            "sources": "cat\N{LATIN SMALL LETTER E WITH ACUTE}.ecsv",
        },
        {"order": 2},
        {"PMKSUM": (np.float64(1.01), "kernel sum"), "PMCOND": np.nan, "PMNGOOD": np.int64(7)},
    )
    assert cards == [
        ("PROGRAM", "PSFMATCH", "program that made this file"),
        ("PMVERS", "1.2", "its version"),
        ("PMTMPL", "t.fits[SCI]", "template file"),
        ("PMSCI", "s.fits", "science file"),
        ("PMIN1", "cat\\xe9.ecsv", "sources file"),
        ("PMCONFIG", settings_digest({"order": 2}), "fingerprint of all settings"),
        ("PMKSUM", 1.01, "kernel sum"),
        ("PMCOND", None, ""),
        ("PMNGOOD", 7, ""),
    ]
    assert type(cards[-1][1]) is int


def test_settings_digest_depends_on_the_values_and_not_on_their_order():
    assert settings_digest({"a": 1, "b": 2.0}) == settings_digest({"b": 2.0, "a": 1})
    assert settings_digest({"a": 1}) != settings_digest({"a": 2})
