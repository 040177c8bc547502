"""What an NVIDIA card has to say, in one command of less than eight minutes: `python -m benchmarks.gpu`.

`cost` is forward and backward of every method in float32 and under bfloat16 autocast, as `benchmarks.step_cost` measures it on a CPU;
`memory` their peak and their passes, with and without gradient checkpointing; `precision` trains from the same weights in
several precisions and compares loss and R; `compile` is torch.compile on and off; `attention` each backend of
scaled_dot_product_attention, and the plain form. Each part runs in a process of its own, with a budget of seconds: one that
fails, hangs or takes the card down is recorded with its reason, what it had measured until then is kept, and the others go
on. `--tiny` runs all of it on a toy model, on a CPU where there is no card.
"""

from __future__ import annotations

import logging
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import logging as transformers_logging

from benchmarks.methods import METHODS, PLAIN, Job, batch, job
from benchmarks.pairs import Step, against, interleave, ratio_text, reason, seconds
from benchmarks.passes import counts, in_plain_steps
from benchmarks.report import circumstances, merge, parser, show
from ssl_pdr.objective import Objective

START = 30.0  # seconds that a new process may take to import everything
Send = Callable[[dict[str, Any]], None]
TWICE = ("jr, 1 projection", "vat order 2, shl")  # differentiate attention twice


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        places: models and batches, as `job` takes them.
        rounds: of each interleaved measurement, as far as the budget goes.
        steps: of each training in `precision`.
        some: methods for the parts that do not take all.
        backend: of torch.compile.
        start: how processes start: CUDA must not be forked.
    """

    places: tuple[dict[str, Any], ...]
    rounds: int
    steps: int
    some: tuple[str, ...]
    backend: str
    start: str


SIZES = {
    "full": Sizes(
        (
            {"shape": "minilm-l6", "rows": 32, "tokens": 64},
            {"shape": "bert-base", "rows": 32, "tokens": 128},
        ),
        rounds=30,
        steps=40,
        some=("rpt, shl", "vat exact, shl", "vat exact with reuse, kl"),
        backend="inductor",
        start="spawn",
    ),
    "tiny": Sizes(
        ({"shape": "toy", "rows": 4, "tokens": 8},),
        rounds=1,
        steps=3,
        some=("vat exact, shl",),
        backend="eager",
        start="fork",
    ),
}
PRECISIONS: dict[str, torch.dtype | None] = {"float32": None, "bfloat16": torch.bfloat16}


def device() -> str:
    """The card, or the CPU without one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def where(place: Mapping[str, Any], precision: str) -> str:
    """What a place is called."""
    return f"{place['shape']}, {place['rows']} × {place['tokens']}, {precision}"


# --- the parts: each sends what it has so far ---


def cost(sizes: Sizes, deadline: float, send: Send) -> None:
    """Every method at every place and precision."""
    found: dict[str, Any] = {}
    cells = [(place, precision) for place in sizes.places for precision in PRECISIONS]
    for i, (place, precision) in enumerate(cells):
        share = time.monotonic() + (deadline - time.monotonic()) / (len(cells) - i)
        of = job(**place, device=device(), autocast=PRECISIONS[precision])
        timings = interleave(of.steps(METHODS), sizes.rounds, before=of.clear, deadline=share)
        found[where(place, precision)] = {name: against(timings, name, PLAIN) for name in (PLAIN, *METHODS)}
        send({"places": found})


def memory(sizes: Sizes, deadline: float, send: Send) -> None:
    """Peak, passes and operations, with and without gradient checkpointing, at the last place."""
    found: dict[str, Any] = {}
    for precision, dtype in PRECISIONS.items():
        for checkpointing in (False, True):
            of = job(**sizes.places[-1], device=device(), autocast=dtype)
            if checkpointing:
                checkpoint(of.model)
            cells: dict[str, Any] = {}
            name = where(sizes.places[-1], precision) + (", checkpointing" if checkpointing else "")
            for method, make in of.steps({name: METHODS[name] for name in (*sizes.some, *TWICE)}).items():
                cells[method] = _counted(of, make, cells)
                found[name] = cells
                send({"places": found})
                if time.monotonic() > deadline:
                    return


