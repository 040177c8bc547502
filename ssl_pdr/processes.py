"""One run in several processes, as `torchrun` and `accelerate launch` start them: one leads, and an error of one ends all."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

from ssl_pdr.errors import ConfigError, PDRError

T = TypeVar("T")
_LOG = logging.getLogger("ssl_pdr")

# What a launcher has to tell each process, beside how many there are.
_PLACE = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
# Waiting for the leader may take as long as a large corpus takes to be read.
_PATIENCE = timedelta(days=7)


class LoneError(PDRError):
    """An error that only this process of several has met; the others are not told, so it speaks for itself."""


class LostProcessError(PDRError):
    """Another process of the run is gone."""


def speaks(error: BaseException | None = None) -> bool:
    """Whether this process prints: the first of a run does, another one only what it alone knows, or where the first may be gone.

    Example:
        >>> speaks()
        True
    """
    return isinstance(error, (LoneError, LostProcessError)) or os.environ.get("RANK", "0") == "0"


def started() -> int:
    """How many processes a launcher has started for one run; 1 without a launcher.

    Example:
        >>> started()
        1
    """
    count = os.environ.get("WORLD_SIZE", "1")
    return int(count) if count.isdecimal() else 1


@dataclass(frozen=True)
class Processes:
    """The processes of a run, as one of them sees them. With only one, everything below is a plain call.

    Attributes:
        rank: number of this process, from 0.
        count: of processes.
        group: what messages between them go through; None for one process.
        on_cpu: whether they have to be told to use the CPU: left to itself, `accelerate` joins processes on accelerators
            only, and elsewhere each would train alone.

    Example:
        >>> Processes().each(lambda: 3), Processes().lead(lambda: 4), Processes().any(False)
        (3, 4, False)
    """

    rank: int = 0
    count: int = 1
    group: Any = None
    on_cpu: bool = False

    @property
    def leads(self) -> bool:
        """Whether this process writes and prints for all."""
        return self.rank == 0

    def lead(self, action: Callable[[], T]) -> T:
        """What `action` returns in the leading process, in every process; or its error."""
        if self.count == 1:
            return action()
        return self._exchanged(action if self.leads else None)[0]  # type: ignore[no-any-return]

    def each(self, action: Callable[[], T]) -> T:
        """Run `action` in every process, on each machine in one of them first: it fills the caches that others read.

        Raises:
            PDRError: in every process, if one has failed: the error of the first that did.
        """
        if self.count == 1:
            return action()
        made: list[T] = []

        def keep() -> None:
            made.append(action())

        first = os.environ["LOCAL_RANK"] == "0"
        self._exchanged(keep if first else None)
        self._exchanged(None if first else keep)
        return made[0]

    def any(self, flag: bool) -> bool:
        """Whether `flag` is set in any process."""
        if self.count == 1:
            return flag
        import torch

        total = torch.tensor(int(flag))
        torch.distributed.all_reduce(total, group=self.group)
        return bool(total)

    def agree(self, value: object, message: str) -> None:
        """Refuse with a `ConfigError` of this message where `value`, which pickles, differs between processes."""
        values = [value] if self.count == 1 else self._gathered(value)
        if any(other != value for other in values):
            raise ConfigError(message)

    @contextmanager
    def alone(self, *shared: type[BaseException]) -> Iterator[None]:
        """For work in which processes wait for each other, so that they cannot be told of an error.

        Args:
            *shared: errors that all processes meet at once.

        Raises:
            LostProcessError: in a process that finds that another one is gone.
            LoneError: in one that does not lead and has failed by itself.
        """
        try:
            yield
        except Exception as error:
            if self.count == 1 or isinstance(error, shared):
                raise
            if _is_lost(error):
                raise LostProcessError(
                    "another process of the run is gone; its own line, or the launcher's, says why"
                ) from error
            if self.leads:
                raise
            _LOG.info("how this process ended:", exc_info=True)
            raise LoneError(f"process {self.rank + 1} of {self.count}: {_message(error)}") from error

    def _exchanged(self, action: Callable[[], Any] | None) -> list[Any]:
        """What `action` returned in each process; the error of the first that failed, in all."""
        outcome, own = None, None
        try:
            outcome = None if action is None else action()
        except Exception as error:  # noqa: BLE001  # raised again below, here or in its place
            own = error
        told = None if own is None else (own if isinstance(own, PDRError) else PDRError(_message(own)))
        with self.alone():
            outcomes, errors = zip(*self._gathered((outcome, told)), strict=True)
        rank = next((rank for rank, error in enumerate(errors) if error is not None), None)
        if rank is None:
            return list(outcomes)
        if rank == self.rank and own is not None:
            raise own
        raise errors[rank]

    def _gathered(self, value: object) -> list[Any]:
        import torch

        values: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(values, value, group=self.group)
        return values


def _message(error: BaseException) -> str:
    return str(error) if isinstance(error, PDRError) else f"{type(error).__name__}: {error}"


def _is_lost(error: BaseException) -> bool:
    """Whether a message between processes failed; gloo has no exception of its own for it."""
    import torch

    told = str(error).lower()
    return isinstance(error, torch.distributed.DistError) or (
        isinstance(error, RuntimeError)
        and "gloo" in told
        and ("closed" in told or "reset" in told or "timed out" in told)
    )


@cache
def join() -> Processes:
    """The processes that a launcher has started for this run, brought together; one where there is no launcher.

    Raises:
        ConfigError: for an environment that names several processes and does not say which one this is, or a device on
            which they cannot be joined.
    """
    if started() == 1:
        return Processes()
    missing = [name for name in _PLACE if not os.environ.get(name)]
    if missing:
        raise ConfigError(
            f"WORLD_SIZE is {started()}, but {' and '.join(missing)} not set; start with torchrun, or unset WORLD_SIZE"
        )
    import torch
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    on_accelerators = torch.accelerator.is_available() and not torch.backends.mps.is_available()
    on_cpu = not on_accelerators or parse_flag_from_env("ACCELERATE_USE_CPU")
    state = PartialState(cpu=on_cpu)
    if state.num_processes != started():
        raise ConfigError(
            f"{started()} processes were started, but on {state.device} they cannot be joined; start one, or set "
            "ACCELERATE_USE_CPU=true"
        )
    # Messages of our own do not wait for a GPU, and may wait longer for the leader than gradients do for each other.
    group = torch.distributed.new_group(backend="gloo", timeout=_PATIENCE)
    return Processes(state.process_index, state.num_processes, group, on_cpu)


def part() -> None:
    """Take leave of the other processes, at the end of a command that went well."""
    if started() == 1:
        return
    import torch

    if torch.distributed.is_initialized():
        join.cache_clear()
        torch.distributed.destroy_process_group()
