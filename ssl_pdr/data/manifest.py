"""How a label split is written down: JSON that carries the hash of its own content.

The labelled rows stand as lengths of runs, in turn of rows without and with a label: `[3, 1, 1, 5]` is row 3 and rows
5 to 9 of ten. That is about a byte for each row at worst (ten million rows of which a random half are labelled: 10 MB;
all of them: one number), and rows out of order, twice or out of range cannot be said in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_pdr.errors import DataError
from ssl_pdr.files import read_text

_FORMAT = "ssl-pdr label split"
_VERSION = 2


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 over all that a manifest says.

    Example:
        >>> digest({"seed": 0, "runs": [1, 2]}) == digest({"runs": [1, 2], "seed": 0})
        True
    """
    return hashlib.sha256(_json({**content, "format": _FORMAT, "version": _VERSION}).encode()).hexdigest()


def dump_manifest(content: Mapping[str, Any]) -> str:
    """The text of a manifest, one line.

    Example:
        >>> dump_manifest({"seed": 0})[:55]
        '{"format":"ssl-pdr label split","version":2,"seed":0,"h'
    """
    head = {"format": _FORMAT, "version": _VERSION}
    return json.dumps({**head, **content, "hash": digest(content)}, separators=(",", ":")) + "\n"


def read_manifest(path: Path) -> dict[str, Any]:
    """The content of the manifest in `path`, unchanged since it was saved.

    Raises:
        DataError: if it is missing, is something else, has another version, or was changed.
    """
    try:
        manifest = json.loads(read_text(path))
    except OSError as error:
        raise DataError(f"cannot read the split {path}: {error.strerror}; give the file that `save` wrote") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: got no JSON ({error}), expected a label split; restore or remake it") from error
    if not isinstance(manifest, dict) or manifest.pop("format", None) != _FORMAT:
        raise DataError(f"{path}: got some other JSON, expected {_FORMAT!r}; give the file that `save` wrote")
    version = manifest.pop("version", None)
    if version != _VERSION:
        raise DataError(
            f"{path}: got version {version!r} of a label split, expected {_VERSION}; "
            "make it anew with this version of ssl-pdr"
        )
    stored, found = manifest.pop("hash", None), digest(manifest)
    if stored != found:
        raise DataError(
            f"{path}: got content with hash {found[:12]}, expected {str(stored)[:12]}; "
            "the file was changed after it was saved, restore or remake it"
        )
    return manifest


def runs_of(is_labelled: NDArray[np.bool_]) -> list[int]:
    """Lengths of runs, in turn without and with a label; only the first may be 0.

    Args:
        is_labelled: (n,) for each row.

    Example:
        >>> runs_of(np.array([True, True, False, True]))
        [0, 2, 1, 1]
    """
    changes = np.flatnonzero(np.diff(is_labelled, prepend=False))
    lengths: list[int] = np.diff(changes, prepend=0, append=len(is_labelled)).tolist()
    return lengths


def from_runs(runs: list[int], n_rows: int) -> NDArray[np.bool_]:
    """What `runs_of` was given.

    Raises:
        ValueError: for anything that is not lengths of runs of n_rows rows.

    Example:
        >>> from_runs([0, 2, 1, 1], 4)
        array([ True,  True, False,  True])
    """
    wrong = next((run for place, run in enumerate(runs) if type(run) is not int or run < (place > 0)), None)
    if wrong is not None or sum(runs) != n_rows:
        got = f"{wrong!r}" if wrong is not None else f"{sum(runs)} rows"
        raise ValueError(f"runs: got {got}, expected whole numbers of at least 1 that add up to {n_rows} rows")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs)


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"))
