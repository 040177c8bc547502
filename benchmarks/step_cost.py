"""What a training step costs, in plain fine-tuning steps: `python -m benchmarks.step_cost`.

`cost` is forward and backward of every method, to classify and to answer questions, by the clock, by counted passes and by
memory; `trainer` is a whole step through loader and optimizer. The others show how the ratios move with the `batch`, the
`length` of its rows, the number of `classes` and the `size` of the model. In every part the methods take turns of one step,
in another order in each round, and each step is compared with the plain step of its own round. Parts are written as soon
as they are measured: `--only` measures some anew, what else the file holds stays.
"""

from __future__ import annotations

import dataclasses
import logging
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers import logging as transformers_logging

from benchmarks.methods import METHODS, OF_TASK, PLAIN, Job, Method, Task, half_unlabelled, job
from benchmarks.pairs import Timings, against, interleave, ratio_text
from benchmarks.passes import counts, in_plain_steps
from benchmarks.report import merge, parser, read, show
from benchmarks.scaling_plot import draw
from ssl_pdr import PDRTrainer

SCALED = ("rpt, shl", "vat power, shl", "vat exact, shl", "vat exact with reuse, kl", "jr, 1 projection")
THROUGH_TRAINER = (
    "none",
    "rpt, shl",
    "vat exact, shl",
    "vat exact with reuse, kl",
    "vat exact with reuse, kl, half unlabelled",
)


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    shape: str
    rows: int
    tokens: int
    rounds: int
    axes: Mapping[str, tuple[dict[str, Any], ...]]


