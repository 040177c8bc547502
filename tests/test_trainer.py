"""The trainer against the plain one, against a plain loop, and against each trap of the Trainer that is known."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, IterableDataset
from safetensors.torch import load_file
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerCallback, TrainingArguments

from ssl_pdr import RPT, VAT, Counts, Objective, PDRTrainer, RDrop
from ssl_pdr.alignment import MARGINALS_FILE
from ssl_pdr.data import streams
from ssl_pdr.data.collate import Mixture
from ssl_pdr.data.mixing import compose
from ssl_pdr.data.streams import Stream, StreamError
from ssl_pdr.errors import ConfigError, NonFiniteLossError
from ssl_pdr.step_sums import SUMS_FILE
from tests.conftest import tiny_bert
from tests.ranks import two_ranks

ROOT = Path(__file__).parent.parent


def rows(count: int, *, labelled: bool = True, seed: int = 0) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 60, (count, 6), generator=generator)
    made = [{"input_ids": row.tolist(), "attention_mask": [1] * 6} for row in ids]
    return [{**row, "labels": int(row["input_ids"][0]) % 3} for row in made] if labelled else made


def arguments(folder: Path, **options: Any) -> TrainingArguments:
    defaults: dict[str, Any] = {
        "per_device_train_batch_size": 8,
        "num_train_epochs": 2,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "seed": 3,
        "dataloader_pin_memory": False,
    }
    return TrainingArguments(output_dir=str(folder), **{**defaults, **options})


class Losses(TrainerCallback):
    def __init__(self) -> None:
        self.logs: list[dict[str, float]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if "loss" in logs:
            self.logs.append(dict(logs))


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def fit(
    folder: Path, model: Any, *, labelled: int = 12, unlabelled: int = 12, **options: Any
) -> list[dict[str, float]]:
    losses = Losses()
    trainer_options = {
        name: options.pop(name) for name in ("regularizer", "alpha", "ratio", "zero_noise_every") if name in options
    }
    trainer = PDRTrainer(
        model,
        arguments(folder, **options),
        train_dataset=rows(labelled),
        unlabelled_dataset=rows(unlabelled, labelled=False, seed=1) if unlabelled else None,
        callbacks=[losses],
        **trainer_options,
    )
    trainer.train()
    return losses.logs


class InOrder(Trainer):
    """The plain Trainer, fed the order that ours takes."""

    order: torch.utils.data.Sampler[Any]

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
        return self.order


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_alpha_zero_without_unlabelled_rows_is_the_plain_trainer(tmp_path: Path, dropout: float) -> None:
    ours, plain = tiny_bert(dropout=dropout), tiny_bert(dropout=dropout)
    trainer = PDRTrainer(
        ours, arguments(tmp_path, num_train_epochs=1), train_dataset=rows(20), regularizer=RPT("kl"), alpha=0.0
    )
    order = [i for batch in trainer.get_train_dataloader().batch_sampler for i in batch]
    trainer.train()
    reference = InOrder(plain, arguments(tmp_path, num_train_epochs=1), train_dataset=[rows(20)[i] for i in order])
    reference.order = SequentialSampler(order)
    reference.train()
    torch.testing.assert_close(weights(ours), weights(plain), rtol=1e-5, atol=1e-6)


def test_trainer_and_plain_loop_take_the_same_path(tmp_path: Path) -> None:
    by_trainer, by_loop = tiny_bert(dropout=0.0), tiny_bert(dropout=0.0)
    trainer = PDRTrainer(
        by_trainer,
        arguments(tmp_path, optim="sgd", lr_scheduler_type="constant", max_grad_norm=0.0),
        train_dataset=rows(12),
        unlabelled_dataset=rows(12, labelled=False, seed=1),
        regularizer=VAT("shl", 0.3),
        alpha=2.0,
    )
    loader = trainer.get_train_dataloader()
    trainer.train()

    regularizer = VAT("shl", 0.3)
    objective = Objective(regularizer, alpha=2.0)
    optimizer = torch.optim.SGD(by_loop.parameters(), lr=1e-2)
    for epoch in range(2):
        regularizer.set_epoch(epoch)
        loader.batch_sampler.set_epoch(epoch)
        for batch in loader:
            objective(by_loop, batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    torch.testing.assert_close(weights(by_trainer), weights(by_loop), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("regularizer", [None, RPT("kl", 0.5), VAT("shl", 0.5)])
def test_batch_8_is_1_times_8(tmp_path: Path, regularizer: Any) -> None:
    """Trap 10 (a), trap 11: accumulation changes neither the loss that is logged nor the path; the last step is short."""
    results = []
    for size, accumulation in ((8, 1), (1, 8), (4, 2)):
        model = tiny_bert(dropout=0.0)
        logs = fit(
            tmp_path,
            model,
            labelled=10,
            unlabelled=11,
            regularizer=regularizer,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=accumulation,
            optim="sgd",
        )
        results.append((weights(model), [entry["loss"] for entry in logs], [entry["ce"] for entry in logs]))
    for other in results[1:]:
        torch.testing.assert_close(other[0], results[0][0], rtol=1e-4, atol=1e-5)
        assert other[1] == pytest.approx(results[0][1], rel=1e-3)
        assert other[2] == pytest.approx(results[0][2], rel=1e-3)


def test_a_loss_that_is_not_finite_stops_with_the_part_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    """Trap 10 (b): with the Trainer's filter on, NaN is logged as 0.0 and the run succeeds."""
    model = tiny_bert()

    class Poison(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 3:
                model.classifier.weight.data.fill_(float("nan"))

    trainer = PDRTrainer(
        model,
        arguments(tmp_path, save_strategy="steps", save_steps=2),
        train_dataset=rows(40),
        regularizer=RPT("kl"),
        callbacks=[Poison()],
    )
    with pytest.raises(NonFiniteLossError, match="the loss is not finite at step 4: cross-entropy is nan"):
        trainer.train()
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-2"]


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    model = tiny_bert()

    class Poison(TrainerCallback):
        def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 1:
                model.classifier.weight.data[0, 0] = float("inf")

    trainer = PDRTrainer(
        model, arguments(tmp_path, save_strategy="steps", save_steps=2), train_dataset=rows(40), callbacks=[Poison()]
    )
    with pytest.raises(NonFiniteLossError, match="a weight became NaN or infinite by step 2"):
        trainer.train()
    assert list(tmp_path.glob("checkpoint-*")) == []


def test_an_infinite_regularizer_is_named(tmp_path: Path) -> None:
    class Broken(RDrop):
        def penalty(self, model: Any, inputs: Any, clean: Any, *, row_ids: Any = None) -> torch.Tensor:
            return super().penalty(model, inputs, clean, row_ids=row_ids) / 0.0

    with pytest.raises(NonFiniteLossError, match="step 1: R is (inf|nan)"):
        fit(tmp_path, tiny_bert(), regularizer=Broken())


def test_our_columns_reach_the_objective_and_text_does_not(tmp_path: Path) -> None:
    """Trap 10 (d): `remove_unused_columns` would drop row ids; text left in a table would break the collator."""
    table = Dataset.from_list([{**row, "text": "left over"} for row in rows(12)])
    trainer = PDRTrainer(tiny_bert(), arguments(tmp_path), train_dataset=table, regularizer=RPT("kl"))
    batch = next(iter(trainer.get_train_dataloader()))
    assert set(batch) == {"input_ids", "attention_mask", "labels", "row_id", "row_weight"}
    trainer.train()


def test_evaluation_runs_without_gradients_and_without_r(tmp_path: Path) -> None:
    """Trap 18: `prediction_step` calls `compute_loss` under no_grad."""
    model = tiny_bert()
    trainer = PDRTrainer(
        model, arguments(tmp_path), train_dataset=rows(8), eval_dataset=rows(8, seed=4), regularizer=VAT("kl")
    )
    passes = []
    handle = model.bert.embeddings.register_forward_hook(lambda *_: passes.append(torch.is_grad_enabled()))
    metrics = trainer.evaluate()
    handle.remove()
    assert passes == [False]
    assert metrics["eval_loss"] > 0


def test_several_visible_gpus_without_a_launcher_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = arguments(tmp_path)
    monkeypatch.setattr(TrainingArguments, "n_gpu", 2)
    with pytest.raises(ConfigError, match="torchrun --nproc-per-node 2"):
        PDRTrainer(tiny_bert(), args, train_dataset=rows(8))


def test_activation_checkpointing_is_never_reentrant(tmp_path: Path) -> None:
    """Trap 8: the reentrant kind breaks `autograd.grad`."""
    names = {
        field.name for field in dataclasses.fields(TrainingArguments)
    }  # transformers 5.20 knows the second one only
    name = "activation_checkpointing" if "activation_checkpointing" in names else "gradient_checkpointing"
    fit(tmp_path, tiny_bert(), regularizer=VAT("kl"), num_train_epochs=1, **{name: True})


def test_each_step_has_the_exact_mix_and_the_log_has_the_parts(tmp_path: Path) -> None:
    logs = fit(tmp_path, tiny_bert(), labelled=12, unlabelled=36, regularizer=RPT("kl"), alpha=2.0, zero_noise_every=2)
    assert len(logs) == 12
    for entry in logs:
        assert entry["labelled_share"] == 0.25
        assert entry["r_row_weight"] == 0.5
        assert entry["loss"] == pytest.approx(entry["ce"] + 2.0 * entry["r"], rel=1e-3)
        assert 0.0 <= entry["accuracy"] <= 1.0
    assert ["r_zero_noise" in entry for entry in logs] == [True, False] * 6
    json.dumps(logs)


def test_measuring_r_at_zero_noise_does_not_change_the_run(tmp_path: Path) -> None:
    final = []
    for every in (0, 1):
        model = tiny_bert(dropout=0.2)
        fit(tmp_path, model, regularizer=RPT("kl"), zero_noise_every=every)
        final.append(weights(model))
    assert torch.equal(*final)


def test_resume_in_the_middle_of_an_epoch_is_exact(tmp_path: Path) -> None:
    """Trap 14: set_epoch has to reach the sampler again, and noise and dropout have to go on where they were."""

    def trainer(model: Any) -> PDRTrainer:
        return PDRTrainer(
            model,
            arguments(tmp_path, save_strategy="steps", save_steps=5, num_train_epochs=3),
            train_dataset=rows(12),
            unlabelled_dataset=rows(20, labelled=False, seed=1),
            regularizer=VAT("kl", 0.3),
            ratio=1.5,
        )

    whole, resumed = tiny_bert(dropout=0.2), tiny_bert(dropout=0.2)
    trainer(whole).train()
    trainer(resumed).train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    assert torch.equal(weights(whole), weights(resumed))


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("steps", [5, 6])  # within an epoch, and at the end of one
def test_going_on_from_the_end_takes_no_step(tmp_path: Path, accumulation: int, steps: int) -> None:
    """A run that is killed while it is evaluated goes on from there; `Trainer` itself trains one step more."""
    models, logs = [tiny_bert(dropout=0.2) for _ in range(2)], []
    for model, checkpoint in zip(models, (None, str(tmp_path / f"checkpoint-{steps}")), strict=True):
        trainer = PDRTrainer(
            model,
            arguments(
                tmp_path,
                per_device_train_batch_size=8 // accumulation,
                gradient_accumulation_steps=accumulation,
                max_steps=steps,
                lr_scheduler_type="constant",  # one that ends at 0 would hide the step
                save_strategy="steps",
                save_steps=4,
            ),
            train_dataset=rows(12),
            unlabelled_dataset=rows(12, labelled=False, seed=1),
            regularizer=VAT("kl", 0.3),
            callbacks=[losses := Losses()],
        )
        assert trainer.train(resume_from_checkpoint=checkpoint).global_step == steps
        logs.append(losses.logs)
    assert torch.equal(weights(models[0]), weights(models[1]))
    assert [len(entries) for entries in logs] == [steps, 0]
    assert not (tmp_path / f"checkpoint-{steps + 1}").exists()


def test_no_accelerate_setting_can_change_the_mix(tmp_path: Path) -> None:
    """Trap 10 (c): `split_batches` can hand one rank no labelled row; our loader is not accelerate's to cut."""
    config = {"split_batches": True, "even_batches": True}
    logs = fit(tmp_path, tiny_bert(), labelled=12, unlabelled=36, regularizer=RPT("kl"), accelerator_config=config)
    assert {entry["labelled_share"] for entry in logs} == {0.25}


def test_ratio_counts_over_the_labelled_pool(tmp_path: Path) -> None:
    logs = fit(tmp_path, tiny_bert(), labelled=8, unlabelled=100, regularizer=RPT("kl"), ratio=3.0, num_train_epochs=1)
    assert len(logs) == 4
    assert {entry["labelled_share"] for entry in logs} == {0.25}


def test_counts_ignore_padding_rows() -> None:
    batch = {"labels": torch.tensor([1, -100, -100]), "row_weight": torch.tensor([1.0, 1.0, 0.0])}
    assert Counts.of(batch, batch) == Counts(2, 4)


# --- several pools, and streams ---


class Corpus:
    """Unlabelled rows from the beginning, at each iteration anew; may end or fail."""

    def __init__(self, size: int, fails_at: int | None = None) -> None:
        self.rows = rows(size, labelled=False, seed=1)
        self.fails_at = fails_at

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number, row in enumerate(self.rows):
            if number == self.fails_at:
                raise OSError("the disk is gone")
            yield row


class Seen:
    """An objective that notes which rows enter it in each step."""

    def __init__(self, trainer: PDRTrainer) -> None:
        self._trainer, self._objective = trainer, trainer.objective
        self.steps: dict[int, list[int]] = {}
        trainer.objective = self  # type: ignore[assignment]

    def __call__(self, model: Any, batch: Any, counts: Any, **options: Any) -> Any:
        ids = batch["row_id"][batch["row_weight"] > 0].tolist()
        step = self._trainer.state.global_step
        self.steps[step] = sorted(self.steps.get(step, []) + ids)
        return self._objective(model, batch, counts, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objective, name)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "BLOCK_ROWS", 10)


def streamed(
    folder: Path, corpus: Any, *, labelled: int = 60, size: int = 2, dropout: float = 0.2, **options: Any
) -> tuple[PDRTrainer, Seen]:
    """As many rows of a stream as labelled ones; of 60 steps the first 30 are a window."""
    defaults = {
        "per_device_train_batch_size": size,
        "num_train_epochs": 1,
        "save_strategy": "steps",
        "save_steps": 10**6,
    }
    trainer = PDRTrainer(
        tiny_bert(dropout=dropout),
        arguments(folder, **{**defaults, **options}),
        train_dataset=rows(labelled),
        unlabelled_dataset=Stream(corpus, name="crawl"),
        regularizer=VAT("kl", 0.3),
        ratio=1,
    )
    return trainer, Seen(trainer)


def test_mixtures_on_both_sides(tmp_path: Path) -> None:
    pools = Mixture([rows(20, labelled=False, seed=n) for n in (1, 2)], weights=[3, 1])
    labelled = Mixture([rows(7), Dataset.from_list(rows(5, seed=3))])
    trainer = PDRTrainer(
        tiny_bert(),
        arguments(tmp_path),
        train_dataset=labelled,
        unlabelled_dataset=pools,
        regularizer=RPT("kl"),
        ratio=1,
    )
    seen = Seen(trainer)
    trainer.train()
    assert len(seen.steps) == 6
    assert all(sum(row < 12 for row in step) == 4 == len(step) // 2 for step in seen.steps.values())
    for epoch in range(2):
        ids = [row for step in range(3 * epoch, 3 * epoch + 3) for row in seen.steps[step]]
        assert sorted(row for row in ids if row < 12) == list(range(12))
        assert sum(12 <= row < 32 for row in ids) == 9
        assert sum(row >= 32 for row in ids) == 3


@pytest.mark.parametrize("kind", ["iterable", "stream", "encoded"])
def test_a_stream_is_trained_on(tmp_path: Path, kind: str) -> None:
    plain = rows(24, labelled=False, seed=1)
    corpora = {
        "iterable": IterableDataset.from_generator(lambda: iter(plain)),
        "stream": Stream(Corpus(24)),
        "encoded": Stream([{"n": n} for n in range(24)], lambda found: [plain[row["n"]] for row in found]),
    }
    inputs: list[list[int]] = []

    class Noting(RPT):
        def penalty(self, model: Any, batch: Any, clean: Any, *, row_ids: Any = None) -> torch.Tensor:
            inputs.extend(batch["input_ids"][batch["labels"] < 0].tolist())
            return super().penalty(model, batch, clean, row_ids=row_ids)

    trainer = PDRTrainer(
        tiny_bert(),
        arguments(tmp_path, num_train_epochs=1),
        train_dataset=rows(12),
        unlabelled_dataset=corpora[kind],
        regularizer=Noting("kl"),
        ratio=2,
    )
    seen = Seen(trainer)
    trainer.train()
    assert sorted(row for step in seen.steps.values() for row in step) == list(range(36))
    assert [sum(row < 12 for row in step) for step in seen.steps.values()] == compose(12, 24, 8)[:, 0].tolist()
    assert sorted(inputs) == sorted(row["input_ids"] for row in plain)


# Where a stream stops: 40 rows are four blocks, of which the second window of a long epoch wants 60, and row 45 is in the
# fifth; a second epoch of 20 labelled rows wants 40.
STOPS = [
    pytest.param(Corpus(40), {}, 30, "ended after 40 rows, .* up to row 60", id="ends"),
    pytest.param(Corpus(200, fails_at=45), {}, 30, "failed in rows 41 to 50: OSError: the disk is gone", id="fails"),
    pytest.param(Corpus(40), {"dataloader_num_workers": 2}, 30, "ended after 40 rows", id="ends-in-workers"),
    pytest.param(
        Corpus(20),
        {"labelled": 20, "size": 4, "num_train_epochs": 2},
        10,
        "ended after 20 rows",
        id="ends-with-the-epoch",
    ),
    pytest.param(Corpus(10), {"labelled": 20, "size": 4}, 0, "ended after 10 rows", id="is-too-short-for-a-step"),
]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("stops", "options", "step", "message"), STOPS)
def test_a_stream_that_stops_leaves_a_checkpoint_that_goes_on_as_if_it_had_not(
    tmp_path: Path, stops: Corpus, options: dict[str, Any], step: int, message: str
) -> None:
    whole, expected = streamed(tmp_path / "whole", Corpus(200), **options)
    whole.train()
    stopped, seen = streamed(tmp_path / "run", stops, **options)
    with pytest.raises(StreamError, match=f"^training stopped at step {step}: crawl {message}") as caught:
        stopped.train()
    assert "\n" not in str(caught.value)
    assert stopped.cut_short
    assert list(seen.steps) == list(range(step))
    [checkpoint] = (tmp_path / "run").glob("checkpoint-*")
    assert json.loads((checkpoint / "trainer_state.json").read_text())["global_step"] == step
    assert checkpoint.name == f"checkpoint-{step}"

    resumed, rest = streamed(tmp_path / "run", Corpus(200), **options)
    resumed.train(resume_from_checkpoint=str(checkpoint))
    assert not resumed.cut_short
    assert {**seen.steps, **rest.steps} == expected.steps
    assert torch.equal(weights(resumed.model), weights(whole.model))


