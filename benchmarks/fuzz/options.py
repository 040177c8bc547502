"""Arguments of the command line: each has to be refused before torch is imported."""

from __future__ import annotations

import inspect
import random
import typing
from collections.abc import Iterator

from benchmarks.fuzz.case import EITHER, FINE, Case
from benchmarks.fuzz.ways import OUT, REVIEWS
from benchmarks.fuzz.world import TRAIN

# What each command needs beside the option that is bad.
_NEEDS = {
    "train": (),
    "evaluate": ("run", "--on", "dev.csv"),
    "curve": (),
    "report": ("curve",),
    "data": (),
    "split": (),
    "list": (),
    "reproduce": ("table2", "--dry-run"),
    "inspect": ("run",),
    "doctor": (),
}
_WHOLE = (
    "nan",
    "1.5",
    "",
    "abc",
    "1e3",
    "0x10",
    "-1",
    "1,000",
    "9" * 30,
    "9" * 5000,
    "1 2",
    "١٢x",
    "inf",
    "--",
    "1_",
    "NULL",
    "-0x1",
    "²",
)
_FRACTION = (
    "nan",
    "-nan",
    "inf",
    "-inf",
    "1e999",
    "",
    "abc",
    "1,5",
    "0x1p3",
    "-1",
    "1..2",
    "1e",
    "½",
    "１．５",
    "9" * 5000,
    "1/2",
    "50%",
)


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _numbers()
    yield from _choices()
    yield from _commands()
    yield from _together()


def _numeric() -> Iterator[tuple[str, str, type]]:
    """(command, option, int or float) for all options that take a number."""
    from ssl_pdr.cli import app

    for command in app.registered_commands:
        assert command.callback
        for parameter in inspect.signature(command.callback, eval_str=True).parameters.values():
            kind, info = typing.get_args(parameter.annotation)
            inner = {
                one for outer in (typing.get_args(kind) or (kind,)) for one in (typing.get_args(outer) or (outer,))
            }
            option = (info.param_decls or ["--" + parameter.name.replace("_", "-")])[0]
            for number in (int, float):
                if number in inner:
                    yield str(command.name), option, number


def _numbers() -> Iterator[Case]:
    """Words that are no number, or none that is allowed, for every option that takes one; two for each, others each time."""
    rng = random.Random(0)
    for command, option, kind in [*_numeric(), ("train", "--ratio", float)]:
        for word in rng.sample(_WHOLE if kind is int else _FRACTION, 2):
            argv = (command, *_NEEDS[command], f"{option}={word}")
            yield Case(kind="numbers", name=f"{command} {option} {word[:12]} ({len(word)})", argv=argv, light=True)
    for word in ("-0", "１", "+1", " 1", "1_0", "-0.0"):
        for option in ("--alpha", "--seed", "--radius", "--max-steps"):
            argv = (*TRAIN, *REVIEWS, *OUT, f"{option}={word}")
            yield Case(kind="numbers", name=f"odd but a number, {option} {word!r}", argv=argv, ends=EITHER)


def _choices() -> Iterator[Case]:
    """Names with a letter too few, for options that take some of a few."""
    typos = {
        "--preset": ("papr", "'paper'"),
        "--radius-unit": ("absolut", "'absolute'"),
        "--site": ("ouput", "'output'"),
        "--dropout": ("indepndent", "'independent'"),
        "--target-grad": ("detatch", "'detach'"),
        "--search": ("exakt", "'exact'"),
        "--norm": ("tokn", "'token'"),
        "--precision": ("bf_16", "'bf16'"),
        "--split-strategy": ("startified", "'stratified'"),
        "--split-documents": ("paragraf", "'paragraph'"),
        "--long-documents": ("cutt", "'cut'"),
        "--task": ("clasification", "'classification'"),
        "--collapse": ("summ", "'sum'"),
        "--ratio": ("proportionl", "proportional"),
    }
    for option, (word, says) in typos.items():
        yield Case(kind="choices", name=f"{option} {word}", argv=("train", option, word), says=says, light=True)
        hostile = "\x1b[31m[red]" + "x" * 3000
        yield Case(kind="choices", name=f"{option} of control characters", argv=("train", option, hostile), light=True)
        yield Case(kind="choices", name=f"{option} of nothing", argv=("train", option, ""), light=True)
    for option, word, says in (
        ("--reg", "vatt", "'vat'"),
        ("--div", "kll", "'kl'"),
        ("--div", "power:x", ""),
        ("--div", "power:nan", ""),
        ("--div", "power:1e999", ""),
        ("--div", "power:", ""),
        ("--reg", "", ""),
        ("--div", "kl:1", ""),
    ):
        yield Case(
            kind="choices",
            name=f"{option} {word}",
            argv=(*TRAIN, *REVIEWS, *OUT, option, word, *(("--reg", "vat") if option == "--div" else ())),
            says=says,
        )
    for name, argv, says in (
        ("doctor --reg", ("doctor", "--reg", "none"), "vat"),
        ("doctor --preset", ("doctor", "--preset", "papr"), "'paper'"),
        ("curve --match", ("curve", "--match", "stepz", "--dry-run"), "steps"),
        ("curve --engine", ("curve", "--engine", "rai", *REVIEWS, "--model", "model"), "'ray'"),
        ("reproduce table9", ("reproduce", "table9", "--dry-run"), "table"),
        ("reproduce --methods", ("reproduce", "table2", "--methods", "vatt", "--dry-run"), ""),
        ("reproduce --columns", ("reproduce", "table2", "--columns", "sst3", "--dry-run"), "sst2"),
    ):
        yield Case(kind="choices", name=name, argv=argv, says=says, light=name != "curve --engine")


