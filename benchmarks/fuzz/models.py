"""Models: folders that hold none, or a damaged one, and configurations that cannot be built."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.fuzz.case import EITHER, Case
from benchmarks.fuzz.folders import JSONS, change, set_keys
from benchmarks.fuzz.ways import OUT, REVIEWS, put
from benchmarks.fuzz.world import TRAIN


def cases() -> Iterator[Case]:
    """All of them."""
    train = (*TRAIN, *REVIEWS, *OUT)
    evaluate = ("evaluate", "model", "--on", "dev.csv", *OUT)
    doctor = ("doctor", "--model", "model", "--json")
    data = ("data", "reviews.csv", "--model", "model")
    for number, name in enumerate(("config.json", "tokenizer.json", "tokenizer_config.json")):
        for place, (what, content) in enumerate(JSONS.items()):
            argv = (train, evaluate, data, doctor if number == 0 else train)[(number + place) % 4]
            yield Case(
                kind="models",
                name=f"{name}: {what}, {argv[0]}",
                argv=argv,
                make=put(f"model/{name}", content),
                ends=EITHER if name == "tokenizer_config.json" else (2,) if argv is not data or number else EITHER,
            )
    yield from _weights()
    yield from _architectures()
    yield from _no_models()


def _weights() -> Iterator[Case]:
    train = (*TRAIN, *REVIEWS, *OUT)
    evaluate = ("evaluate", "model", "--on", "dev.csv", *OUT)
    doctor = ("doctor", "--model", "model", "--json")
    weights: dict[str, Callable[[bytes], bytes]] = {
        "nothing": lambda _: b"",
        "cut": lambda good: good[: len(good) // 2],
        "cut in its header": lambda good: good[:20],
        "a header of a huge length": lambda good: b"\xff" * 8 + good[8:],
        "a header of 4 GB": lambda good: (2**32).to_bytes(8, "little") + good[8:],
        "random": lambda _: b"\x13\x37" * 5000,
        "a header that is no JSON": lambda good: good[:8] + b"x" * 50 + good[58:],
        "pickle": lambda _: b"\x80\x04cos\nsystem\n(S'true'\ntR.",
        "no tensors": lambda _: (2).to_bytes(8, "little") + b"{}",
        "not finite": lambda good: good[:-4000] + b"\x00\x00\xc0\x7f" * 1000,
    }
    for what, how in weights.items():

        def damage(folder: Path, how: Callable[[bytes], bytes] = how) -> None:
            path = folder / "model" / "model.safetensors"
            path.write_bytes(how(path.read_bytes()))

        for argv in (train, evaluate):
            yield Case(
                kind="models",
                name=f"model.safetensors: {what}, {argv[0]}",
                argv=argv,
                make=damage,
                ends=EITHER if what in ("not finite", "no tensors") else (2,),
            )

    def pickled(folder: Path) -> None:
        (folder / "model" / "model.safetensors").rename(folder / "model" / "pytorch_model.bin")

    def gone(name: str) -> Callable[[Path], object]:
        return lambda folder: (folder / "model" / name).unlink()

    for what, make in {
        "pickled weights alone": pickled,
        "no weights": gone("model.safetensors"),
        "no config": gone("config.json"),
        "no tokenizer": gone("tokenizer.json"),
    }.items():
        for argv in (train, evaluate, doctor):
            yield Case(kind="models", name=f"{what}, {argv[0]}", argv=argv, make=make)


def _architectures() -> Iterator[Case]:
    train = (*TRAIN, *REVIEWS, *OUT)
    evaluate = ("evaluate", "model", "--on", "dev.csv", *OUT)
    doctor = ("doctor", "--model", "model", "--json")
    configs: dict[str, dict[str, Any]] = {
        "an unknown architecture": {"model_type": "mystery"},
        "a model for images": {"model_type": "vit"},
        "no architecture": {"model_type": None},
        "another architecture": {"model_type": "roberta"},
        "a decoder": {"model_type": "gpt2"},
        "hidden_size 0": {"hidden_size": 0},
        "hidden_size that heads do not divide": {"hidden_size": 17},
        "hidden_size -1": {"hidden_size": -1},
        "hidden_size a text": {"hidden_size": "x"},
        "hidden_size 1e12": {"hidden_size": 10**12},
        "no layers": {"num_hidden_layers": 0},
        "a million layers": {"num_hidden_layers": 10**6},
        "fewer words": {"vocab_size": 5},
        "more words": {"vocab_size": 10**9},
        "no positions": {"max_position_embeddings": 0},
        "three positions": {"max_position_embeddings": 3},
        "an unknown activation": {"hidden_act": "mystery"},
        "dropout of 2": {"hidden_dropout_prob": 2.0},
        "dropout of nan": {"hidden_dropout_prob": float("nan")},
        "labels that do not fit": {"id2label": {"0": "a"}, "label2id": {"a": 7}},
        "labels with markup": {
            "id2label": {"0": "[red]\x1b[31m", "1": "</script>"},
            "label2id": {"[red]\x1b[31m": 0, "</script>": 1},
        },
        "remote code": {"auto_map": {"AutoModelForSequenceClassification": "evil.Evil"}},
        "a dtype that is none": {"dtype": "float7"},
        "pad_token_id beyond": {"pad_token_id": 10**6},
        "initializer_range nan": {"initializer_range": float("nan")},
    }
    for number, (what, values) in enumerate(configs.items()):
        for argv in ((train, evaluate), (train, doctor))[number % 2]:
            yield Case(
                kind="models",
                name=f"{what}, {argv[0]}",
                argv=argv,
                make=change("model/config.json", set_keys(**values)),
                ends=EITHER,
            )


def _no_models() -> Iterator[Case]:
    """Names of what is no model."""
    for what, model in {
        "nothing": "nothing",
        "nothing here": "./nothing",
        "a file": "reviews.csv",
        "an empty folder": "empty",
        "a curve": "curve",
        "a model for answers": "answers",
        "a Hub name": "owner/name",
        "no name": "",
        "a long name": "x" * 5000,
        "a name of dots": "...",
        "a null device": "/dev/null",
        "a URL": "https://x/y",
        "control characters": "\x1b[31m",
        "a file of weights": "model/model.safetensors",
    }.items():
        for command in (
            ("train", *TRAIN[3:], *REVIEWS, *OUT, "--model", model),
            ("evaluate", model, "--on", "dev.csv", *OUT),
            ("doctor", "--model", model),
        ):
            yield Case(
                kind="models",
                name=f"{what}, {command[0]}",
                argv=command,
                make=lambda folder: (folder / "empty").mkdir(),
                ends=EITHER if what == "a model for answers" else (2,),
            )