def checkpoint(model: Any) -> None:
    """Turn gradient checkpointing on, by the name that this version of transformers has for it."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def _counted(of: Job, make: Callable[[], Step], cells: Mapping[str, Any]) -> dict[str, Any]:
    try:
        cell = counts(of.model, make(), len(of.batch["labels"]), of.clear)
        in_plain_steps(cell, cells.get(PLAIN, cell))
    except Exception as error:  # noqa: BLE001  # the other methods go on
        return {"failed": reason(error)}
    return cell


def precision(sizes: Sizes, deadline: float, send: Send) -> None:
    """Loss and R of a short training from the same weights on the same rows, without dropout; float32 is the yardstick."""
    kinds = {**PRECISIONS, "tf32": None} if device() == "cuda" else PRECISIONS
    found: dict[str, Any] = {}
    for name in sizes.some:
        curves: dict[str, dict[str, list[float]]] = {}
        for kind in kinds:
            torch.set_float32_matmul_precision("high" if kind == "tf32" else "highest")
            curves[kind] = _trained(name, sizes.places[0], sizes.steps, kinds[kind], deadline)
        found[name] = {
            "curves": curves,
            "against_float32": {k: _distance(curves["float32"], v) for k, v in curves.items() if k != "float32"},
        }
        send({"methods": found})


def _trained(
    name: str, place: dict[str, Any], steps: int, autocast: torch.dtype | None, deadline: float
) -> dict[str, list[float]]:
    of, method = job(**place, device=device(), autocast=autocast), METHODS[name]
    of.model.eval()
    objective = Objective(method.make(), method.alpha)
    how: dict[str, Any] = {"backward": torch.Tensor.backward} if method.reuse else {}
    optimizer = torch.optim.AdamW(of.model.parameters(), lr=1e-4)
    batches = [batch(place["rows"], place["tokens"], device=device(), seed=seed) for seed in range(4)]
    curves: dict[str, list[float]] = {"loss": [], "r": []}
    for step in range(steps):
        if time.monotonic() > deadline:
            break
        with of.precision():
            parts = objective(of.model, batches[step % len(batches)], **how)
        parts.loss.backward()
        optimizer.step()
        of.clear()
        r = parts.regularization.item()
        curves["r"].append(r)
        curves["loss"].append(parts.ce.item() + method.alpha * r)
    return curves


def _distance(exact: dict[str, list[float]], other: dict[str, list[float]]) -> dict[str, float]:
    """The median of how far loss and R are apart, relative to the exact ones, and how far at the beginning."""
    found = {}
    for name in ("loss", "r"):
        apart = [abs(b - a) / max(abs(a), 1e-12) for a, b in zip(exact[name], other[name], strict=False)]
        found[name] = statistics.median(apart) if apart else float("nan")
        found[f"{name}_at_first"] = apart[0] if apart else float("nan")
    return found


def compiled(sizes: Sizes, deadline: float, send: Send) -> None:
    """Seconds of the first compiled step, and those that follow against uncompiled ones."""
    found: dict[str, Any] = {}
    for name in (PLAIN, *sizes.some):
        if time.monotonic() > deadline:
            return
        torch._dynamo.reset()
        of = job(**sizes.places[0], device=device(), autocast=torch.bfloat16)
        fast = Job(torch.compile(of.model, backend=sizes.backend), of.batch, of.task, of.autocast)
        methods = {} if name == PLAIN else {name: METHODS[name]}
        try:
            step = fast.steps(methods)[name]()
            first = seconds(step)
        except Exception as error:  # noqa: BLE001  # the others go on
            found[name] = {"failed": reason(error)}
        else:
            turns: dict[str, Callable[[], Step]] = {"compiled": lambda step=step: step}  # type: ignore[misc]
            turns |= {"uncompiled": of.steps(methods)[name], "uncompiled plain": of.plain}
            timings = interleave(turns, sizes.rounds, before=of.clear, deadline=deadline)
            found[name] = {
                "first_step_seconds": first,
                "against_uncompiled": against(timings, "compiled", "uncompiled"),
                "against_uncompiled_plain": against(timings, "compiled", "uncompiled plain"),
            }
        send({"place": where(sizes.places[0], "bfloat16"), "methods": found})


def attention(sizes: Sizes, deadline: float, send: Send) -> None:
    """Every backend under every method; ratios are to the plain step of transformers' own choice."""
    of = job(**sizes.places[-1], device=device(), autocast=torch.bfloat16)
    eager = job(**sizes.places[-1], device=device(), autocast=torch.bfloat16)
    eager.model.set_attn_implementation("eager")
    methods = {name: METHODS[name] for name in (*sizes.some, *TWICE)}
    turns: dict[str, Callable[[], Step]] = {PLAIN: of.plain}
    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH):
        for name, make in of.steps(methods).items():
            turns[f"{backend.name.lower()}: {name}"] = _under(backend, make)
    turns |= {f"eager: {name}": make for name, make in eager.steps(methods).items()}

    def clear() -> None:
        of.clear()
        eager.clear()

    timings = interleave(turns, sizes.rounds, before=clear, deadline=deadline)
    send(
        {
            "place": where(sizes.places[-1], "bfloat16"),
            "methods": {name: against(timings, name, PLAIN) for name in turns},
        }
    )


