"""Where products go, what is refused before the work, and all or nothing."""

import os
from pathlib import Path

import pytest

from psfmatch_cli.cli.products import beside, check, transaction
from psfmatch_cli.errors import OutputError, UsageError
from psfmatch_cli.provenance import RunRecord, failure


@pytest.mark.parametrize(
    ("main", "expected"),
    [
        ("a/diff.fits", "a/diff_kernel.fits"),
        ("diff.fits.gz", "diff_kernel.fits"),
        ("diff.fits.fz", "diff_kernel.fits"),
        ("my.diff.fit", "my.diff_kernel.fits"),
        ("diff", "diff_kernel.fits"),
    ],
)
def test_the_usual_name_is_beside_the_main_product(main, expected):
    assert beside(Path(main), None, False, "_kernel.fits") == Path(expected)


def test_products_can_be_named_and_turned_off():
    main = Path("a/diff.fits")
    assert beside(main, "k.fits", False, "_kernel.fits") == Path("k.fits")
    assert beside(main, "none", False, "_kernel.fits") is None
    assert beside(main, None, True, "_kernel.fits") is None
    assert beside(main, None, False, "") is None


def test_what_is_refused_before_the_work(tmp_path):
    here = tmp_path / "here.fits"
    here.write_text("x")
    fresh = tmp_path / "new.fits"
    cases = [
        ({"difference": here}, [], False, OutputError, "already exists; use --overwrite"),
        ({"difference": here}, [here], True, UsageError, "is also an input"),
        ({"difference": here}, [f"{here}[1]"], True, UsageError, "is also an input"),
        ({"kernel": fresh, "difference": tmp_path / "." / "new.fits"}, [], False, UsageError, "two outputs"),
        ({"difference": tmp_path / "no" / "new.fits"}, [], False, OutputError, "does not exist"),
        ({"difference": tmp_path / "new.txt"}, [], False, UsageError, "must end in .fits"),
        ({"sources": tmp_path / "new.txt"}, [], False, UsageError, "must end in .fits"),
        ({"difference": tmp_path}, [], True, OutputError, "folder"),
        ({"kernel": Path(os.devnull)}, [], True, OutputError, "not a regular file"),
        ({"kernel": tmp_path, "difference": here}, [], False, OutputError, "here.fits: already exists"),
    ]
    for outputs, inputs, overwrite, kind, expected in cases:
        with pytest.raises(kind, match=expected):
            check(outputs, inputs, overwrite)
    check({"difference": here, "kernel": None}, [], True)
    check({"difference": fresh, "kernel": None}, [here], False)


def test_the_record_of_a_failed_run_may_be_replaced_but_no_other(tmp_path):
    path = tmp_path / "x.json"
    record = RunRecord("match", [])
    path.write_text(record.document(failure(ValueError("x"), 1, "x")).to_json())
    check({"metadata": path}, [], False)
    with pytest.raises(OutputError, match="already exists"):
        check({"kernel": path}, [], False)
    path.write_text(record.document({"status": "ok"}).to_json())
    with pytest.raises(OutputError, match="already exists"):
        check({"metadata": path}, [], False)


def test_all_products_appear_together_and_the_main_one_last(tmp_path, monkeypatch):
    order = []
    link = os.link
    monkeypatch.setattr(os, "link", lambda new, target: (order.append(Path(target).name), link(new, target)))
    (tmp_path / "sub").mkdir()
    outputs = {"kernel": tmp_path / "sub" / "k", "matched image": None, "difference": tmp_path / "d"}
    with transaction(outputs, overwrite=False) as names:
        assert set(names) == {"kernel", "difference"}
        for name in names.values():
            name.write_text("new")
        assert not (tmp_path / "d").exists()
    assert order == ["k", "d"]
    assert (tmp_path / "d").read_text() == (tmp_path / "sub" / "k").read_text() == "new"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["d", "k", "sub"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_files_and_no_litter(error, tmp_path):
    (tmp_path / "d").write_text("old")

    def write():
        with transaction({"kernel": tmp_path / "k", "difference": tmp_path / "d"}, overwrite=True) as names:
            names["difference"].write_text("new")
            raise error

    with pytest.raises(type(error)):
        write()
    assert (tmp_path / "d").read_text() == "old"
    assert os.listdir(tmp_path) == ["d"]


def test_a_full_disk_is_an_output_error(tmp_path):
    def write():
        with transaction({"difference": tmp_path / "d"}, overwrite=False):
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="cannot be written: No space left on device"):
        write()


def test_a_link_stays_a_link_to_the_replaced_file(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with transaction({"difference": tmp_path / "link"}, overwrite=True) as names:
        names["difference"].write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
