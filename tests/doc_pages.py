"""The README and the pages of the guide as the tests read them: their blocks, sessions, sections and tables."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
GUIDE = ROOT / "docs"
#: Pages of the guide; the first makes the files that the others use.
PAGES = [GUIDE / "start.rst", *sorted(path for path in GUIDE.rglob("*.rst") if path.name != "start.rst")]


def blocks(page: Path, kind: str) -> list[str]:
    """Contents of the code blocks of a kind, such as console."""
    text = page.read_text()
    if page.suffix == ".md":
        return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    found = re.findall(rf"^\.\. code-block:: {kind}\n\n((?:   .*\n|\n)+)", text, re.MULTILINE)
    return [dedent(block).strip() + "\n" for block in found]


def sessions(page: Path) -> Iterator[tuple[str, str]]:
    """Pairs of a command line and the lines printed after it."""
    for block in blocks(page, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, printed = part.partition("\n")
            yield line, printed


@dataclass(frozen=True)
class Said:
    """A command line of a page, what the page says that it prints, and what it printed."""

    page: str
    line: str
    expected: str
    status: int
    out: str
    err: str


def run_sessions(pages: list[Path], where: Path, environment: dict[str, str]) -> list[Said]:
    """Run the sessions of some pages one after the other in one folder, a line that several have only once."""
    said, ran = [], {}
    for page in pages:
        for line, expected in sessions(page):
            if line not in ran:
                ran[line] = subprocess.run(
                    line, shell=True, cwd=where, env=environment, capture_output=True, text=True, check=False
                )
            done = ran[line]
            said.append(Said(page.name, line, expected, done.returncode, done.stdout, done.stderr))
    return said


def words(text: str) -> str:
    """The text without its numbers, which depend a little on the versions of the libraries.

    Reasons of refusal may come and go with the numbers; the rest has to agree.
    """
    return re.sub(r" \(N [^)]*too-small\)", " (reasons)", re.sub(r"\d+(\.\d+)?", "N", text))


def sections(page: Path) -> dict[str, str]:
    """Text of each section of a page of the guide by its title, without the sections inside it."""
    text = page.read_text()
    titles = list(re.finditer(r"^(\S.*)\n([=\-~])\2{2,}\n", text, re.MULTILINE))
    ends = [*(title.start() for title in titles), len(text)][1:]
    return {title[1]: text[title.end() : end] for title, end in zip(titles, ends, strict=True)}


def rows(section: str, caption: str | None = None) -> list[list[str]]:
    """Cells of the list tables of a section, or of the one of this caption, row by row, without their headings."""
    found = []
    tables = re.findall(r"^\.\. list-table::(.*)\n((?:   .*\n|\n)*)", section + "\n", re.MULTILINE)
    for title, table in tables:
        if caption in (None, title.strip()):
            entries = re.split(r"^   \* - ", table, flags=re.MULTILINE)[1:]
            cells = [re.split(r"^     -(?: |$)", entry, flags=re.MULTILINE) for entry in entries]
            found += cells[1:] if ":header-rows: 1" in table else cells
    return [[" ".join(cell.split()) for cell in row] for row in found]


def code(cell: str) -> list[str]:
    """What stands in double quotes of code in a cell."""
    return re.findall(r"``(.+?)``", cell)
