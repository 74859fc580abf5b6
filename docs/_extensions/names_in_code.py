"""Names in single quotes, as docstrings have them: a link where the name has an entry, else plain code."""

from __future__ import annotations

from typing import Any

from docutils import nodes


def plain_code(app: Any, env: Any, node: nodes.Element, content: nodes.Node) -> nodes.Node | None:
    """The name as it stands, for one that no page describes; other kinds of references stay errors."""
    return content if node.get("refdomain") == "py" and node.get("reftype") == "obj" else None


def setup(app: Any) -> dict[str, Any]:
    app.connect("missing-reference", plain_code)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
