"""What people bring to the Trainer: adapters, subclasses, loaders, losses and options of their own."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import TrainerCallback

from ssl_pdr import RPT, VAT, Objective, PDRTrainer, RDrop
from ssl_pdr.balance import Balance
from ssl_pdr.data.mixing import MixedBatchSampler
from ssl_pdr.errors import ConfigError, DataError
from ssl_pdr.sites import available_sites
from tests.conftest import tiny_bert
from tests.test_trainer import arguments, rows, weights


class Adapter(nn.Module):
    """A model in a wrapper as PEFT has it: its own signature leaves names out."""

    def __init__(self, base: nn.Module, seen: list[dict[str, Any]]) -> None:
        super().__init__()
        self.base = base
        self.seen = seen
        self.config = base.config

    def get_base_model(self) -> nn.Module:
        return self.base

    def get_input_embeddings(self) -> Any:
        return self.base.get_input_embeddings()  # type: ignore[operator]

    def forward(self, input_ids: Any = None, attention_mask: Any = None, labels: Any = None, **more: Any) -> Any:
        self.seen.append(more)
        return self.base(input_ids=input_ids, attention_mask=attention_mask, labels=labels, **more)


class Whatever(nn.Module):
    """A model whose signature says nothing."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base

    def get_input_embeddings(self) -> Any:
        return self.base.get_input_embeddings()  # type: ignore[operator]

    def forward(self, **batch: Any) -> Any:
        return self.base(**batch)


def pairs(count: int, **options: Any) -> list[dict[str, Any]]:
    return [{**row, "token_type_ids": [0, 0, 0, 1, 1, 1]} for row in rows(count, **options)]


def trained(folder: Path, model: Any, kind: type[PDRTrainer] = PDRTrainer, **options: Any) -> PDRTrainer:
    own = {"train_dataset": rows(8), "unlabelled_dataset": rows(8, labelled=False, seed=1), "regularizer": VAT("kl")}
    names = ("alpha", "ratio", "callbacks", "data_collator", "eval_dataset", "model_init", *own)
    own |= {name: options.pop(name) for name in names if name in options}
    trainer = kind(model, arguments(folder, **{"max_steps": 3, **options}), **own)
    trainer.train()
    return trainer


def test_an_adapter_is_given_what_its_model_takes(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    model = Adapter(tiny_bert(), seen)
    trained(tmp_path, model, train_dataset=pairs(8), unlabelled_dataset=pairs(8, labelled=False, seed=1))
    assert seen
    assert all(batch["token_type_ids"].float().mean() == 0.5 for batch in seen)


def test_a_model_that_takes_anything_is_given_all(tmp_path: Path) -> None:
    trainer = trained(tmp_path, Whatever(tiny_bert()), max_steps=1)
    assert {"input_ids", "attention_mask", "labels"} <= set(next(iter(trainer.get_train_dataloader())))


def test_a_collator_is_given_columns_of_its_own(tmp_path: Path) -> None:
    def collate(features: list[dict[str, Any]]) -> dict[str, Any]:
        seen.extend(row.pop("note") for row in features)
        return {name: torch.tensor([row[name] for row in features]) for name in features[0]}

    seen: list[str] = []
    noted = [[{**row, "note": f"row {i}"} for i, row in enumerate(table)] for table in (rows(8), rows(8))]
    trained(
        tmp_path,
        tiny_bert(),
        train_dataset=noted[0],
        unlabelled_dataset=noted[1],
        data_collator=collate,
        remove_unused_columns=False,
    )
    assert set(seen) == {f"row {i}" for i in range(8)}


def test_an_adapted_token_embedding_leaves_the_sites_where_they_are() -> None:
    class Adapted(nn.Module):
        def __init__(self, base: nn.Module) -> None:
            super().__init__()
            self.base_layer = base

        def forward(self, ids: Any) -> Any:
            return self.base_layer(ids)

    model = tiny_bert()
    before = available_sites(model)
    model.bert.embeddings.word_embeddings = Adapted(model.bert.embeddings.word_embeddings)
    assert available_sites(model) == before


def test_whoever_overrides_the_step_gets_all_of_the_loss(tmp_path: Path) -> None:
    """With two classes VAT with KL may differentiate the cross-entropy early; not where somebody scales what is left."""

    class Nothing(PDRTrainer):
        def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
            model.train()
            loss = self.compute_loss(model, self._prepare_inputs(inputs)) * 0.0
            self.accelerator.backward(loss)
            return loss.detach()

    model = tiny_bert(num_labels=2)
    two = [{**row, "labels": row["labels"] % 2} for row in rows(8)]
    before = weights(model)
    trained(tmp_path, model, Nothing, train_dataset=two, weight_decay=0.0)
    assert torch.equal(weights(model), before)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor"),
        ({"auto_find_batch_size": True}, "auto_find_batch_size"),
    ],
)
def test_what_training_would_not_heed_is_refused(tmp_path: Path, options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        PDRTrainer(tiny_bert(), arguments(tmp_path, **options), train_dataset=rows(8))


def test_a_loss_function_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="compute_loss_func"):
        PDRTrainer(
            tiny_bert(), arguments(tmp_path), train_dataset=rows(8), compute_loss_func=lambda *_, **__: torch.zeros(())
        )


def test_fractions_are_no_classes(tmp_path: Path) -> None:
    similar = [{**row, "labels": 0.7} for row in rows(8)]
    with pytest.raises(DataError, match=r"label 0\.7, expected a class number"):
        trained(tmp_path, tiny_bert(), train_dataset=similar)
    trained(tmp_path, tiny_bert(), train_dataset=[{**row, "labels": float(row["labels"])} for row in rows(8)])


