"""Text of others (labels, file names, texts, messages) as it can stand in a terminal, a page or a file for people."""

from __future__ import annotations

import json
from typing import Any


def one_line(text: str) -> str:
    r"""A text on one line, with a space for everything that does not print.

    Control sequences, changes of direction and line ends are not printable characters, nor is half a surrogate pair.

    Example:
        >>> one_line("a\x1b[2J\nb\u202ec")
        'a [2J b c'
    """
    return "".join(c if c.isprintable() else " " for c in text)


def one_line_each(content: Any) -> Any:
    r"""JSON content whose strings are all as `one_line` has them, keys too.

    Example:
        >>> one_line_each({"a\n": ["b\x1b", 1, None]})
        {'a ': ['b ', 1, None]}
    """
    if isinstance(content, str):
        return one_line(content)
    if isinstance(content, dict):
        return {one_line_each(key): one_line_each(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [one_line_each(value) for value in content]
    return content


def json_line(content: Any) -> str:
    r"""JSON on one line that any terminal can show and no text in it can steer: all but ASCII is escaped, and nothing lost.

    Example:
        >>> print(json_line({"é": "a\x9b2J\x7f\u202e"}))
        {"\u00e9": "a\u009b2J\u007f\u202e"}
    """
    return json.dumps(content).replace("\x7f", "\\u007f")
