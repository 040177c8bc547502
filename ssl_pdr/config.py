"""One run's configuration: typed, checked, written back in full. Imports no torch."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import tomli_w

from ssl_pdr.choices import EMBEDDED_ENCODER, NAMED_SETS, OF_OPTIONS, REGULARIZERS_WITHOUT_DIVERGENCE, REPORTERS
from ssl_pdr.errors import ConfigError, unknown_name
from ssl_pdr.files import is_there

# Every switch that a preset sets; an option given by hand wins. `default` is what our own measurements speak for so
# far, `paper` is the text of Cheng et al. (NAACL 2021), `published-code` what their code does where the text differs.
PRESETS: dict[str, dict[str, Any]] = {
    "default": {
        "site": "output",
        "dropout": "independent",
        "radius": 1.0,
        "radius_unit": "token_norm",
        "target_grad": "auto",
        "search": "exact",
    },
    "paper": {
        "site": "sum",
        "dropout": "independent",
        "radius": 1e-3,
        "radius_unit": "absolute",
        "target_grad": "auto",
        "search": "power",
    },
    "published-code": {
        "site": "output",
        "dropout": "independent",
        "radius": 1e-3,
        "radius_unit": "absolute",
        "target_grad": "auto",
        "search": "power",
    },
}


def uses_pool(reg: str, alpha: float, ratio: str | float) -> bool:
    """Whether a method trains on unlabelled rows, where there are any.

    Example:
        >>> uses_pool("vat", 1.0, "proportional"), uses_pool("at", 1.0, "proportional"), uses_pool("vat", 1.0, 0)
        (True, False, False)
    """
    return reg not in ("none", "at") and alpha > 0 and ratio != 0


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides a run. `None` means: what the preset says, or none.

    Attributes:
        data: an embedded corpus, a data set of the paper by its name, a file, folder or glob (csv, tsv, json, jsonl, parquet,
            also .gz and .zst), or a Hub name (owner/name:configuration:split); rows without a label are used as unlabelled
            text.
        task: `classification` or `question-answering`; None goes by the data.
        data_dir: folder with the files of the data sets of the paper; None takes them from the Hub.
        eval: likewise, to evaluate on; None holds out `eval_frac` of the data, or takes what the data set brings.
        eval_on: likewise, further sets to evaluate on at the end; may be repeated.
        eval_limit: use only about this many rows of each set to evaluate on, spread over it.
        eval_frac: held-out share where there is no evaluation part, in (0, 1).
        text_column: column of the text; None guesses from common names.
        pair_column: column of a second text; None guesses.
        label_column: column of the label; None guesses.
        group_column: column of what a label budget by group keeps together; of questions `title` or `context`.
        label_map: another name for a label, in all parts; may be repeated.
        encoding: of text files.
        skip_bad_rows: leave rows that cannot be read out, and count them; otherwise they are an error.
        limit: use only this many training rows.
        data_fingerprint: refuse data whose fingerprint differs; a run notes here what it was given.
        model: `minilm-l6` (embedded), a local folder or a Hub model.
        labelled_frac: share of the training rows that keep their label, in (0, 1].
        labelled_count: how many rows keep their label, in place of a share.
        labelled_per_class: how many rows of each class keep their label, in place of a share.
        split_strategy: which ones: `stratified`, `random` or `group` (whole groups of `group_column`).
        split: manifest of an earlier split, whose rows and seed are taken over.
        unlabelled: a corpus without labels, as for `data` or a txt file; may be repeated. Weights are relative, 1 where
            others have one.
        temperature: unlabelled corpora weigh size^(1/temperature); None goes by size, or by weights.
        stream: read unlabelled corpora as they are trained on and keep nothing on disk; needs a number as `ratio`.
        split_documents: txt files hold one document per `line`, or per `paragraph`.
        long_documents: unlabelled documents of more than `max_length` tokens: `cut` drops the rest, `windows` makes rows of it.
        reg: `none` or a regularizer.
        div: divergence of `rdrop`, `rpt` and `vat`.
        alpha: weight of R, at least 0.
        preset: `default`, `paper` or `published-code`.
        radius: size c of the perturbation, at least 0; see `radius_unit`.
        radius_unit: `absolute`, or `token_norm`: relative to the mean norm of the row's tokens.
        site: where noise enters: `sum`, `output` or `word`.
        dropout: masks between passes: `shared`, `independent` or `off`.
        target_grad: gradient on the clean side: `auto`, `detach` or `both`; with `align`, `auto` is `detach`.
        search: how `vat` finds its direction: `exact`, from the clean pass's own graph, or `power`, by further passes.
        search_steps: steps of the search `power` of `vat`, and of `at`.
        search_products: products of the search `exact`; None is one less than there are classes, up to 12, and one for more.
        search_rounds: further rounds of the search `exact` where there are more classes than that.
        norm: of the noise: `token` (each token's is of size radius) or `sequence` (a row's, as long altogether).
        order: 1 for the divergence itself, 2 for its second-order form (Eq. 7), which no rounding drowns.
        projections: random projections of `jr` and `wjr`; None is exact, and one for answers in a passage.
        align: decay of the running means by which the target's classes become as frequent as those of labelled rows, below 1; 0 is off.
        ratio: `proportional`, or unlabelled rows per labelled row; 0 leaves them out, so that R is of labelled rows alone.
        epochs: passes over the data.
        max_steps: optimizer steps; wins over `epochs` if given.
        save_steps: optimizer steps between checkpoints.
        lr: peak learning rate; None is 3e-4 for the small embedded encoder and 2e-5 for any other model.
        warmup_frac: share of the steps in which the rate rises, in [0, 1).
        weight_decay: of AdamW.
        batch_size: rows of one optimizer step, labelled and unlabelled together.
        accumulation: micro-batches that one optimizer step is cut into.
        auto_batch: where a step does not fit into memory, cut it into twice as many micro-batches and go on from the last checkpoint.
        precision: of the passes: `float32`, or `bf16` or `fp16` mixed with it; weights stay in float32.
        max_length: tokens of a row, longer ones are cut.
        stride: tokens that neighbouring windows of a passage share; None is a third of `max_length`.
        max_answer_length: tokens of an answer.
        n_best: answers that are kept for each question.
        collapse: how classes that a set does not tell apart become one (HANS): `argmax` of all, or `sum` of probabilities.
        seed: of the split, the batches, the noise and torch.
        deterministic: take algorithms alone that give the same bits each time, on a GPU too, which makes it slower; a CPU hardly notices.
        report_to: show the parts of the loss, and the scores, in `tensorboard`, `mlflow` or `wandb` too, kept in the run's folder; may be repeated.
        output: folder of the run; None derives `runs/…` from the options.
    """

    data: str = "pydocs-topics"
    task: str | None = None
    data_dir: str | None = None
    eval: str | None = None
    eval_on: tuple[str, ...] | None = None
    eval_limit: int | None = None
    eval_frac: float = 0.2
    text_column: str | None = None
    pair_column: str | None = None
    label_column: str | None = None
    group_column: str | None = None
    label_map: tuple[str, ...] | None = None
    encoding: str = "utf-8"
    skip_bad_rows: bool = False
    limit: int | None = None
    data_fingerprint: str | None = None
    model: str = EMBEDDED_ENCODER
    labelled_frac: float = 1.0
    labelled_count: int | None = None
    labelled_per_class: int | None = None
    split_strategy: str = "stratified"
    split: str | None = None
    unlabelled: tuple[str, ...] | None = None
    temperature: float | None = None
    stream: bool = False
    split_documents: str = "line"
    long_documents: str = "cut"
    reg: str = "vat"
    div: str = "shl"
    alpha: float = 1.0
    preset: str = "default"
    radius: float | None = None
    radius_unit: str | None = None
    site: str | None = None
    dropout: str | None = None
    target_grad: str | None = None
    search: str | None = None
    search_steps: int = 1
    search_products: int | None = None
    search_rounds: int = 1
    norm: str = "token"
    order: int = 1
    projections: int | None = None
    align: float = 0.0
    ratio: str | float = "proportional"
    epochs: float = 3.0
    max_steps: int | None = None
    save_steps: int = 200
    lr: float | None = None
    warmup_frac: float = 0.1
    weight_decay: float = 0.01
    batch_size: int = 16
    accumulation: int = 1
    auto_batch: bool = False
    precision: str = "float32"
    max_length: int = 128
    stride: int | None = None
    max_answer_length: int = 30
    n_best: int = 5
    collapse: str = "argmax"
    seed: int = 0
    deterministic: bool = False
    report_to: tuple[str, ...] | None = None
    output: str | None = None

    def __post_init__(self) -> None:
        for name, rule in _RULES.items():
            value = getattr(self, name)
            if value is not None and not rule.accepts(value):
                raise ConfigError(f"{option(name)} must be {rule.expected}, got {value}")
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value is not None and value not in allowed:
                raise unknown_name(name.replace("_", " "), value, allowed)
        for value in self.report_to or ():
            if value not in REPORTERS:
                raise unknown_name("place to report to", value, REPORTERS)
        if self.batch_size % self.accumulation:
            raise ConfigError(
                f"--batch-size {self.batch_size} cannot be cut into {self.accumulation} equal micro-batches"
            )
        if isinstance(self.ratio, str) and self.ratio != "proportional":
            raise ConfigError(f"--ratio must be 'proportional' or a number of at least 0, got {self.ratio!r}")
        if not isinstance(self.ratio, str) and not (0 <= self.ratio <= 1e6):
            raise ConfigError(f"--ratio must be 'proportional' or a number of at least 0, got {self.ratio}")
        self._check_budget()
        if self.stream and not self.unlabelled:
            raise ConfigError("--stream says how unlabelled corpora are read; give some with --unlabelled")
        if self.stream and self.ratio == "proportional":
            raise ConfigError(
                "--stream needs --ratio NUMBER, unlabelled rows for each labelled one: a stream has no length"
            )

    def _check_budget(self) -> None:
        given = {
            "labelled_frac": self.labelled_frac != 1.0,
            "labelled_count": self.labelled_count is not None,
            "labelled_per_class": self.labelled_per_class is not None,
            "split": self.split is not None,
        }
        if sum(given.values()) > 1:
            raise ConfigError(
                f"expected one label budget, got {' and '.join(option(name) for name, there in given.items() if there)}"
            )
        if (self.split_strategy == "group") != (self.group_column is not None) and self.split is None:
            raise ConfigError("--split-strategy group needs --group-column, and the other way round")

    def resolved(self) -> TrainConfig:
        """The same configuration with nothing left to the preset and the output folder named."""
        preset = dict(PRESETS[self.preset])
        if self.reg == "rdrop":  # two dropout masks are what it compares, whatever a preset says of noise
            preset["dropout"] = "independent"
        preset["lr"] = 3e-4 if self.model == EMBEDDED_ENCODER else 2e-5
        for name in ("data", "data_dir", "eval", "model", "split"):  # a resumed run may be started from another folder
            if (value := getattr(self, name)) not in (None, EMBEDDED_ENCODER):
                preset[name] = _absolute(value)
        for name in ("unlabelled", "eval_on"):
            if (several := getattr(self, name)) is not None:
                preset[name] = tuple(map(_absolute, several))
        given = {name: value for name in PRESETS[self.preset] if (value := getattr(self, name)) is not None}
        if self.lr is not None:
            given["lr"] = self.lr
        return dataclasses.replace(self, **{**preset, **given}, output=self.output or self._default_output())

    def _default_output(self) -> str:
        data = file_name(self.data)
        method = self.reg if self.reg in REGULARIZERS_WITHOUT_DIVERGENCE else f"{self.reg}-{self.div.replace(':', '')}"
        return f"runs/{data}_{method}_{self._budget()}_seed{self.seed}"

    def _budget(self) -> str:
        if self.split is not None:
            return Path(self.split).stem
        if self.labelled_count is not None:
            return f"{self.labelled_count}labels"
        return f"{self.labelled_frac:g}" if self.labelled_per_class is None else f"{self.labelled_per_class}perclass"

    def to_toml(self) -> str:
        """The configuration as TOML; keys that are None are left out."""
        return tomli_w.dumps({k: v for k, v in dataclasses.asdict(self).items() if v is not None})