def test_a_loss_outside_of_a_step_is_a_mean_and_is_not_logged(tmp_path: Path) -> None:
    found: list[float] = []

    class Looks(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            kwargs["model"].train()
            found.append(float(trainer.compute_loss(kwargs["model"], dict(batch)).detach()))

    model = tiny_bert(dropout=0.0)
    batch = {
        "input_ids": torch.tensor([row["input_ids"] for row in rows(4)]),
        "labels": torch.tensor([row["labels"] for row in rows(4)]),
    }
    options: dict[str, Any] = {"train_dataset": rows(8), "callbacks": [Looks()]}
    trainer = PDRTrainer(model, arguments(tmp_path, max_steps=1), **options)
    trainer.train()
    expected = float(Objective(None)(model, batch).loss.detach())
    assert [*found, float(trainer.compute_loss(model, batch).detach())] == pytest.approx([expected] * 2)
    assert [entry["labelled_share"] for entry in trainer.state.log_history if "ce" in entry] == [1.0]
    trainer.log({"loss": 0.5})
    assert "ce" not in trainer.state.log_history[-1]


def test_a_loader_of_ones_own(tmp_path: Path) -> None:
    class Own(PDRTrainer):
        def get_train_dataloader(self) -> Any:
            made = [{name: torch.tensor(value) for name, value in row.items()} for row in rows(8)]
            return DataLoader(made, batch_size=4)  # type: ignore[arg-type]

    trainer = trained(tmp_path, tiny_bert(), Own, unlabelled_dataset=None)
    assert trainer.state.global_step == 3


def test_a_model_may_be_made_by_the_trainer(tmp_path: Path) -> None:
    trainer = trained(tmp_path, None, model_init=lambda: tiny_bert(num_labels=3))
    first = weights(trainer.model)
    trainer.train()  # a new one, which takes the steps of the first
    assert torch.equal(weights(trainer.model), first)


def test_nothing_lives_on_when_the_trainer_is_gone(tmp_path: Path) -> None:
    """A circle of references would keep two copies of the weights until somebody looks for garbage."""
    gc.collect()
    gc.disable()
    try:
        trainer = PDRTrainer(tiny_bert(), arguments(tmp_path, max_steps=1), train_dataset=rows(8), regularizer=RPT())
        trainer.add_callback(Balance(trainer))
        alive = weakref.ref(trainer)
        del trainer
        assert alive() is None
    finally:
        gc.enable()


def test_the_balance_is_measured_with_dropout_on(tmp_path: Path) -> None:
    """A model as it was loaded is in evaluation mode, and R-Drop nothing there."""
    model = tiny_bert(dropout=0.3).eval()
    trainer = PDRTrainer(
        model,
        arguments(tmp_path, max_steps=1),
        train_dataset=rows(8),
        unlabelled_dataset=rows(8, labelled=False, seed=1),
        regularizer=RDrop("kl"),
    )
    trainer.add_callback(Balance(trainer))
    trainer.train()
    assert next(entry["r_gradient"] for entry in trainer.state.log_history if "r_gradient" in entry) > 0


@pytest.mark.parametrize("regularizer", [RPT("power:0.3", radius=2.0), VAT("shl", search="power"), RDrop("kl")])
def test_regularizers_go_to_other_processes(regularizer: Any) -> None:
    model = tiny_bert(dropout=0.0)
    batch = {"input_ids": torch.tensor([row["input_ids"] for row in rows(4)])}
    ids = torch.arange(4)
    before = regularizer(model, batch, row_ids=ids)
    for other in (pickle.loads(pickle.dumps(regularizer)), copy.deepcopy(regularizer)):  # our own
        assert other.divergence.name == regularizer.divergence.name
        torch.testing.assert_close(other(model, batch, row_ids=ids), before, rtol=0, atol=0)


class Directions(RPT):
    """Random noise that remembers in which direction it moved each row."""

    def noise(self, model: Any, inputs: Any, clean: Any, *, row_ids: Any = None) -> Any:
        made = super().noise(model, inputs, clean, row_ids=row_ids)
        for row, one in zip(row_ids.tolist(), made, strict=True):
            self.given.setdefault(row, []).append(torch.sign(one.flatten()).tolist())
        return made


@pytest.mark.parametrize(("unlabelled", "comes_again"), [(4, True), (16, False)])
def test_a_row_that_comes_again_within_an_epoch_has_other_noise(
    tmp_path: Path, unlabelled: int, comes_again: bool
) -> None:
    regularizer = Directions("kl")
    regularizer.given = {}  # type: ignore[attr-defined]
    pool = rows(unlabelled, labelled=False, seed=1)
    trainer = PDRTrainer(
        tiny_bert(dropout=0.0),
        arguments(tmp_path, num_train_epochs=1),
        train_dataset=rows(16),
        unlabelled_dataset=pool,
        regularizer=regularizer,
        ratio=1.0,
        zero_noise_every=0,
    )
    trainer.train()
    given: dict[int, list[list[float]]] = regularizer.given  # type: ignore[attr-defined]
    visits = [given[row] for row in range(16, 16 + unlabelled)]
    assert {len(those) for those in visits} == {4 if comes_again else 1}
    for those in visits:
        assert len({tuple(one) for one in those}) == len(those)


def test_whether_rows_repeat_is_known() -> None:
    assert not MixedBatchSampler(8, 8, 4).repeats
    assert not MixedBatchSampler(8, [8, None], 4, ratio=1.0).repeats
    assert MixedBatchSampler(8, 3, 4, ratio=1.0).repeats
    assert MixedBatchSampler([2, 8], 8, 4, labelled_weights=[1, 1]).repeats
    assert MixedBatchSampler(8, [3, 20], 4, ratio=1.0, unlabelled_weights=[1, 1]).repeats
