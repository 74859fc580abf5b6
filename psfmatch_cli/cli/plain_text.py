"""Text of files and headers on a terminal: seen, never obeyed."""

from __future__ import annotations


def one_line(text: str) -> str:
    """The text with whatever is no printable character as its escape.

    Header values and file names come from others. Terminals act on control characters (colours, titles, cursor, the
    keyboard's own answers), line breaks would fake a line of the program, and bytes that are no text cannot be printed
    at all.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
