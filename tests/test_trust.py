"""What is read is data: nothing in it is run, no path in it is opened, no terminal obeys it."""

import ast
import builtins
import json
import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import made_files as made
from psfmatch_cli.cli.plain_text import one_line
from psfmatch_cli.errors import InputError, UsageError
from psfmatch_cli.io import ReadOptions, read_exposure
from psfmatch_cli.provenance import is_failed_record
from psfmatch_cli.regions import read_regions
from psfmatch_cli.settings import load_settings
from psfmatch_cli.tables import read_table

PACKAGE = Path(__file__).parents[1] / "psfmatch_cli"
TREES = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}

# --- the source -----------------------------------------------------------------------------------------------------

#: Modules that run code or programs, or read formats that can.
FORBIDDEN_MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "yaml",
    "ctypes",
}
FORBIDDEN_MODULES |= {"subprocess", "pty", "code", "runpy", "socket", "ssl", "http", "urllib", "requests", "ftplib"}
FORBIDDEN_MODULES |= {"xml", "xmlrpc", "lxml", "telnetlib", "smtplib", "asyncio", "webbrowser"}
#: One call of the C library that takes no argument of ours: malloc_trim(0).
ALLOWED = {"free_memory.py": {"ctypes"}}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "breakpoint", "input"}
FORBIDDEN_CALLS |= {f"os.{name}" for name in dir(os) if name.startswith(("exec", "spawn", "posix_spawn", "fork"))}
FORBIDDEN_CALLS |= {"os.system", "os.popen", "np.load", "np.fromfile", "np.memmap", "np.genfromtxt"}
#: Where files are opened; every other module is given what they hold.
OPENERS = {
    "fits.open": set(),
    "open": {"fitsfile.py", "unpack.py", "outputs.py"},
    "Table.read": {"tables.py"},
    "read_text": {
        "cli/batch_manifest.py",
        "cli/report_files.py",
        "memory.py",
        "provenance.py",
        "publish.py",
        "regions.py",
        "setting_sources.py",
    },
}