def axes(shape: str, rows: int, tokens: int, large: tuple[str, ...]) -> dict[str, tuple[dict[str, Any], ...]]:
    """The places at which each axis of scaling is measured, as arguments of `job`."""
    base = {"shape": shape, "rows": rows, "tokens": tokens}
    return {
        "batch": tuple({**base, "rows": n} for n in (rows // 4, rows // 2, rows, rows * 2)),
        "length": tuple(
            {**base, "rows": rows // 2, "tokens": n} for n in (tokens // 2, tokens, tokens * 2, tokens * 4)
        ),
        "classes": tuple({**base, "classes": n} for n in (2, 3, 10, 100)),
        "size": tuple({"shape": name, "rows": rows // 4, "tokens": tokens} for name in large),
    }


SIZES = {
    "full": Sizes("minilm-l6", 32, 64, 20, axes("minilm-l6", 32, 64, ("bert-tiny", "minilm-l6", "bert-base"))),
    "quick": Sizes("minilm-l6", 8, 16, 3, axes("minilm-l6", 8, 16, ("bert-tiny", "minilm-l6"))),
    "tiny": Sizes("toy", 4, 8, 1, axes("toy", 4, 8, ("toy",))),
}


# --- forward and backward ---


def cost(sizes: Sizes) -> dict[str, Any]:
    """Every method of each task, in one run."""
    jobs = {task: job(sizes.shape, rows=sizes.rows, tokens=sizes.tokens, task=task) for task in OF_TASK}
    methods = {task: {name: METHODS[name] for name in names} for task, names in OF_TASK.items()}
    turns = {f"{task}: {name}": make for task in jobs for name, make in jobs[task].steps(methods[task]).items()}

    def clear() -> None:
        for each in jobs.values():
            each.clear()

    timings = interleave(turns, sizes.rounds, before=clear)
    found = {task: cells(timings, jobs[task], task, methods[task], f"{task}: ") for task in jobs}
    return {"batch": sizes.rows, "tokens": sizes.tokens, "tasks": found}


def cells(timings: Timings, of: Job, task: Task, methods: Mapping[str, Method], prefix: str) -> dict[str, Any]:
    """Time, passes, operations and memory of each method, and what they are in plain steps."""
    found: dict[str, Any] = {}
    rows = len(of.batch["labels"])
    for name, make in of.steps(methods).items():
        cell = against(timings, f"{prefix}{name}", f"{prefix}{PLAIN}")
        if "failed" not in cell:
            cell |= counts(of.model, make(), rows, of.clear)
            in_plain_steps(cell, found.get(PLAIN, cell))
        if name in methods and methods[name].limit is not None and task == "classification":
            cell["limit"] = methods[name].limit
        found[name] = cell
    return found


def cost_table(found: dict[str, Any]) -> None:
    for task, of_task in found["tasks"].items():
        rows = [
            [
                name,
                ratio_text(cell),
                f"≤ {cell['limit']}" if "limit" in cell else "",
                *(_counted(cell) if "passes" in cell else [cell["failed"], "", "", ""]),
            ]
            for name, cell in of_task.items()
        ]
        columns = ["method", "plain steps", "limit", "seconds", "passes: there, back", "operations", "peak"]
        show(f"{task}, {found['batch']} × {found['tokens']}", columns, rows)


def _counted(cell: dict[str, Any]) -> list[str]:
    passes = cell["passes"]
    return [
        f"{cell['seconds']:.3f}",
        f"{passes['forward']:g}, {passes['backward']:g}",
        f"{cell['plain_operations']:.2f}",
        f"{cell['plain_peaks']:.2f} ({cell['peak_bytes'] / 1e6:.0f} MB)",
    ]


# --- through the Trainer ---


class Clock(TrainerCallback):
    """Seconds from the end of one step to the end of the next: loader, passes and optimizer."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._last: float | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._last = None

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        now = time.perf_counter()
        if self._last is not None:  # the first step of each turn warms up
            self.seconds.append(now - self._last)
        self._last = now


def trainer(sizes: Sizes) -> dict[str, Any]:
    """A step with loader and optimizer: each method trains for two steps in its turn, the first of which warms up."""
    steps = 2
    of = job(sizes.shape, rows=sizes.rows, tokens=sizes.tokens)
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=sizes.rows,
            max_steps=steps,
            learning_rate=1e-6,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        clock = Clock()
        made = {PLAIN: (Trainer(of.model, args, train_dataset=_dataset(of.batch, steps), callbacks=[clock]), clock)}
        for name in THROUGH_TRAINER:
            clock = Clock()
            made[name] = (_trainer(of, METHODS[name], args, steps, clock), clock)
        timings = interleave(
            {name: lambda one=one: one.train for name, (one, _) in made.items()}, sizes.rounds // 2 + 1
        )
    # The clock inside has left out what a training has before its first step; its first figure is that of the warm-up.
    timed = Timings({name: made[name][1].seconds[1:] for name in timings.seconds}, timings.failed)
    return {
        "batch": sizes.rows,
        "tokens": sizes.tokens,
        "methods": {name: against(timed, name, PLAIN) for name in made},
    }


def _trainer(of: Job, method: Method, args: TrainingArguments, steps: int, clock: Clock) -> PDRTrainer:
    batch = half_unlabelled(of.batch) if method.half_unlabelled else of.batch
    rows = _dataset(batch, steps)
    return PDRTrainer(
        of.model,
        args,
        train_dataset=[row for row in rows if row["labels"] >= 0],
        unlabelled_dataset=[row for row in rows if row["labels"] < 0] or None,
        regularizer=method.make(),
        alpha=method.alpha,
        zero_noise_every=0,
        callbacks=[clock],
    )


def _dataset(batch: Mapping[str, Any], steps: int) -> list[dict[str, Any]]:
    names = ("input_ids", "attention_mask", "labels")
    columns = [batch[name].tolist() for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)] * steps


def trainer_table(found: dict[str, Any]) -> None:
    rows = [
        [name, ratio_text(cell), f"{cell['seconds']:.3f}" if "seconds" in cell else cell["failed"]]
        for name, cell in found["methods"].items()
    ]
    show("a whole step of the Trainer", ["method", "plain Trainer steps", "seconds"], rows)


# --- scaling ---


def scaling(axis: str) -> Callable[[Sizes], dict[str, Any]]:
    """A part that measures one axis."""

    def measure(sizes: Sizes) -> dict[str, Any]:
        return {"axis": axis, "places": [place(where, sizes.rounds) for where in sizes.axes[axis]]}

    return measure


def place(where: dict[str, Any], rounds: int) -> dict[str, Any]:
    """The ratios of the methods at one place."""
    of = job(**where)
    two = where.get("classes", 2) == 2
    methods = {name: METHODS[name] for name in SCALED if two or not METHODS[name].reuse}
    timings = interleave(of.steps(methods), max(2, rounds // 3), before=of.clear)
    return {"where": where, "methods": {name: against(timings, name, PLAIN) for name in (PLAIN, *methods)}}


def scaling_table(found: dict[str, Any]) -> None:
    columns = [_where(spot["where"]) for spot in found["places"]]
    names = dict.fromkeys(name for spot in found["places"] for name in spot["methods"])
    rows = [[name, *(ratio_text(spot["methods"].get(name, {})) for spot in found["places"])] for name in names]
    show(f"plain steps, by {found['axis']}", ["method", *columns], rows)


def _where(where: dict[str, Any]) -> str:
    return f"{where['shape']}, {where['rows']} × {where['tokens']}, {where.get('classes', 2)} classes"


# --- the command ---


Part = tuple[Callable[[Sizes], dict[str, Any]], Callable[[dict[str, Any]], None]]
PARTS: dict[str, Part] = {
    "cost": (cost, cost_table),
    "trainer": (trainer, trainer_table),
    **{axis: (scaling(axis), scaling_table) for axis in ("batch", "length", "classes", "size")},
}


def main(arguments: list[str] | None = None) -> None:
    arguments_of = parser(__doc__, PARTS)
    arguments_of.add_argument("--rounds", type=int, help="turns of each method; scaling takes a third of them")
    options = arguments_of.parse_args(arguments)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("ssl_pdr").setLevel(logging.ERROR)  # switched attention is said once for each model
    sizes = SIZES[options.size]
    sizes = dataclasses.replace(sizes, rounds=options.rounds or sizes.rounds)
    for name in options.only:
        measure, table = PARTS[name]
        start = time.perf_counter()
        found = measure(sizes)
        path = merge(
            "step_cost", name, {**found, "size": options.size, "took": time.perf_counter() - start}, options.output
        )
        table(found)
        print(path)
    draw(read("step_cost", options.output), options.output / "step_cost.svg")


if __name__ == "__main__":
    main()
