"""What a task has to say, and how its pretrained model is loaded safely."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
import transformers

from ssl_pdr.choices import EMBEDDED_ENCODER
from ssl_pdr.data.encoder import embedded_encoder
from ssl_pdr.data.evaluation_sets import EvaluationSet
from ssl_pdr.errors import ModelError

_LAYERS = 1000  # the deepest that were ever trained have some

Scores = dict[str, float]
Prediction = dict[str, Any]  # of one row, as a line of JSON


class Task(Protocol):
    """One kind of problem: which model, which features, which scores."""

    name: str

    def load_model(self, model: str) -> Any:
        """The pretrained model (a `PreTrainedModel`) with a head for this task, in float32."""

    def encode(
        self, rows: Mapping[str, Sequence[Any]], tokenizer: Any, max_length: int, *, windows: bool = False
    ) -> dict[str, list[Any]]:
        """Columns of rows as columns of model inputs; `windows` makes several rows of one that is too long."""

    def features(
        self, table: Any, tokenizer: Any, max_length: int, *, windows: bool = False, key: str | None = None
    ) -> Any:
        """The table's rows as model inputs, with `labels` where the table has a `label`; found again by `key`."""

    def judge(self, logits: Any, features: Any, evaluated: EvaluationSet) -> tuple[Scores, list[Prediction]]:
        """The set's scores, the main one first, and a prediction for each of its rows."""

    def tuned(self, scores: Scores) -> Task:
        """The task with what can be chosen by scores on the development set."""

    def settings(self) -> dict[str, Any]:
        """What the configuration of a trained model has to say for it to be evaluated as it was trained."""

    def label_text(self, label: Any, ids: Sequence[int], tokenizer: Any) -> str | None:
        """A label of a row of these tokens for people; None for no label."""


def model_source(model: str) -> str:
    """Where `from_pretrained` finds `model`: the embedded encoder's folder, another folder, or a Hub name."""
    return str(embedded_encoder()) if model == EMBEDDED_ENCODER else model


def load_pretrained(auto_class: Any, model: str, **kwargs: Any) -> Any:
    """`auto_class.from_pretrained`, from safetensors only, without code of the model's own, with errors in one line.

    Raises:
        ModelError: if there is no such model, or none that can be read.
    """
    source = model_source(model)
    try:
        return auto_class.from_pretrained(source, trust_remote_code=False, **kwargs)
    except Exception as error:  # noqa: BLE001  # a broken folder can raise anything; it is one line for the user
        raise ModelError(f"cannot load a model from {_why_not(model, source, error)}") from None


def _why_not(model: str, source: str, error: Exception) -> str:
    """The rest of the sentence: what cannot be loaded, why, and what could be."""
    is_there = len(source) < 4096 and os.path.exists(source)  # noqa: PTH110
    place = f"the {'folder' if is_there else 'Hub name'} {model!r}"
    reason = " ".join(str(error).split())
    if "trust_remote_code" in reason or "custom code" in reason:
        return f"{place}: it needs code of its own, which is never run here; expected an architecture that transformers has"
    names = os.listdir(source) if is_there and os.path.isdir(source) else []  # noqa: PTH112, PTH208
    pickles = sorted(name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt")))
    if pickles and "config.json" in names and not any(name.endswith(".safetensors") for name in names):
        return (
            f"{place}: its weights are a pickle ({pickles[0]}), which can run code when it is read; expected model.safetensors: "
            "where you trust the file, load it with transformers once and write it anew with save_pretrained"
        )
    return (
        f"{place}: expected {EMBEDDED_ENCODER!r}, a folder with config.json, model.safetensors and a tokenizer, or a model on "
        f"the Hub ({type(error).__name__}: {reason[:200]})"
    )


def load_weights(auto_class: Any, model: str, **kwargs: Any) -> Any:
    """A model in float32: `dtype="auto"`, transformers' default, would load a bfloat16 checkpoint in that dtype.

    In bfloat16 most of a small perturbation is lost.
    """
    _check_shape(model)
    return load_pretrained(auto_class, model, dtype=torch.float32, use_safetensors=True, **kwargs)


def _check_shape(model: str) -> None:
    """Refuse what a configuration may say and no model can be, before weights are made for it."""
    from transformers import AutoConfig

    config = load_pretrained(AutoConfig, model)
    layers = getattr(config, "num_hidden_layers", None)
    if isinstance(layers, int) and layers > _LAYERS:
        raise ModelError(f"the model {model!r} has {layers:,} layers in its config.json; expected at most {_LAYERS:,}")
    for name, value in config.to_dict().items():
        if "drop" in name and isinstance(value, (int, float)) and not 0 <= value <= 1:
            raise ModelError(
                f"the model {model!r} has {name} = {value} in its config.json; expected a number from 0 to 1"
            )


def load_tokenizer(model: str) -> Any:
    """The tokenizer beside a model, with a padding token: decoders that have none pad with their end of text."""
    from transformers import AutoTokenizer

    tokenizer = load_pretrained(AutoTokenizer, model)
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise ModelError(f"the tokenizer of {model!r} knows no words; expected its vocabulary beside the weights")
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise ModelError(
                f"the tokenizer of {model!r} has neither a padding nor an end-of-text token; add one to it"
            )
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def tokenizer_key(tokenizer: Any) -> str:
    """What the features that a freshly loaded tokenizer makes depend on, as a hash."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    content = repr(tokenizer) if backend is None else backend.to_str()
    return hashlib.sha256(f"{transformers.__version__} {content}".encode()).hexdigest()


def positions(model: Any) -> int | None:
    """The longest row, in tokens, that a model has positions for; None where positions are not learnt."""
    rooms = [
        module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Embedding) and name.endswith(("position_embeddings", "wpe"))
    ]
    return min(rooms, default=None)


def fit_together(model: Any, tokenizer: Any) -> None:
    """Give the model the tokenizer's padding token where it has none, and refuse two that do not belong together.

    Raises:
        ModelError: where the tokenizer knows words that the model does not.
    """
    if getattr(model.config, "pad_token_id", None) is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    words = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > words:
        raise ModelError(f"the tokenizer knows {len(tokenizer)} words, the model {words}; they do not belong together")