def _under(backend: SDPBackend, make: Callable[[], Step]) -> Callable[[], Step]:
    def made() -> Step:
        step = make()

        def run() -> None:
            with sdpa_kernel(backend):
                step()

        return run

    return made


# --- a process for each ---


def about(sizes: Sizes, deadline: float, send: Send) -> None:
    """Versions and machine: the parent process leaves the card alone."""
    send(circumstances())


PARTS: dict[str, tuple[Callable[[Sizes, float, Send], None], float]] = {
    "cost": (cost, 80),
    "memory": (memory, 30),
    "precision": (precision, 60),
    "compile": (compiled, 90),
    "attention": (attention, 40),
}


def child(name: str, size: str, sender: Any) -> None:
    """Run one part and send what it finds."""
    work, budget = PARTS.get(name, (about, START))
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("ssl_pdr").setLevel(logging.ERROR)
    last: dict[str, Any] = {}

    def send(found: dict[str, Any]) -> None:
        last.update(found)
        sender.send(last)

    try:
        work(SIZES[size], time.monotonic() + 0.85 * budget, send)
    except Exception as error:  # noqa: BLE001  # the parent writes the reason down
        send({"failed": reason(error)})


def isolated(name: str, size: str) -> dict[str, Any]:
    """What a part has found when it ends, or when its time is over."""
    context = multiprocessing.get_context(SIZES[size].start)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(name, size, sender))  # type: ignore[attr-defined]
    process.start()
    sender.close()
    budget = PARTS[name][1] if name in PARTS else 0.0  # to look at the machine takes no more than to start
    end, found = time.monotonic() + START + budget, dict[str, Any]()
    try:
        while receiver.poll(max(0.0, end - time.monotonic())):
            found = receiver.recv()
        found["stopped"] = f"it had not ended {budget:g} s after its start"
        process.kill()
    except EOFError:
        pass
    process.join()
    if process.exitcode and "stopped" not in found:
        found["failed"] = f"its process ended with {process.exitcode}"
    return found


# --- tables ---


def table(name: str, found: dict[str, Any]) -> None:
    """What a part has found, for people."""
    for problem in ("failed", "stopped"):
        if problem in found:
            print(f"{name}: {problem}: {found[problem]}")
    for place, cells in found.get("places", {}).items():
        show(f"{name}: {place}", ["method", "plain steps", "", ""], [_row(*item) for item in cells.items()])
    if name == "precision":
        for method, cell in found.get("methods", {}).items():
            rows = [
                [kind, *(f"{value:.2g}" for value in apart.values())] for kind, apart in cell["against_float32"].items()
            ]
            show(f"{method}: relative to float32", ["", "loss", "at first", "R", "at first"], rows)
    elif "methods" in found:
        show(
            f"{name}: {found['place']}",
            ["method", "plain steps", "", ""],
            [_row(*item) for item in found["methods"].items()],
        )


def _row(method: str, cell: dict[str, Any]) -> list[str]:
    if "failed" in cell:
        return [method, "failed", cell["failed"], ""]
    if "passes" in cell:
        passes = cell["passes"]
        there_and_back = f"{passes['forward']:g}, {passes['backward']:g} passes"
        return [method, f"{cell['plain_peaks']:.2f} peaks", f"{cell['peak_bytes'] / 1e6:.0f} MB", there_and_back]
    if "first_step_seconds" in cell:
        ratios = [ratio_text(cell[key]) for key in ("against_uncompiled_plain", "against_uncompiled")]
        return [method, ratios[0], f"{ratios[1]} of itself uncompiled", f"first: {cell['first_step_seconds']:.1f} s"]
    return [method, ratio_text(cell), f"{cell['seconds'] * 1e3:.1f} ms", ""]


# --- the command ---


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__, PARTS, ("tiny",)).parse_args(arguments)
    size = options.size
    around = isolated("about", size)
    if "machine" not in around:
        sys.exit(f"cannot look at this machine: {around.get('failed') or around.get('stopped')}")
    if around["machine"]["device"] == "cpu" and size != "tiny":
        sys.exit("this needs an NVIDIA card; --tiny runs on a CPU")
    for name in options.only:
        start = time.perf_counter()
        found = isolated(name, size)
        path = merge("gpu", name, {**found, "size": size, "took": time.perf_counter() - start}, options.output, around)
        table(name, found)
        print(path)


if __name__ == "__main__":
    main()
