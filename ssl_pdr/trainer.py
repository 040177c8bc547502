"""`PDRTrainer`: a `transformers.Trainer` that mixes labelled and unlabelled rows and adds α · R to the loss."""

from __future__ import annotations

import inspect
import os
import weakref
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint

from ssl_pdr.alignment import Marginals
from ssl_pdr.data.collate import FAILURE, MixedCollator, Mixture, mix
from ssl_pdr.data.mixing import ShardedBatchSampler
from ssl_pdr.data.streams import StreamError
from ssl_pdr.diagnostics import rounding
from ssl_pdr.errors import ConfigError, NonFiniteLossError
from ssl_pdr.objective import Counts, LossParts, Objective
from ssl_pdr.outputs import row_weights
from ssl_pdr.processes import started
from ssl_pdr.regularizers import Regularizer
from ssl_pdr.sites import unwrap
from ssl_pdr.step_sums import StepSums


class PDRTrainer(Trainer):
    """Train on labelled and unlabelled rows: mean CE over labelled rows + α · mean R over all rows.

    Everything else is `transformers.Trainer`'s: mixed precision, distribution, accumulation, checkpoints, loggers.
    A global batch holds `per_device_train_batch_size × gradient_accumulation_steps × processes` rows, labelled and
    unlabelled together, of exact composition (see `MixedBatchSampler`).

    Args:
        model: a model whose output has `.logits`, or `.start_logits` and `.end_logits`; None with `model_init`.
        args: training arguments. `logging_nan_inf_filter` is turned off: a loss that is not finite is an error here.
        train_dataset: labelled rows, tokenized, with `labels`, and for answers `passage` (see `read_logits`); a `Mixture` of several such data sets.
        unlabelled_dataset: tokenized rows; an `IterableDataset` or a `Stream`, which need a number as `ratio`; a `Mixture`
            of several; None or empty for plain supervised training with R.
        regularizer: R; None for plain fine-tuning.
        alpha: weight of R, at least 0; 0 is plain fine-tuning.
        ratio: `proportional`, or unlabelled rows per labelled row.
        align: decay in [0, 1) of the running means that give R's target the labels' frequencies of classes (see `Marginals`); 0 is
            off. The means go into checkpoints.
        zero_noise_every: after how many optimizer steps to measure what is in R beside noise, two more forward passes; 0 for never:
            R without noise (`r_zero_noise`); the size of the noise that the dtype realises (`noise_norm`) and the share of it that is
            noise (`noise_kept`); R by rounding alone (`r_rounding`), and the share of R above that (`r_above_rounding`).
        **kwargs: as `transformers.Trainer` takes them (`eval_dataset`, for answers with `start_positions` and `end_positions`;
            `processing_class`, `callbacks`, …).

    Raises:
        ConfigError: for several visible GPUs without a launcher, an α that is negative or not finite, an alignment that means
            nothing to the regularizer, or what would give another loss or another batch (`label_smoothing_factor`,
            `compute_loss_func`, `auto_find_batch_size`).
        NonFiniteLossError: while training, naming the part of the loss that is not finite; the last checkpoint stays.
        StreamError: at the end of a training that a stream cut short by ending or failing; a checkpoint is saved first,
            unless `save_strategy` is "no".

    Example:
        trainer = PDRTrainer(model, args, train_dataset=labelled, unlabelled_dataset=pool,
                             regularizer=VAT("shl"), alpha=1.0, processing_class=tokenizer)
        trainer.train()
    """

    # The objective divides by the counts of the whole optimizer step: nothing is left to divide.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: nn.Module | None,
        args: TrainingArguments,
        *,
        train_dataset: Any,
        unlabelled_dataset: Any = None,
        regularizer: Regularizer | None = None,
        alpha: float = 1.0,
        ratio: str | float = "proportional",
        align: float = 0.0,
        zero_noise_every: int = 50,
        **kwargs: Any,
    ) -> None:
        _check_parallelism(args)
        _check_loss(args, kwargs.get("compute_loss_func"))
        if args.n_gpu > 1:
            raise ConfigError(
                f"{args.n_gpu} GPUs are visible to one process, which would wrap the model in nn.DataParallel; "
                f"run `torchrun --nproc-per-node {args.n_gpu} …`, or set CUDA_VISIBLE_DEVICES=0"
            )
        if None in Mixture.of(train_dataset, "train_dataset").sizes:
            raise ConfigError("train_dataset: got a stream, expected data with a length; read it to its end first")
        # With the filter on, a NaN is logged as 0.0 and the run "succeeds".
        args.logging_nan_inf_filter = False
        # The reentrant kind of checkpointing breaks autograd.grad. transformers 5.20 knows the second name only.
        for name in ("activation_checkpointing_kwargs", "gradient_checkpointing_kwargs"):
            if hasattr(args, name):
                setattr(args, name, {**(getattr(args, name) or {}), "use_reentrant": False})
        super().__init__(model=model, args=args, train_dataset=train_dataset, **kwargs)
        _check_whole(self.model)
        self.unlabelled_dataset = unlabelled_dataset
        self.objective = Objective(regularizer, alpha, align)
        self.ratio = ratio
        self.zero_noise_every = zero_noise_every
        self._failure: str | None = None
        self._counts: Counts | None = None  # of the optimizer step under way
        self._repeats = False  # whether a row may come again within an epoch
        self._sums = StepSums()
        self.add_callback(_Progress(self))

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches of exact composition, for this process; not prepared by accelerate, which would shard them again."""
        args = self.args
        rows, batches = mix(
            self.train_dataset,
            self.unlabelled_dataset,
            self._columns(),
            args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size,
            self.ratio,
            args.seed if args.data_seed is None else args.data_seed,
        )
        self._repeats = batches.repeats
        return DataLoader(
            rows,
            batch_sampler=ShardedBatchSampler(
                batches, args.per_device_train_batch_size, rank=args.process_index, world_size=args.world_size
            ),
            collate_fn=MixedCollator(self.data_collator),
            # Beginning to iterate draws a number, and how often streams begin anew must not move the dropout masks.
            generator=torch.Generator() if batches.n_streams else None,
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory and torch.cuda.is_available(),
            # Workers that begin anew in each epoch would read a stream from its beginning up to there.
            persistent_workers=args.dataloader_persistent_workers
            or (batches.n_streams > 0 and args.dataloader_num_workers > 0),
            prefetch_factor=args.dataloader_prefetch_factor,
        )

    def _columns(self) -> set[str] | None:
        """What the model takes, and `passage`; None for all columns."""
        inner: Any = unwrap(self.model)
        if hasattr(inner, "get_base_model"):  # an adapter of PEFT, whose own signature leaves names out
            inner = inner.get_base_model()
        parameters = inspect.signature(inner.forward).parameters.values()
        names = {one.name for one in parameters if one.kind is not one.VAR_KEYWORD}
        return {*names, "passage"} if names and self.args.remove_unused_columns else None

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> tuple[list[Any], Any]:
        """The micro-batches of one optimizer step; counts its labelled and all rows over all processes."""
        # The Trainer asks whether it is at the end after a step only: gone on with from its end, it would take one more.
        if self._failure is not None or self.state.global_step >= self.state.max_steps:
            return [], None
        batches = list(islice(epoch_iterator, num_batches))
        failures = [str(batch[FAILURE]) for batch in batches if FAILURE in batch]
        counts = Counts(0, 0) if failures else Counts.of(*batches)
        failed = len(failures)
        if self.args.world_size > 1:
            total = torch.tensor([counts.labelled, counts.rows, failed], device=device)
            labelled, rows, failed = self.accelerator.reduce(total, reduction="sum").tolist()
            counts = Counts(labelled, rows)
        if failed:  # on any process: then no process takes the step
            self._failure = next(iter(failures), "a stream failed on another process")
            return [], None
        self._counts = counts
        # How many labels there are is in the counts; the Trainer asks for no other number.
        return batches, None

    def train(
        self, resume_from_checkpoint: str | os.PathLike[str] | bool | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """As `Trainer.train`; a stream that cut the training short is an error at its end."""
        self._failure = None
        if resume_from_checkpoint is True:
            resume_from_checkpoint = get_last_checkpoint(str(self.args.output_dir)) or True
        self._sums = StepSums()
        if self.objective.marginals is not None:
            self.objective.marginals = Marginals(self.objective.marginals.decay)
        if isinstance(resume_from_checkpoint, (str, os.PathLike)):
            self._sums.load(Path(resume_from_checkpoint), self)
            if self.objective.marginals is not None:
                self.objective.marginals.load(Path(resume_from_checkpoint))
        try:
            outcome = super().train(resume_from_checkpoint, *args, **kwargs)
        finally:  # data workers would live on until somebody collects the loader
            self.callback_handler.train_dataloader = None
            self._counts = None
        if self._failure is not None:
            raise StreamError(f"training stopped at step {self.state.global_step}: {self._failure}")
        return outcome

    @property
    def cut_short(self) -> bool:
        """Whether a stream has ended or failed, so that no further step can be taken."""
        return self._failure is not None

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The objective while training; the model's own loss in evaluation, which runs without gradients.

        While training it may have differentiated the cross-entropy when it returns (see `Objective`), unless it or `training_step` is
        overridden. Outside of an optimizer step the batch is taken for the whole of one, and nothing is logged.
        """
        if not model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if self._counts is None:
            parts = self.objective(model, inputs)
            return (parts.loss, {"logits": parts.logits}) if return_outputs else parts.loss
        # Distributed training averages gradients over processes; the objective's counts are global already.
        world = self.args.world_size
        # Whoever overrides one of these may do something to the loss, and has to get all of it.
        alone = (type(self).compute_loss, type(self).training_step) == (PDRTrainer.compute_loss, Trainer.training_step)
        early = (lambda loss: self.accelerator.backward(loss * world)) if alone else None
        parts = self.objective(model, inputs, self._counts, backward=early)
        self._check_finite(parts)
        self._sums.add(self.state.global_step, self._counts, parts, self._measured(model, parts, self._counts))
        loss = parts.loss * world
        return (loss, {"logits": parts.logits}) if return_outputs else loss

    def note(self, name: str, value: float) -> None:
        """Have something logged that was measured in the step under way; to be called on every process, whose values add up."""
        self._sums.note(self.state.global_step, name, value)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the parts of the loss to what is logged."""
        if "loss" in logs:
            logs.update(self._sums.drain(self))
        super().log(logs, start_time)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model; weights that are not finite never reach a checkpoint."""
        if not all(bool(parameter.isfinite().all()) for parameter in self.model.parameters()):
            raise NonFiniteLossError(
                f"a weight became NaN or infinite by step {self.state.global_step}; the last checkpoint is kept: "
                "lower the learning rate, α or the radius"
            )
        super().save_model(output_dir, _internal_call)
        folder = Path(output_dir or "")
        if not folder.name.startswith(PREFIX_CHECKPOINT_DIR):
            return
        self._sums.save(folder, self)
        if self.objective.marginals is not None and self.args.should_save:
            self.objective.marginals.save(folder)

    def _measured(self, model: nn.Module, parts: LossParts, counts: Counts) -> dict[str, Tensor]:
        """This batch's shares in what is measured now and then: R without noise, and what the dtype leaves of noise and R."""
        every = self.zero_noise_every
        if every == 0 or self.state.global_step % every:
            return {}
        found = {"r_zero_noise": self.objective.at_zero_noise(model, parts, counts)}
        for batch, clean in parts.passes:
            if (one := rounding(model, batch, self.objective.regularizer, clean)) is None:
                break
            weights = row_weights(batch).to(one.r_rounding) / max(counts.rows, 1)
            for name, values in vars(one).items():
                found[name] = (values * weights).sum() + found.get(name, 0.0)
        return {name: value for name, value in found.items() if value is not None}

    def _check_finite(self, parts: LossParts) -> None:
        if bool(torch.isfinite(parts.loss)):
            return
        part = "R" if bool(torch.isfinite(parts.ce)) else "cross-entropy"
        raise NonFiniteLossError(
            f"the loss is not finite at step {self.state.global_step + 1}: {part} is {float(parts.loss.detach())}; "
            "lower the learning rate, α or the radius"
        )