def calls(tree):
    """Dotted names of everything that is called."""
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def modules(tree):
    """First names of everything that is imported, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def faults(tree):
    """What a module must not do."""
    found = set(modules(tree)) & FORBIDDEN_MODULES
    found |= calls(tree) & FORBIDDEN_CALLS
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in ("shell", "allow_pickle", "unsafe"):
            found.add(f"{node.arg}={ast.unparse(node.value)}")
    return found


@pytest.mark.parametrize("name", sorted(TREES))
def test_no_module_runs_what_it_reads(name):
    assert faults(TREES[name]) == ALLOWED.get(name, set())


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from pickle import loads", "def f():\n    import yaml", "eval('1')", "exec(text)",
        "os.system('ls')", "import subprocess", "run('ls', shell=True)", "np.load(p, allow_pickle=True)", "np.load(p)",
        "import urllib.request", "from xml import etree",
    ],
)  # fmt: skip
def test_the_scan_finds_what_it_looks_for(source):
    assert faults(ast.parse(source))


def test_files_are_opened_in_few_places():
    called_in = {name: calls(tree) for name, tree in TREES.items()}
    for call, allowed in OPENERS.items():
        # A function goes by its name, a method by its name after that of any object.
        end = f".{call}" if call == "read_text" else call
        found = {
            name
            for name, called in called_in.items()
            if any(c == call or (end != call and c.endswith(end)) for c in called)
        }
        assert found == allowed, call


# --- paths in headers -----------------------------------------------------------------------------------------------


@pytest.fixture
def opened(monkeypatch):
    """Paths of all files that are opened, looked at or listed while the test runs."""
    seen = []
    for module, name in ((builtins, "open"), (os, "open"), (os, "stat"), (os, "listdir"), (os, "scandir")):
        original = getattr(module, name)

        def spy(path, *more, _original=original, **options):
            seen.append(str(path))
            return _original(path, *more, **options)

        monkeypatch.setattr(module, name, spy)
    return seen


def test_paths_in_headers_lead_nowhere(tmp_path, opened):
    secret = tmp_path / "elsewhere" / "secret.fits"
    secret.parent.mkdir()
    made.save(secret, made.primary(made.flag_image([1] * 20)))
    names = ("BPM", "MASKFILE", "WEIGHT", "PSFFILE", "DQFILE", "FZFILE", "IMCMB001", "WCSFILE", "XTENSION", "FLATFILE")
    cards = {name: str(secret) for name in names if name != "XTENSION"}
    cards |= {"D2IMFILE": str(secret), "NPOLFILE": "/etc/passwd", "CPDIS1": "LOOKUP", "SIPNAME": "file:///etc/passwd"}
    path = made.small_telescope_file(tmp_path / "a.fit", **cards)
    opened.clear()
    found = read_exposure(path)
    assert str(path) in opened, "the test sees what is opened"
    ours = [name for name in opened if name.startswith(str(tmp_path))]
    assert {Path(name).parent for name in ours} <= {tmp_path, tmp_path.parent}
    assert not [name for name in opened if "secret" in name or name.startswith("/etc/passwd")]
    assert found.facts.files == {}


def test_a_table_that_names_a_file_is_not_followed(tmp_path, opened):
    (tmp_path / "list.csv").write_text("x,y\n1,2\n/etc/passwd,file:///etc/passwd\n")
    table = read_table(tmp_path / "list.csv")
    assert table["x"][1] == "/etc/passwd"
    assert "/etc/passwd" not in opened


# --- tables, regions, settings, records -----------------------------------------------------------------------------


def ecsv(path, meta):
    path.write_text(
        f"# %ECSV 1.0\n# ---\n# datatype:\n# - {{name: x, datatype: float64}}\n# - {{name: y, datatype: float64}}\n"
        f"# meta: {meta}\nx y\n1.0 2.0\n"
    )
    return path


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch {}']",
        "!!python/object/new:pathlib.Path ['{}']",
        "!!python/name:os.system ''",
        "!!python/module:os ''",
    ],
)
def test_tags_of_python_in_a_table_do_nothing(tag, tmp_path):
    made_by_it = tmp_path / "executed"
    path = ecsv(tmp_path / "t.ecsv", tag.format(made_by_it))
    with pytest.raises(InputError, match=r"t.ecsv: not a readable table"):
        read_table(path)
    assert not made_by_it.exists()


def test_aliases_that_multiply_in_a_table_end(tmp_path):
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    path = ecsv(tmp_path / "t.ecsv", "{" + ", ".join(levels) + "}")
    # 10^9 elements, were they not shared.
    assert len(read_table(path)) == 1


def test_tables_of_other_formats_are_not_read(tmp_path):
    bomb = '<?xml version="1.0"?><!DOCTYPE v [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><VOTABLE>&b;</VOTABLE>'
    (tmp_path / "t.vot").write_text(bomb)
    with pytest.raises(UsageError, match="a table file must end in"):
        read_table(tmp_path / "t.vot")
    (tmp_path / "t.ecsv").write_text(bomb)
    with pytest.raises(InputError, match="not a readable table"):
        read_table(tmp_path / "t.ecsv")


@pytest.mark.parametrize("opening", ["[", "{a = "])
def test_settings_nested_without_end_are_an_error(opening, tmp_path):
    (tmp_path / "deep.toml").write_text("kernel = " + opening * 100_000)
    with pytest.raises(InputError, match=r"the settings file .*deep.toml is not TOML"):
        load_settings(tmp_path / "deep.toml")
    with pytest.raises(UsageError):
        load_settings(None, [f"kernel.size={opening * 100_000}"])


def test_a_record_nested_without_end_is_none_of_ours(tmp_path):
    (tmp_path / "r.json").write_text("[" * 100_000)
    assert not is_failed_record(tmp_path / "r.json")


def test_regions_are_words_and_numbers(tmp_path):
    (tmp_path / "r.reg").write_text("image\ncircle(__import__('os').system('x'), 2, 3)\n")
    with pytest.raises(InputError, match="line 2"):
        read_regions(tmp_path / "r.reg")


# --- the terminal ---------------------------------------------------------------------------------------------------

EVIL = "a\x1b[31m\x1b]0;title\x07red\nb\u202e\x9b2J"


def test_only_printable_characters_are_printed():
    assert one_line(EVIL) == r"a\x1b[31m\x1b]0;title\x07red\nb\u202e\x9b2J"
    assert one_line("caf\xe9 \u03b1 \u2713") == "caf\xe9 \u03b1 \u2713"
    assert one_line(os.fsdecode(b"\xff.fits")) == r"\udcff.fits"


def is_plain(text):
    return all(c == "\n" or c.isprintable() for c in text)


def test_names_of_files_do_not_command_the_terminal(psfmatch, tmp_path):
    made.small_telescope_file(tmp_path / f"{EVIL}.fit")
    ended = [psfmatch(*line) for line in (
        ["info", f"{EVIL}.fit"],
        ["info", f"{EVIL}.fit[NO\x1b]"],
        ["detect", f"{EVIL}.fit", "-v", "-v", "-o", f"out{EVIL}.ecsv"],
        ["detect", f"{EVIL}.fit", "--metadata-flat", "--overwrite", "-o", f"out{EVIL}.ecsv"],
        ["detect", f"{EVIL}.fit", "--debug", "-o", f"{EVIL}/out.ecsv"],
        ["subtract", f"no{EVIL}", f"{EVIL}.fit", "-o", "d.fits"],
        ["info", f"--no{EVIL}"],
        [f"no{EVIL}"],
    )]  # fmt: skip
    assert [end.status for end in ended] == [0, 1, 0, 0, 1, 1, 2, 2]
    assert all(is_plain(end.out) and is_plain(end.err) for end in ended)
    assert r"a\x1b[31m\x1b]0;title\x07red" in ended[0].out
    assert "out" in ended[2].out
    assert all("internal error" not in end.err for end in ended)


@pytest.mark.parametrize("where", ["FILTER", "BUNIT", "EXTNAME", "CTYPE1", "DATE-OBS", "SATURATE"])
def test_cards_do_not_command_the_terminal(where, psfmatch, tmp_path):
    path = made.small_telescope_file(tmp_path / "a.fit", MARKER="here")
    raw = path.read_bytes()
    at = raw.index(b"MARKER  ")
    card = f"{where:<8}= '\x1b[31mX\x07\x9b2J'".encode("latin-1").ljust(80)
    path.write_bytes(raw[:at] + card + raw[at + 80 :])
    ended = psfmatch("info", "a.fit", "-v", "-v")
    assert ended.status == 0
    assert is_plain(ended.out)
    assert is_plain(ended.err)
    assert json.loads(psfmatch("info", "a.fit", "--json").out)["layout"] == "plain"


def test_a_gain_from_a_card_that_was_named_is_a_number(tmp_path):
    path = made.small_telescope_file(tmp_path / "a.fit", OURS="__import__('os').getpid()")
    with pytest.raises(InputError, match="must hold a positive number"):
        read_exposure(path, ReadOptions(keywords={"gain": "OURS"}))


def test_objects_in_the_columns_of_a_file_stay_bytes(tmp_path):
    import pickle

    payload = np.frombuffer(pickle.dumps(print), np.uint8)
    column = fits.Column("x", f"{len(payload)}A", array=np.array([payload.tobytes().replace(b"\0", b" ")]))
    fits.BinTableHDU.from_columns([column]).writeto(tmp_path / "t.fits")
    assert read_table(tmp_path / "t.fits")["x"].dtype.kind in "SU"
