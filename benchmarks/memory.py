"""The most memory that a call holds at any time, counted from what the allocator does: no clock, and no other process in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.profiler import profile

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler tells on stderr of each use


def peak_bytes(call: Callable[[], Any], device: torch.device | str = "cpu") -> int:
    """The peak of the bytes that `call` allocates for tensors and has not given back, temporaries inside of operations included.

    What was there before does not count, nor does giving it back: parameters and the optimizer's state are not in it, gradients
    are where they are None before. On the CPU each allocation is recorded, which makes the call slow.

    Example:
        >>> def call():
        ...     a, b = torch.empty(1000), torch.empty(2000)
        ...     del a
        ...     return torch.empty(500)
        >>> peak_bytes(call)
        12000
    """
    if torch.device(device).type != "cpu":
        module = torch.get_device_module(device)
        module.synchronize(device)
        module.reset_peak_memory_stats(device)
        before = module.memory_allocated(device)
        call()
        module.synchronize(device)
        return int(module.max_memory_allocated(device) - before)
    with profile(profile_memory=True, use_kineto=True) as record:
        call()
    assert record.kineto_results is not None
    events = [event for event in record.kineto_results.events() if event.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak
