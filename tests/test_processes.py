"""Two processes against one: the same losses and weights from the same rows, and the same gradients everywhere."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback, TrainingArguments

from ssl_pdr import RPT, VAT, PDRTrainer
from ssl_pdr.errors import ConfigError
from ssl_pdr.processes import Processes, join
from ssl_pdr.regularizers import AdversarialTraining, JacobianRegularizer, Regularizer
from tests.conftest import enable_checkpointing, tiny_bert
from tests.ranks import two_ranks

GLOBAL = 8

pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo to join two processes")


def in_two_processes(function: str, folder: Path, codes: tuple[int, int] = (0, 0)) -> list[str]:
    """Call a function of a module of the tests, `module:name`, in two processes, with a folder; what each printed."""
    module, _, name = function.partition(":")
    code = f"import sys; from pathlib import Path; from {module} import {name}; {name}(Path(sys.argv[1]))"
    return two_ranks(["-c", code, str(folder)], codes)


# --- the trainer ---


@dataclasses.dataclass(frozen=True)
class Case:
    """A way to train, made anew in each process."""

    regularizer: Callable[[], Regularizer] | None
    accumulation: int = 1
    labelled: int = 6
    unlabelled: int = 26
    checkpoints: bool = False


CASES = {
    "plain": Case(None, 2),
    "rpt shl, order 2": Case(lambda: RPT("shl", 0.1, order=2), 2),
    "vat shl, power": Case(lambda: VAT("shl", 0.5, search="power")),
    "vat kl detached, power": Case(lambda: VAT("kl", 0.5, search="power", target_grad="detach"), 2),
    "vat shl, exact": Case(lambda: VAT("shl", 0.5), 2),
    "vat kl detached, exact": Case(lambda: VAT("kl", 0.5, target_grad="detach")),
    "vat kl detached, exact, all labelled": Case(lambda: VAT("kl", 0.5, target_grad="detach"), 2, 32, 0),
    "vat kl detached, exact, checkpoints": Case(lambda: VAT("kl", 0.5, target_grad="detach"), 2, checkpoints=True),
    "at": Case(lambda: AdversarialTraining(0.5)),
    "jr": Case(lambda: JacobianRegularizer(projections=1), 2),
}


def rows(count: int, *, labelled: bool, seed: int) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 60, (count, 6), generator=generator)
    return [{"input_ids": row.tolist(), **({"labels": int(row[0]) % 2} if labelled else {})} for row in ids]


class Watch(TrainerCallback):
    """Keeps the gradients and the logged losses of every step."""

    def __init__(self) -> None:
        self.gradients: list[torch.Tensor] = []
        self.losses: list[list[float]] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        parameters = [p for p in kwargs["model"].parameters() if p.grad is not None]
        self.gradients.append(torch.cat([p.grad.flatten().clone() for p in parameters]))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if "loss" in logs:
            names = ("loss", "ce", "r", "accuracy", "labelled_share", "r_row_weight")
            self.losses.append([float(logs[name]) for name in names])


def play(case: Case, folder: Path) -> dict[str, Any]:
    """Train as a case says, on this process's part; what there was to see."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=GLOBAL // world // case.accumulation,
        gradient_accumulation_steps=case.accumulation,
        num_train_epochs=1,
        learning_rate=0.1,
        optim="sgd",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        seed=3,
        dataloader_pin_memory=False,
    )
    model = tiny_bert(num_labels=2, dropout=0.0, dtype=torch.float64)
    if case.checkpoints:
        enable_checkpointing(model)
    watch = Watch()
    trainer = PDRTrainer(
        model,
        arguments,
        train_dataset=rows(case.labelled, labelled=True, seed=0),
        unlabelled_dataset=rows(case.unlabelled, labelled=False, seed=1) or None,
        regularizer=None if case.regularizer is None else case.regularizer(),
        zero_noise_every=2,
        callbacks=[watch],
    )
    batches = [batch["labels"] for batch in trainer.get_train_dataloader()]
    labelled = [int((labels >= 0).sum()) for labels in batches]
    trainer.train()
    weights = torch.cat([p.detach().flatten() for p in trainer.accelerator.unwrap_model(trainer.model).parameters()])
    return {
        "losses": torch.tensor(watch.losses, dtype=torch.float64),
        "gradients": torch.stack(watch.gradients),
        "weights": weights,
        "labelled": labelled,
    }


def play_all(folder: Path) -> None:
    seen = {name: play(case, folder) for name, case in CASES.items()}
    torch.save(seen, folder / f"{os.environ['RANK']}.pt")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("pair")
    in_two_processes("tests.test_processes:play_all", folder)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", CASES)
def test_two_processes_go_the_way_of_one(name: str, pair: list[dict[str, Any]], tmp_path: Path) -> None:
    alone = play(CASES[name], tmp_path)
    both = [rank[name] for rank in pair]
    assert torch.equal(both[0]["gradients"], both[1]["gradients"])
    assert torch.equal(both[0]["weights"], both[1]["weights"])
    assert len(alone["losses"]) == 4
    assert alone["gradients"].abs().amax(dim=1).min() > 1e-3  # all of them say something
    for rank in both:
        torch.testing.assert_close(rank["gradients"], alone["gradients"], rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(rank["weights"], alone["weights"], rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(rank["losses"], alone["losses"], rtol=1e-6, atol=1e-9)
    if CASES[name].labelled < 8:
        assert 0 in both[0]["labelled"] + both[1]["labelled"]  # a process without a labelled row
        assert both[0]["labelled"] != both[1]["labelled"]


# --- what is refused ---


def test_an_environment_that_names_processes_and_not_which_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert join() == Processes()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    for name in ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    join.cache_clear()
    with pytest.raises(ConfigError, match="WORLD_SIZE is 2, but LOCAL_RANK and MASTER_ADDR and MASTER_PORT not set"):
        join()


def test_processes_that_would_train_apart_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    arguments = TrainingArguments(output_dir=str(tmp_path), report_to="none", use_cpu=True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="2 processes.* use_cpu=True"):
        PDRTrainer(tiny_bert(), arguments, train_dataset=rows(4, labelled=True, seed=0))


@pytest.mark.parametrize("options", [{"fsdp": True}, {"fsdp": "full_shard"}])
def test_sharding_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    arguments = TrainingArguments(output_dir=str(tmp_path), report_to="none", use_cpu=True, **options)
    with pytest.raises(ConfigError, match="FSDP"):
        PDRTrainer(tiny_bert(), arguments, train_dataset=rows(4, labelled=True, seed=0), regularizer=VAT("shl"))