def _check_loss(args: TrainingArguments, compute_loss_func: Any) -> None:
    """Refuse what the objective would not heed in training, but evaluation would, and what changes batches under way."""
    if args.label_smoothing_factor or compute_loss_func is not None:
        name = "compute_loss_func" if compute_loss_func is not None else "label_smoothing_factor"
        raise ConfigError(
            f"PDRTrainer trains on cross-entropy and R, and would use {name} in evaluation alone; leave it out, or override "
            "compute_loss"
        )
    if args.auto_find_batch_size:
        raise ConfigError(
            "PDRTrainer cannot use auto_find_batch_size, which changes the rows of a step; lower per_device_train_batch_size and "
            "raise gradient_accumulation_steps by as much: then the steps stay the same"
        )


def _check_parallelism(args: TrainingArguments) -> None:
    """Refuse processes that would train apart without saying so, and ways to cut a model up among them."""
    if (count := started()) > args.world_size:
        raise ConfigError(
            f"a launcher started {count} processes, and each would train by itself; where there are no GPUs, pass use_cpu=True "
            "to TrainingArguments, which joins them"
        )
    sharded = {
        "FSDP": bool(args.fsdp) or os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true",
        "DeepSpeed": bool(args.deepspeed) or os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true",
        "parallelism_config": getattr(args, "parallelism_config", None) is not None,
    }
    for name, used in sharded.items():
        if used:
            raise _in_pieces(name)


