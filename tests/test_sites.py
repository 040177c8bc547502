"""Where noise enters: every architecture that we name, and models that nobody has heard of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers as tf
from torch import Tensor, nn

from ssl_pdr import RPT, VAT, JacobianRegularizer, available_sites
from ssl_pdr.errors import ConfigError, ModelError
from ssl_pdr.sites import find_site, hooked, self_test, unwrap
from tests.conftest import tiny_batch, tiny_bert

SIZES = {
    "vocab_size": 64,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "num_labels": 3,
}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "cls_token_id": 1, "eos_token_id": 2, "sep_token_id": 2}
ALL = {"sum", "output", "word"}
ARCHITECTURES: dict[str, tuple[Any, set[str]]] = {
    "bert": (lambda: tf.BertConfig(**SIZES), ALL),
    "roberta": (lambda: tf.RobertaConfig(**SIZES, pad_token_id=1), ALL),
    "distilbert": (
        lambda: tf.DistilBertConfig(vocab_size=64, dim=16, n_layers=2, n_heads=2, hidden_dim=32, num_labels=3),
        ALL,
    ),
    "electra": (lambda: tf.ElectraConfig(**SIZES, embedding_size=8), ALL),
    "albert": (lambda: tf.AlbertConfig(**SIZES, embedding_size=8), ALL),
    "deberta-v2": (lambda: tf.DebertaV2Config(**SIZES), ALL),
    "deberta-v2-relative": (
        lambda: tf.DebertaV2Config(**SIZES, position_biased_input=False, relative_attention=True, pos_att_type=["p2c"]),
        {"output", "word"},
    ),
    "mpnet": (lambda: tf.MPNetConfig(**SIZES), ALL),
    "modernbert": (lambda: tf.ModernBertConfig(**SIZES, **SPECIAL), {"output", "word"}),
    "gpt2": (
        lambda: tf.GPT2Config(
            vocab_size=64, n_embd=16, n_layer=2, n_head=2, num_labels=3, pad_token_id=0, bos_token_id=1, eos_token_id=1
        ),
        ALL,
    ),
    "qwen2": (lambda: tf.Qwen2Config(**SIZES, num_key_value_heads=2, pad_token_id=0), {"output", "word"}),
    "qwen3": (lambda: tf.Qwen3Config(**SIZES, num_key_value_heads=2, head_dim=8, pad_token_id=0), {"output", "word"}),
}


def build(name: str) -> tuple[nn.Module, set[str]]:
    make, sites = ARCHITECTURES[name]
    return tf.AutoModelForSequenceClassification.from_config(make()).train(), sites


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_regularizer_has_a_value_and_a_gradient_at_every_site(name: str) -> None:
    model, sites = build(name)
    inputs = tiny_batch()
    assert set(available_sites(model)) == sites
    for site in sites:
        for regularizer in (
            RPT("shl", 0.1, site=site, dropout="shared"),
            VAT("kl", 0.1, site=site, dropout="shared"),
            JacobianRegularizer(site=site),
        ):
            model.zero_grad()
            value = regularizer(model, inputs)
            assert value.shape == (4,)
            assert (value > 0).all()
            value.mean().backward()
            gradients = [p.grad.norm() for p in model.parameters() if p.grad is not None]
            assert torch.stack(gradients).sum() > 0
            assert torch.isfinite(torch.stack(gradients)).all()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_missing_site_is_refused_with_those_there_are(name: str) -> None:
    model, sites = build(name)
    for site in ALL - sites:
        with pytest.raises(ModelError, match="no site 'sum'.*output, word"):
            RPT(site=site)(model, tiny_batch())


def test_unknown_site_is_refused_before_any_model_is_seen() -> None:
    with pytest.raises(ConfigError, match="unknown site 'middle'; expected one of: sum, output, word"):
        RPT(site="middle")


def test_sites_of_bert_are_before_and_after_its_layer_norm() -> None:
    model = tiny_bert(dropout=0.0)
    seen: dict[str, Tensor] = {}
    for name in ALL:
        with hooked(model, find_site(model, name), lambda x, name=name: seen.setdefault(name, x)):  # type: ignore[misc]
            model(**tiny_batch())
    embeddings = model.bert.embeddings
    torch.testing.assert_close(embeddings.LayerNorm(seen["sum"]), seen["output"])
    torch.testing.assert_close(embeddings.word_embeddings(tiny_batch()["input_ids"]), seen["word"])


class BagOfWords(nn.Module):
    """Neither a Hugging Face model nor one with a configuration."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(64, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        return SimpleNamespace(logits=self.head(torch.tanh(self.table(input_ids)).mean(dim=1)))


