"""Kernels that give the same bits each time, for as long as a run wants them, and the process as it was afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import enable_full_determinism

from ssl_pdr.errors import ConfigError

# What transformers sets in the environment, for kernels that read it there.
_VARIABLES = (
    *("CUDA_LAUNCH_BLOCKING", "CUBLAS_WORKSPACE_CONFIG", "FLASH_ATTENTION_DETERMINISTIC"),
    *("ASCEND_LAUNCH_BLOCKING", "HCCL_DETERMINISTIC"),
)


@contextmanager
def determinism(*, wanted: bool, seed: int) -> Iterator[None]:
    """While open, torch takes deterministic algorithms alone, as `transformers.enable_full_determinism` asks for; then all is as before.

    A process runs many trainings one after another, and what one of them asked for is none of the next one's business.

    Args:
        wanted: False does nothing.
        seed: all generators are set to it.

    Raises:
        ConfigError: where an operation has no deterministic form.

    Example:
        >>> with determinism(wanted=True, seed=0):
        ...     torch.are_deterministic_algorithms_enabled()
        True
        >>> torch.are_deterministic_algorithms_enabled()
        False
    """
    if not wanted:
        yield
        return
    cudnn = torch.backends.cudnn
    variables = {name: os.environ.get(name) for name in _VARIABLES}
    mode, flags = torch.get_deterministic_debug_mode(), (cudnn.deterministic, cudnn.benchmark)
    try:
        enable_full_determinism(seed)
        yield
    except RuntimeError as error:
        if "does not have a deterministic implementation" not in str(error):
            raise
        raise ConfigError(
            f"--deterministic: {str(error).partition(',')[0]}; leave it out, or run on the CPU"
        ) from error
    finally:
        torch.set_deterministic_debug_mode(mode)
        cudnn.deterministic, cudnn.benchmark = flags
        for name, value in variables.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
