"""The page on errors quotes messages that there are, and has every exit status."""

import ast
import re

import pytest

from doc_pages import GUIDE, ROOT, code, rows, sections
from psfmatch_cli.cli.exits import BAD_QUALITY, HANGUP, INTERRUPTED, TERMINATED
from psfmatch_cli.errors import InputError, NoCandidatesError, UsageError

PAGE = GUIDE / "reference" / "errors.rst"
TEXTS = sections(PAGE)


def text_of(node):
    """A string with its parts that are known only at run time as dots."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%[-.\d]*[sdfgr]", "...", node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) if isinstance(part, ast.Constant) else "..." for part in node.values)
    return ""


@pytest.fixture(scope="module")
def messages():
    """All texts of the package that could be messages."""
    found = set()
    for path in (ROOT / "psfmatch_cli").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            # What stands as a statement of its own is a docstring.
            found |= {text_of(child) for child in ast.iter_child_nodes(node) if not isinstance(node, ast.Expr)}
    return found


def quoted():
    return [code(row[0])[0] for title, text in TEXTS.items() for row in rows(text) if title != next(iter(TEXTS))]


@pytest.mark.parametrize("message", quoted())
def test_a_quoted_message_is_one_of_the_code(message, messages):
    pattern = re.compile(".+".join(re.escape(part.strip()) for part in message.split("...")))
    assert any(pattern.search(text) for text in messages)


def test_every_exit_status_is_there():
    statuses = {code(row[0])[0] for row in rows(TEXTS["Errors and exit statuses"])}
    kinds = {str(kind.exit_code) for kind in (InputError, UsageError, NoCandidatesError)}
    assert statuses == {"0", *kinds, *map(str, (BAD_QUALITY, HANGUP, INTERRUPTED, TERMINATED))}