@dataclass(frozen=True)
class _Rule:
    expected: str
    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def accepts(self, value: float) -> bool:
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below and math.isfinite(value)


_POSITIVE = _Rule("a whole number from 1 to 1000000000", low=1, high=10**9)
_RULES: dict[str, _Rule] = {
    "labelled_frac": _Rule("above 0 and at most 1", 0, 1, low_open=True),
    "eval_frac": _Rule("between 0 and 1, both excluded", 0, 1, low_open=True, high_open=True),
    "alpha": _Rule("a finite number of at least 0", low=0),
    "radius": _Rule("a finite number of at least 0 (and at most 1e6)", 0, 1e6),
    "align": _Rule("at least 0 (off) and below 1", 0, 1, high_open=True),
    "temperature": _Rule("a finite number above 0", low=0, low_open=True),
    "lr": _Rule("a finite number above 0", low=0, low_open=True),
    "epochs": _Rule("a finite number above 0", low=0, low_open=True),
    "warmup_frac": _Rule("at least 0 and below 1", 0, 1, high_open=True),
    "weight_decay": _Rule("a finite number of at least 0", low=0),
    "search_rounds": _Rule("a whole number of at least 0", 0, 1000),
    "order": _Rule("1 (the divergence) or 2 (its second-order form)", 1, 2),
    "seed": _Rule("a whole number from 0 to 4294967295", 0, 2**32 - 1),
    "max_length": _Rule("a whole number from 4 to 1000000", 4, 10**6),
    **dict.fromkeys(
        (
            "limit",
            "eval_limit",
            "labelled_count",
            "labelled_per_class",
            "search_steps",
            "search_products",
            "projections",
            "max_steps",
            "save_steps",
            "batch_size",
            "accumulation",
            "stride",
            "max_answer_length",
            "n_best",
        ),
        _POSITIVE,
    ),
}
_CHOICES = {"preset": tuple(PRESETS), **OF_OPTIONS}