@pytest.mark.usefixtures("small_blocks")
def test_without_checkpoints_a_stream_that_stops_is_an_error_all_the_same(tmp_path: Path) -> None:
    trainer, _ = streamed(tmp_path, Corpus(40), save_strategy="no")
    with pytest.raises(StreamError, match="stopped at step 30"):
        trainer.train()
    assert list(tmp_path.glob("checkpoint-*")) == []


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("accumulation", "workers"), [(1, 2), (2, 0), (2, 2)])
def test_resume_within_an_epoch_is_an_uninterrupted_run(tmp_path: Path, accumulation: int, workers: int) -> None:
    options = {
        "labelled": 20,
        "size": 8 // accumulation,
        "gradient_accumulation_steps": accumulation,
        "num_train_epochs": 3,
        "save_steps": 7,
        "dataloader_num_workers": workers,
    }
    whole, expected = streamed(tmp_path, Corpus(200), **options)
    whole.train()
    assert len(expected.steps) == 15
    resumed, rest = streamed(tmp_path, Corpus(200), **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-7"))
    assert rest.steps == {step: ids for step, ids in expected.steps.items() if step >= 7}
    assert torch.equal(weights(resumed.model), weights(whole.model))


@pytest.mark.usefixtures("small_blocks")
def test_data_workers_end_with_the_training(tmp_path: Path) -> None:
    """They outlive an epoch, so that none reads the stream from its beginning again; left to the garbage collector, they end late."""
    trainer, _ = streamed(tmp_path, Corpus(200), labelled=8, size=8, num_train_epochs=2, dataloader_num_workers=2)
    before = set(multiprocessing.active_children())
    during: set[frozenset[int | None]] = set()

    class Watch(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            during.add(frozenset(child.pid for child in set(multiprocessing.active_children()) - before))

    trainer.add_callback(Watch())
    trainer.train()
    assert [len(workers) for workers in during] == [2]
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.parametrize(
    "labelled",
    [Stream(rows(20)), Mixture([rows(5), Stream(rows(20))]), Dataset.from_list(rows(9)).to_iterable_dataset()],
)
def test_labelled_data_cannot_be_a_stream(tmp_path: Path, labelled: Any) -> None:
    with pytest.raises(ConfigError, match="train_dataset: got a stream, expected data with a length"):
        PDRTrainer(tiny_bert(), arguments(tmp_path), train_dataset=labelled)


@pytest.mark.parametrize("corpus", [Stream(Corpus(9)), Dataset.from_list(rows(9)).to_iterable_dataset()])
def test_a_stream_needs_a_number_as_ratio(tmp_path: Path, corpus: Any) -> None:
    trainer = PDRTrainer(tiny_bert(), arguments(tmp_path), train_dataset=rows(8), unlabelled_dataset=corpus)
    with pytest.raises(ConfigError, match="ratio: a streamed corpus has no length"):
        trainer.train()


# --- two processes ---


TWO = """
import json, sys
from pathlib import Path
from ssl_pdr.errors import DataError
from tests.test_trainer import Corpus, streamed, weights

folder = Path(sys.argv[1])
trainer, seen = streamed(folder, Corpus(60), labelled=21, size=2, dropout=0.0, optim="sgd", save_steps=4)
trainer.train()
note = {"steps": seen.steps, "weights": weights(trainer.accelerator.unwrap_model(trainer.model)).tolist()}
rank = trainer.args.process_index
failing, none = streamed(folder / "failing", Corpus(60, fails_at=9 if rank else None), labelled=21)
try:
    failing.train()
except DataError as error:
    note.update(error=str(error), steps_taken=len(none.steps))
(folder / f"seen-{rank}-of-{trainer.args.world_size}.json").write_text(json.dumps(note))
"""


def two_processes(script: Path, folder: Path) -> list[dict[str, Any]]:
    """Run a script as two ranks, joined by gloo; what each noted."""
    two_ranks([str(script), str(folder)])
    return [json.loads((folder / f"seen-{rank}-of-2.json").read_text()) for rank in range(2)]


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo to join two processes")
def test_two_processes_take_the_steps_of_one_and_hand_over_to_it(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(TWO)
    both = two_processes(tmp_path / "two.py", tmp_path)
    alone, seen = streamed(tmp_path / "one", Corpus(60), labelled=21, size=4, dropout=0.0, optim="sgd")
    alone.train()
    assert len(seen.steps) == 11
    for step, ids in seen.steps.items():
        parts = [rank["steps"].get(str(step), []) for rank in both]
        assert sorted(parts[0] + parts[1]) == ids
        assert abs(len(parts[0]) - len(parts[1])) <= 1
    for rank in both:
        torch.testing.assert_close(torch.tensor(rank["weights"]), weights(alone.model), rtol=1e-3, atol=1e-4)

    stopped = "training stopped at step 0: "  # on both, though the stream of one had rows
    assert both[0]["error"] == f"{stopped}a stream failed on another process"
    assert both[1]["error"] == f"{stopped}crawl failed in rows 1 to 8192: OSError: the disk is gone"
    assert [rank["steps_taken"] for rank in both] == [0, 0]

    resumed, rest = streamed(tmp_path, Corpus(60), labelled=21, size=4, dropout=0.0, optim="sgd")
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert rest.steps == {step: ids for step, ids in seen.steps.items() if step >= 4}


def test_whoever_changes_the_loss_changes_all_of_it(tmp_path: Path) -> None:
    """Two classes and a detached clean side: the cross-entropy would be differentiated before a subclass sees the loss."""

    class Half(PDRTrainer):
        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            return 0.5 * super().compute_loss(*args, **kwargs)

    norms = []
    for kind in (PDRTrainer, Half):
        model = tiny_bert(num_labels=2, dropout=0.0)
        options = arguments(tmp_path, num_train_epochs=1, max_grad_norm=1e9)
        data = [{**row, "labels": row["labels"] % 2} for row in rows(8)]
        trainer = kind(model, options, train_dataset=data, regularizer=VAT("kl", 0.3))
        trainer.train()
        norms.append(trainer.state.log_history[0]["grad_norm"])
    assert norms[1] == pytest.approx(norms[0] / 2, rel=1e-4)


# --- what is logged over a checkpoint ---


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_log_of_a_resumed_run_is_that_of_one_that_was_not_stopped(tmp_path: Path, accumulation: int) -> None:
    """The checkpoint lies between two logs: the steps before it are in the mean that is logged after it."""
    logs = []
    for resumed in (False, True):
        losses = Losses()
        trainer = PDRTrainer(
            tiny_bert(num_labels=3, dropout=0.2),
            arguments(
                tmp_path,
                per_device_train_batch_size=8 // accumulation,
                gradient_accumulation_steps=accumulation,
                num_train_epochs=4,
                logging_steps=5,
                save_strategy="steps",
                save_steps=8,
            ),
            train_dataset=rows(15),
            unlabelled_dataset=rows(25, labelled=False, seed=1),
            regularizer=VAT("kl", 0.3),
            callbacks=[losses],
            zero_noise_every=3,
        )
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-8") if resumed else None)
        logs.append([{**entry} for entry in losses.logs])
    assert [len(entries) for entries in logs] == [4, 3]
    assert logs[0][1:] == logs[1]
    assert "r_zero_noise" in logs[1][0]  # measured in step 6, before the checkpoint


def test_sums_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    trainer, _ = aligned(tmp_path, save_strategy="steps", save_steps=5, max_steps=5)
    trainer.train()
    (tmp_path / "checkpoint-5" / SUMS_FILE).write_bytes(b"no tensors")
    with pytest.raises(
        ConfigError, match="cannot read .*sums.safetensors, the sums that the log goes on with: "
    ) as error:
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    assert "\n" not in str(error.value)


# --- aligned classes ---


def aligned(
    folder: Path, align: float = 0.7, *, dropout: float = 0.2, classes: int = 3, **options: Any
) -> tuple[PDRTrainer, Losses]:
    """15 steps of 8 rows, 3 of them labelled."""
    losses = Losses()
    data = [{**row, "labels": row["labels"] % classes} for row in rows(15)]
    trainer = PDRTrainer(
        tiny_bert(num_labels=classes, dropout=dropout),
        arguments(folder, **{"num_train_epochs": 3, **options}),
        train_dataset=data,
        unlabelled_dataset=rows(25, labelled=False, seed=1),
        regularizer=VAT("kl", 0.3),
        alpha=2.0,
        align=align,
        callbacks=[losses],
        zero_noise_every=4,
    )
    return trainer, losses


def test_against_a_target_of_its_own_r_is_no_matter_of_rounding(tmp_path: Path) -> None:
    trainer, losses = aligned(tmp_path)
    trainer.train()
    assert len(losses.logs) == 15
    for entry in losses.logs:
        assert entry["loss"] == pytest.approx(entry["ce"] + 2.0 * entry["r"], rel=1e-4)
        assert "r_above_rounding" not in entry
    assert [step for step, entry in enumerate(losses.logs) if "r_zero_noise" in entry] == [0, 4, 8, 12]


def test_aligned_batch_8_is_2_times_4(tmp_path: Path) -> None:
    results = []
    for size, accumulation in ((8, 1), (4, 2), (1, 8)):
        cut = {"per_device_train_batch_size": size, "gradient_accumulation_steps": accumulation}
        trainer, losses = aligned(tmp_path, dropout=0.0, optim="sgd", **cut)
        trainer.train()
        results.append((weights(trainer.model), means_of(trainer), [entry["loss"] for entry in losses.logs]))
    for other in results[1:]:
        torch.testing.assert_close(other[:2], results[0][:2], rtol=1e-4, atol=1e-5)
        assert other[2] == pytest.approx(results[0][2], rel=1e-3)


def means_of(trainer: PDRTrainer) -> torch.Tensor:
    assert trainer.objective.marginals is not None
    assert trainer.objective.marginals.means is not None
    return trainer.objective.marginals.means


def test_the_frequencies_of_labelled_rows_are_taken_once_a_step(tmp_path: Path) -> None:
    cut: dict[str, Any] = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "max_steps": 3}
    trainer, _ = aligned(tmp_path, **cut)
    batches = iter(trainer.get_train_dataloader())
    expected = torch.full((3,), 1 / 3)
    for _ in range(3):
        labels = torch.cat([next(batches)["labels"] for _ in range(2)])
        expected = 0.7 * expected + 0.3 * torch.bincount(labels[labels >= 0], minlength=3) / (labels >= 0).sum()
    trainer.train()
    torch.testing.assert_close(means_of(trainer)[0], expected)
    assert float(means_of(trainer)[1].sum()) == pytest.approx(1.0)


@pytest.mark.parametrize("how", ["path", "last"])
def test_a_run_with_running_means_resumes_to_the_last_bit(tmp_path: Path, how: str) -> None:
    whole, logged = aligned(tmp_path, save_strategy="steps", save_steps=4)
    whole.train()
    for step in (8, 12):
        shutil.rmtree(tmp_path / f"checkpoint-{step}")
    shutil.rmtree(tmp_path / "checkpoint-15", ignore_errors=True)
    resumed, again = aligned(tmp_path)
    resumed.train(resume_from_checkpoint=True if how == "last" else str(tmp_path / "checkpoint-4"))
    assert torch.equal(weights(resumed.model), weights(whole.model))
    assert torch.equal(means_of(resumed), means_of(whole))
    assert [entry["loss"] for entry in again.logs] == [entry["loss"] for entry in logged.logs[4:]]


def test_what_goes_on_adds_a_file_without_pickle_to_a_checkpoint(tmp_path: Path) -> None:
    names = []
    for align in (0.0, 0.8):
        folder = tmp_path / str(align)
        trainer, _ = aligned(folder, align, save_strategy="steps", save_steps=5, max_steps=5)
        trainer.train()
        names.append({path.name for path in (folder / "checkpoint-5").iterdir()})
    assert names[1] - names[0] == {MARGINALS_FILE}
    assert torch.equal(load_file(tmp_path / "0.8" / "checkpoint-5" / MARGINALS_FILE)["means"], means_of(trainer))


def test_a_checkpoint_without_it_cannot_go_on_with_it(tmp_path: Path) -> None:
    aligned(tmp_path, 0.0, save_strategy="steps", save_steps=5, max_steps=5)[0].train()
    trainer, _ = aligned(tmp_path)
    what = "cannot read .*marginals.safetensors, the running means that align goes on with: "
    with pytest.raises(ConfigError, match=what) as error:
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    assert "\n" not in str(error.value)


ALIGNED_ON_TWO = """
import json, sys
from pathlib import Path
from tests.test_trainer import aligned, means_of, weights

folder = Path(sys.argv[1])
trainer, losses = aligned(folder, dropout=0.0, classes=2, optim="sgd", per_device_train_batch_size=4, num_train_epochs=1)
trainer.train()
note = {"weights": weights(trainer.accelerator.unwrap_model(trainer.model)).tolist(), "means": means_of(trainer).tolist()}
note["loss"] = [entry["loss"] for entry in losses.logs]
(folder / f"seen-{trainer.args.process_index}-of-{trainer.args.world_size}.json").write_text(json.dumps(note))
"""


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo to join two processes")
def test_aligned_classes_on_two_processes_are_those_on_one(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(ALIGNED_ON_TWO)
    both = two_processes(tmp_path / "two.py", tmp_path)
    alone, losses = aligned(tmp_path / "one", dropout=0.0, classes=2, optim="sgd", num_train_epochs=1)
    alone.train()
    for rank in both:
        torch.testing.assert_close(torch.tensor(rank["weights"]), weights(alone.model), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(torch.tensor(rank["means"]), means_of(alone), rtol=1e-3, atol=1e-4)
    assert both[0]["loss"] == pytest.approx([entry["loss"] for entry in losses.logs], rel=1e-3)