def test_any_module_with_logits_will_do() -> None:
    value = VAT(divergence="shl", radius=1e-3)(BagOfWords(), tiny_batch())
    assert value.shape == (4,)
    value.sum().backward()


class TwoTables(BagOfWords):
    """Positions in a table larger than the vocabulary, dropout in the head, no embedding module."""

    def __init__(self) -> None:
        super().__init__()
        self.position_table = nn.Embedding(512, 8)
        self.dropout = nn.Dropout(0.1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        x = self.table(input_ids) + self.position_table(torch.arange(input_ids.shape[1]))
        return SimpleNamespace(logits=self.head(self.dropout(torch.tanh(x).mean(dim=1))))


class Wrapped(nn.Module):
    """A network inside a network, whose parts look like an embedding module's."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Embedding(64, 8), nn.LayerNorm(8), nn.Linear(8, 3))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        return SimpleNamespace(logits=self.net(input_ids).mean(dim=1))


@pytest.mark.parametrize("kind", [BagOfWords, TwoTables, Wrapped])
def test_the_default_site_is_there_for_modules_of_any_make(kind: type[nn.Module]) -> None:
    for regularizer in (VAT(divergence="shl", radius=1e-3), JacobianRegularizer()):
        with torch.set_grad_enabled(isinstance(regularizer, VAT)):
            assert regularizer(kind(), tiny_batch()).shape == (4,)


class DeadHook(BagOfWords):
    """Looks its tokens up behind the embedding's back: noise is added to something that nobody reads."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        self.table(input_ids)
        return SimpleNamespace(logits=self.head(self.table.weight[input_ids].mean(dim=1)))


def test_a_dead_hook_passes_the_zero_noise_test_and_is_caught_by_the_large_one() -> None:
    with pytest.raises(ModelError, match="large noise at site 'output' \\(module 'table'\\) does not reach the logits"):
        RPT()(DeadHook(), tiny_batch())


class Unsteady(BagOfWords):
    """Answers differently each time, without dropout."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        logits = super().forward(input_ids).logits
        return SimpleNamespace(logits=logits + torch.randn_like(logits))


def test_a_model_that_zero_noise_changes_is_refused() -> None:
    with pytest.raises(ModelError, match="zero noise at site 'output' \\(module 'table'\\) changes the logits"):
        RPT()(Unsteady(), tiny_batch())


class Skips(BagOfWords):
    """Never calls its embedding."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        return SimpleNamespace(logits=self.head(self.table.weight[input_ids].mean(dim=1)))


def test_an_embedding_that_does_not_run_is_named() -> None:
    with pytest.raises(ModelError, match="module 'table' of site 'output' ran 0 times"):
        RPT()(Skips(), tiny_batch())


def test_a_model_without_embeddings_is_refused() -> None:
    with pytest.raises(ModelError, match="has no token embedding"):
        available_sites(nn.Linear(2, 2))


def test_self_test_leaves_random_states_and_modes_alone() -> None:
    model, state = tiny_bert(), torch.get_rng_state()
    model.bert.pooler.eval()
    self_test(model, tiny_batch(), find_site(model, "sum"))
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert not model.bert.pooler.training


def test_data_parallel_is_refused_with_the_right_command() -> None:
    with pytest.raises(ModelError, match="torchrun"):
        unwrap(nn.DataParallel(BagOfWords()))


def test_noise_is_never_fed_as_input_embeddings() -> None:
    """`inputs_embeds` adds positions twice: with our hook, zero noise is the identity in evaluation mode."""
    model, inputs = tiny_bert().eval(), tiny_batch()
    logits = model(**inputs).logits
    with hooked(model, find_site(model, "output"), lambda x: x + 0):
        assert torch.equal(model(**inputs).logits, logits)
    embedded = model.bert.embeddings(inputs["input_ids"])
    fed = model(inputs_embeds=embedded, attention_mask=inputs["attention_mask"]).logits
    assert not torch.allclose(fed, logits, atol=1e-3)