def _check_whole(model: nn.Module) -> None:
    """Refuse a model that is cut up among processes."""
    if any(type(parameter).__name__ == "DTensor" for parameter in model.parameters()):
        raise _in_pieces("tensor parallelism")


def _in_pieces(name: str) -> ConfigError:
    return ConfigError(
        f"PDRTrainer cannot use {name}: R takes passes that not every process takes equally often, and those of a "
        "model in pieces may wait for each other for ever; leave it out (one whole model per process), and save "
        "memory with gradient_checkpointing or bf16"
    )


class _Progress(TrainerCallback):
    """Tell samplers and noise the epoch, noise the step where rows repeat, and the running means the step; stop with a checkpoint where a stream has no more rows."""

    def __init__(self, trainer: PDRTrainer) -> None:
        self._trainer: Any = weakref.proxy(
            trainer
        )  # it holds this; a circle would keep model and optimizer after their time

    def on_epoch_begin(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        epoch = int(state.epoch or 0)
        sampler = kwargs["train_dataloader"].batch_sampler
        if hasattr(sampler, "set_epoch"):  # of whoever brings a loader of their own
            sampler.set_epoch(epoch)
        if self._trainer.objective.regularizer is not None:
            self._trainer.objective.regularizer.set_epoch(epoch)

    def on_step_begin(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        if self._trainer.objective.regularizer is not None:
            self._trainer.objective.regularizer.draw = state.global_step if self._trainer._repeats else 0

    def on_optimizer_step(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        self._trainer._counts = None  # of what is computed before the next one
        marginals, accelerator = self._trainer.objective.marginals, self._trainer.accelerator
        if marginals is not None:
            marginals.update(lambda sums: accelerator.reduce(sums, reduction="sum"))

    def on_epoch_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        if self._trainer.cut_short:
            control.should_training_stop = True
            control.should_save = args.save_strategy != "no"
