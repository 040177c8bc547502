"""The training of one run: the trainer that its configuration means, and in one line what ends it early."""

from __future__ import annotations

import shutil
from pathlib import Path
from pickle import UnpicklingError  # of what torch.load refuses

import torch
from accelerate.utils.memory import should_reduce_batch_size
from safetensors import SafetensorError
from transformers import PrinterCallback

from ssl_pdr.balance import Balance
from ssl_pdr.checkpoints import unfinished
from ssl_pdr.data.collate import PaddingCollator
from ssl_pdr.data.streams import StreamError
from ssl_pdr.errors import InterruptedRunError, OutOfMemoryError, OutputError, PDRError
from ssl_pdr.interrupts import stop_on_signal, stopped
from ssl_pdr.loading import Loaded
from ssl_pdr.processes import Processes
from ssl_pdr.progress import RunCallback
from ssl_pdr.reporting import ReportedArguments
from ssl_pdr.run_folder import RunFolder
from ssl_pdr.trainer import PDRTrainer


def how_on(folder: RunFolder) -> str:
    """The command that goes on with a run."""
    return f"go on with: ssl-pdr train --resume {folder.path}"


def fit(trainer: PDRTrainer, callback: RunCallback, checkpoint: Path | None) -> int:
    """Train, and tell how many steps it took.

    Args:
        trainer: of the run.
        callback: writes what the run leaves behind.
        checkpoint: to go on from; None begins.

    Raises:
        PDRError: that says how to go on, for whatever ends the training early and can be mended.
    """
    processes = callback.processes
    trainer.add_callback(callback)
    callback.listener.stage("training")
    with processes.alone(InterruptedRunError, StreamError), stop_on_signal(callback.ask_to_stop):
        try:
            outcome = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except KeyboardInterrupt as signal:
            raise stopped(f"stopped at once, without a new checkpoint; {how_on(callback.folder)}", signal) from None
        except Exception as error:
            if (told := _told(error, trainer, callback.folder, checkpoint)) is None:
                raise
            raise told from error
    if processes.any(callback.interrupted):
        raise stopped(
            f"stopped at step {trainer.state.global_step}, checkpoint kept; {how_on(callback.folder)}", callback.signal
        )
    return int(outcome.global_step)


def _told(error: Exception, trainer: PDRTrainer, folder: RunFolder, checkpoint: Path | None) -> PDRError | None:
    """An error of the training in one line that says what to do; None for one that says so itself, or that nobody expects."""
    if isinstance(error, StreamError):
        return StreamError(f"{error}; a checkpoint is kept, mend the corpus and {how_on(folder)}")
    if isinstance(error, PDRError):
        return None
    if isinstance(error, MemoryError) or should_reduce_batch_size(error):
        rows = trainer.args.per_device_train_batch_size
        return OutOfMemoryError(
            f"out of memory in step {trainer.state.global_step + 1} with {rows} rows at a time; --auto-batch, or a larger "
            f"--accumulation than {trainer.args.gradient_accumulation_steps}, cuts the same batch into smaller parts, and a shorter "
            "--max-length makes each row smaller"
        )
    if isinstance(error, (UnpicklingError, SafetensorError)) and not trainer.control.should_save:
        return OutputError(
            f"cannot read {checkpoint}: a file in it is damaged, or holds more than numbers and could run code; remove that "
            f"checkpoint and {how_on(folder)}"
        )
    # While a checkpoint is written: torch has errors of its own for a full disk, which do not say so.
    if isinstance(error, (OSError, SafetensorError)) or (
        isinstance(error, RuntimeError) and trainer.control.should_save
    ):
        return OutputError(f"cannot write to {folder.path}: {_reason(error, folder)}; mend that, then {how_on(folder)}")
    return None


def _reason(error: Exception, folder: RunFolder) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    free = shutil.disk_usage(next(place for place in folder.path.absolute().parents if place.exists())).free
    return f"{error}, with {free / 2**20:.1f} MB left on the disk"


def make_trainer(loaded: Loaded, checkpoints: Path, processes: Processes, *, save: bool = True) -> PDRTrainer:
    """The trainer of a run.

    Args:
        loaded: what it trains, on what.
        checkpoints: folder for them.
        processes: that share the work.
        save: whether checkpoints are written.

    Raises:
        OutputError: if they cannot be.
    """
    config, materials = loaded.config, loaded.materials
    try:
        unfinished(checkpoints).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot write to {checkpoints}: {error.strerror}; mend that, and go on with --resume"
        ) from None
    args = ReportedArguments(
        output_dir=str(unfinished(checkpoints)),
        per_device_train_batch_size=config.batch_size // config.accumulation // processes.count,
        gradient_accumulation_steps=config.accumulation,
        per_device_eval_batch_size=64,
        num_train_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        learning_rate=config.lr,
        warmup_steps=config.warmup_frac,
        weight_decay=config.weight_decay,
        logging_steps=0.02,
        save_strategy="steps" if save else "no",
        save_steps=config.save_steps,
        seed=config.seed,
        dataloader_pin_memory=torch.cuda.is_available(),
        report_to=list(config.report_to or ()) if save else [],
        disable_tqdm=True,
        use_cpu=processes.on_cpu or not torch.accelerator.is_available(),  # bf16 on the CPU wants it said
        bf16=config.precision == "bf16",
        fp16=config.precision == "fp16",
    ).of(config)
    trainer = PDRTrainer(
        loaded.model,
        args,
        train_dataset=materials.labelled,
        unlabelled_dataset=materials.unlabelled,
        regularizer=loaded.regularizer,
        alpha=config.alpha,
        ratio=config.ratio,
        align=config.align,
        data_collator=PaddingCollator.like(materials.tokenizer),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Balance(trainer))
    return trainer