def _commands() -> Iterator[Case]:
    """Commands and options that there are not, and such as lack something."""
    lacking = [
        (),
        ("trian",),
        ("",),
        ("train", "nothing"),
        ("--nothing",),
        ("train", "--epoch"),
        ("train", "--lerning-rate", "1"),
        ("evaluate",),
        ("evaluate", "run"),
        ("report",),
        ("inspect",),
    ]
    lacking += [
        ("reproduce",),
        ("report", "curve", "more"),
        ("split", "x.csv"),
        ("list", "x"),
        ("doctor", "x"),
        ("data", "a.csv", "b.csv"),
        ("train", "--data"),
        ("train", "--set"),
        ("-v",),
        ("train", "--overwrite=yes"),
        ("train", "-"),
    ]
    lacking += [
        ("train", "--", "x"),
        ("\x1b[31m",),
        ("train", "--\x1b[31m"),
        ("train", "[red]"),
        ("\udcff",),
        ("train", "--data", "a", "--resume"),
        ("x" * 5000,),
        ("train", "--" + "y" * 5000),
    ]
    for argv in lacking:
        name = " ".join(argv)[:40].encode("unicode_escape").decode()
        yield Case(
            kind="commands",
            name=name or f"{len(argv)} words",
            argv=argv,
            light=True,
            says="Did you mean" if argv == ("trian",) else "",
        )
    for argv in (("--help",), ("train", "--help"), ("--version",), ("curve", "-h"), ("reproduce", "--help")):
        yield Case(kind="commands", name=" ".join(argv), argv=argv, light=True, ends=FINE)


def _together() -> Iterator[Case]:
    """Options that are right by themselves."""
    pairs = [
        ("train", "--labelled-frac", "0.5", "--labelled-count", "3"),
        ("train", "--split", "s.json", "--labelled-per-class", "3"),
        ("train", "--split-strategy", "group"),
        ("train", "--group-column", "g"),
        ("train", "--batch-size", "5", "--accumulation", "2"),
        ("train", "--stream"),
        ("train", "--stream", "--unlabelled", "x.txt"),
        ("train", "--resume", "run", "--seed", "1"),
        ("train", "--resume", "run", "--recipe", "recipe.toml"),
        ("train", "--resume", "run", "--overwrite"),
        ("data", "a.csv", "--data", "b.csv"),
        ("reproduce", "table2", "--set", "seed=1", "--dry-run"),
        ("reproduce", "table2", "--set", "limit=1", "--subset", "2", "--dry-run"),
    ]
    for argv in pairs:
        yield Case(kind="together", name=" ".join(argv), argv=argv, light=True)
    settings = [
        "",
        "=",
        "alpha",
        "=1",
        "alpha=",
        "alpha=nan",
        "alpha=inf",
        "alpha=-1",
        "alpha=true",
        "alpha='1'",
        "alpha=[1]",
        "alpha={a=1}",
        "alpha=1979-05-27",
        "alpha=" + "9" * 400,
        "alpha=" + "9" * 5000,
    ]
    settings += [
        "alhpa=1",
        "seed=1.5",
        "seed=-1",
        "seed=1e3",
        "eval_on=[1]",
        "eval_on={}",
        "skip_bad_rows=1",
        "skip_bad_rows=yes",
        "data=[]",
        "data=3",
        "seed=" + "[" * 5000,
        "seed=" + "9" * 5000,
        "x\n=1",
        "alpha=1\nseed=2",
        "\x1b[31m=1",
    ]
    settings += [
        "epochs=1e999",
        "ratio=nan",
        "ratio=-1",
        "ratio=x",
        "batch_size=0",
        "max_length=3",
        "max-length=0",
        "lr=0",
        "precision=fp8",
        "labelled_frac=2",
        "seed=0x1_0000_0000",
        "seed=07",
        "output=1",
        "data_fingerprint=1",
    ]
    for setting in settings:
        name = setting[:24].encode("unicode_escape").decode()
        argv = ("train", "--set", setting)
        yield Case(
            kind="settings",
            name=f"{name} ({len(setting)})",
            argv=argv,
            light=True,
            says="'alpha'" if setting == "alhpa=1" else "",
        )
    for method in (
        "",
        ":",
        "vat:",
        ":kl",
        "vat:kll",
        "vatt",
        "vat:kl,",
        "vat:kl,alpha",
        "vat:kl,alpha=",
        "vat:kl,alpha=nan",
        "vat:kl,alhpa=1",
        "vat:kl,seed=1",
        "none:kl",
        "vat:kl,alpha=1,alpha=2",
        "\x1b[31m",
    ):
        argv = ("curve", *REVIEWS, "--model", "model", "--method", method, "--dry-run", *OUT)
        yield Case(
            kind="settings",
            name=f"--method {method!r}",
            argv=argv,
            ends=(2,) if method != "vat:kl,alpha=1,alpha=2" else EITHER,
        )
    for search in (
        "",
        "=",
        "alpha=",
        "alpha",
        "alhpa=1",
        "alpha=nan",
        "alpha=a,b",
        "alpha=[1",
        "seed=1,2",
        "alpha=" + "[" * 5000,
        "alpha=1,1",
        "reg=vat,none",
    ):
        argv = ("curve", *REVIEWS, "--model", "model", "--search", search, "--dry-run", *OUT)
        yield Case(
            kind="settings", name=f"--search {search[:20]!r}", argv=argv, ends=(2,) if search != "alpha=1,1" else EITHER
        )
    for budget in ("0", "2", "nan", "-1", "1e-12", "inf"):
        argv = ("curve", *REVIEWS, "--model", "model", "--budget", budget, "--dry-run", *OUT)
        yield Case(kind="settings", name=f"--budget {budget}", argv=argv)