def file_name(data: str) -> str:
    """What files and folders about some data are called.

    Example:
        >>> file_name("pydocs-topics"), file_name("texts/my reviews.train.csv"), file_name("*.csv")
        ('pydocs-topics', 'my-reviews', 'data')
    """
    return re.sub(r"[^\w-]+", "-", Path(data).name.split(".")[0]).strip("-") or "data"


def is_model_folder(model: str) -> bool:
    """Whether this is a folder with a model, rather than a name on the Hub.

    Example:
        >>> is_model_folder("/models/mine"), is_model_folder("owner/name"), is_model_folder("minilm-l6")
        (True, False, False)
    """
    # What comes with the package has its name, whatever lies here; a folder that is called so is ./name.
    return model != EMBEDDED_ENCODER and (
        model.startswith((".", "/", "~")) or model.count("/") > 1 or (is_there(model) and Path(model).is_dir())
    )


def option(name: str) -> str:
    """How the command line spells the key `name`."""
    return "--" + name.replace("_", "-")


def _absolute(spec: str) -> str:
    """A path to something that is there, or a glob, from the root; a weight stays; anything else stays as it is."""
    name, colon, weight = spec.rpartition(":")
    if name in NAMED_SETS or spec in NAMED_SETS:  # a folder of that name is ./name
        return spec
    for path, rest in ((spec, ""), (name, colon + weight)):
        if path and (any(c in path for c in "*?[") or is_there(path)):
            return str(Path(path).expanduser().absolute()) + rest
    return spec


def make_config(*layers: Mapping[str, Any]) -> TrainConfig:
    """A configuration from layers of keys, later ones winning; keys whose value is None do not count."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged.update({key.replace("-", "_"): value for key, value in layer.items() if value is not None})
    return TrainConfig(**merged)


FIELDS: tuple[str, ...] = tuple(field.name for field in fields(TrainConfig))
