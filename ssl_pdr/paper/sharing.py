"""Messages in files that are passed on: names in place of this machine's paths."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ssl_pdr.config import TrainConfig

# What a path in a message ends at.
_ENDS = re.compile(r"[\s'\"`,;()]")
# The folders before the last name of an absolute path; the slashes of an address or between two words are none.
_FOLDERS = re.compile(r"(?<![\w.:/~])~?/(?:[^\s/'\"`,;()]+/)*(?=[^\s/'\"`,;()])")


def places(configs: Iterable[TrainConfig]) -> dict[str, str]:
    """Paths in configurations that hold spaces and the like, by which nobody else can tell where they end → their names."""
    found: dict[str, str] = {}
    for config in configs:
        for value in vars(config).values():
            for spec in value if isinstance(value, tuple) else (value,):
                if isinstance(spec, str) and spec.startswith(("/", "~/")) and _ENDS.search(spec):
                    found |= dict.fromkeys((spec, str(Path(spec).expanduser())), Path(spec).name)
    return found


def without_paths(text: str, known: Mapping[str, str]) -> str:
    """A message with names in place of absolute paths.

    Args:
        text: of the message.
        known: as `places` finds them.

    Example:
        >>> without_paths("there is no file /home/me/a.csv and/or ~/b.csv; see https://example.org/c", {})
        'there is no file a.csv and/or b.csv; see https://example.org/c'
    """
    for path in sorted(known, key=len, reverse=True):
        text = text.replace(path, known[path])
    return _FOLDERS.sub("", text)
