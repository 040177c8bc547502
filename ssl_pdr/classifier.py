"""`PDRClassifier`: labelled and unlabelled text in, classes out, with the manners of a scikit-learn estimator."""

# ruff: noqa: N803  # X is what scikit-learn calls it

from __future__ import annotations

import os
import random
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    PrinterCallback,
    TrainingArguments,
    set_seed,
)
from transformers.utils import logging

from ssl_pdr.arrays import Texts, as_labels, as_texts, split_classes
from ssl_pdr.choices import EMBEDDED_ENCODER
from ssl_pdr.classifier_folder import read_manifest, write_folder
from ssl_pdr.config import TrainConfig, make_config, uses_pool
from ssl_pdr.errors import ConfigError, ModelError, NonFiniteLossError
from ssl_pdr.methods import build_regularizer
from ssl_pdr.recipe import check_value
from ssl_pdr.regularizers import Regularizer
from ssl_pdr.tasks.base import fit_together, load_tokenizer, load_weights, positions
from ssl_pdr.tasks.classification import SequenceClassification
from ssl_pdr.trainer import PDRTrainer

_PREDICT_ROWS = 64


class PDRClassifier(ClassifierMixin, BaseEstimator):
    """Classify texts, or pairs of texts, after training on few labels and much unlabelled text.

    X is a sequence of texts (list, array, pandas Series), or of pairs: 2-tuples or an (n, 2) array. Rows whose label
    is −1 have none, as in `sklearn.semi_supervised`; more text without labels comes by `fit(..., unlabelled=…)`.
    Labels that are texts stand with −1 in an object array. Parameters are checked by `fit`.

    In a `GridSearchCV` or `cross_val_score` give unlabelled text by `unlabelled=` alone (`clf__unlabelled=` in a
    `Pipeline` whose step is `clf`): scorers count rows with −1 as errors, and stratified folds take −1 for a class.
    scikit-learn cuts any fit parameter that is as long as X in the same way as X; one row more keeps it whole.

    The same integer `random_state` gives the same classifier on the same machine, on the CPU to the last bit.

    Args:
        model: `minilm-l6` (embedded), a local folder or a Hub model.
        reg: `none` or a regularizer.
        div: divergence of `rdrop`, `rpt` and `vat`.
        alpha: weight of R, at least 0; with 0, without a regularizer, with `at` or with a `ratio` of 0 unlabelled text is not used.
        preset: `default`, `paper` or `published-code`.
        radius: size c of the perturbation, at least 0; None takes the preset's.
        site: where noise enters: `sum`, `output` or `word`; None takes the preset's.
        dropout: masks between passes: `shared`, `independent` or `off`; None takes the preset's.
        ratio: `proportional`, or unlabelled rows per labelled row.
        epochs: passes over the data.
        max_steps: optimizer steps; wins over `epochs` if given.
        lr: peak learning rate; None is 3e-4 for the small embedded encoder and 2e-5 for any other model.
        batch_size: rows of one optimizer step, labelled and unlabelled together.
        max_length: tokens of a row; longer ones are cut, and where the model has fewer positions, to those.
        random_state: an int from 0 to 2³² − 1, a `RandomState`, or None for another seed in each fit.
        verbose: 0 is silent; 1 shows progress and the parts of the loss.

    Attributes:
        classes_: (C,) the labels, sorted.
        model_: the trained model, a `transformers.PreTrainedModel`.
        tokenizer_: its tokenizer, which cuts rows as `max_length` says.
        pairs_: whether rows are pairs of texts.

    Example:
        >>> PDRClassifier(reg="rpt", alpha=4.0)
        PDRClassifier(alpha=4.0, reg='rpt')
        >>> texts = ["a joy", "a bore", "what a joy this was", "never such a bore"]
        >>> classifier = PDRClassifier(max_steps=20).fit(texts, [1, 0, -1, -1])  # doctest: +SKIP
        >>> classifier.predict(["sheer joy"])  # doctest: +SKIP
        array([1])
    """

    def __init__(
        self,
        model: str = EMBEDDED_ENCODER,
        reg: str = "vat",
        div: str = "shl",
        *,
        alpha: float = 1.0,
        preset: str = "default",
        radius: float | None = None,
        site: str | None = None,
        dropout: str | None = None,
        ratio: str | float = "proportional",
        epochs: float = 3.0,
        max_steps: int | None = None,
        lr: float | None = None,
        batch_size: int = 16,
        max_length: int = 128,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.model = model
        self.reg = reg
        self.div = div
        self.alpha = alpha
        self.preset = preset
        self.radius = radius
        self.site = site
        self.dropout = dropout
        self.ratio = ratio
        self.epochs = epochs
        self.max_steps = max_steps
        self.lr = lr
        self.batch_size = batch_size
        self.max_length = max_length
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = tags.input_tags.string = True
        tags.input_tags.two_d_array = False  # of numbers, that is
        return tags

    def fit(self, X: Any, y: Any, unlabelled: Any = None) -> PDRClassifier:
        """Train from the pretrained model, whatever was fitted before.

        Args:
            X: n texts or pairs.
            y: (n,) labels: whole numbers, texts or truth values; −1 for a row without one.
            unlabelled: more texts or pairs without labels.

        Returns:
            The classifier itself.

        Raises:
            DataError: for rows that are not texts, labels that are not classes, or fewer than two classes.
            ConfigError: for a parameter that is out of range, UnknownNameError for a name that there is not.
            ModelError: if the model cannot be loaded, or does not fit its tokenizer.
            NonFiniteLossError: if training diverges.
        """
        config = self._config()
        regularizer = build_regularizer(config)
        texts = as_texts(X, "X")
        labels, has_label = as_labels(y, len(texts))
        classes, numbers = split_classes(labels[has_label])
        pool = texts[~has_label]
        if unlabelled is not None:
            pool = np.concatenate([pool, as_texts(unlabelled, "unlabelled", pairs=texts.ndim == 2)])
        if not uses_pool(config.reg, config.alpha, config.ratio):
            pool = pool[:0]
        with _own_randomness(config.seed), _quiet(bool(self.verbose)):
            model, tokenizer = _load(config, [str(label) for label in classes.tolist()])
            rows = zip(_features(tokenizer, texts[has_label]), numbers.tolist(), strict=True)
            labelled = [{**row, "labels": number} for row, number in rows]
            rest = _features(tokenizer, pool)
            _train(config, regularizer, model, tokenizer, labelled, rest, verbose=bool(self.verbose))
        if not np.isfinite(_probabilities(model, tokenizer, texts[:_PREDICT_ROWS])).all():
            raise NonFiniteLossError("the trained model's answers are not finite; lower lr, alpha or radius")
        self.classes_, self.model_, self.tokenizer_, self.pairs_ = classes, model, tokenizer, texts.ndim == 2
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """The probability of each class, (n, C) float32, columns in the order of `classes_`; rows sum to 1.

        Args:
            X: n texts or pairs, as in `fit`.

        Raises:
            DataError: for rows that are not texts, or pairs where the classifier was fitted on texts.
        """
        check_is_fitted(self)
        return _probabilities(self.model_, self.tokenizer_, as_texts(X, "X", pairs=self.pairs_))

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class of each row of X, (n,), of the dtype of `y` in `fit`; errors as `predict_proba`."""
        chosen = self.predict_proba(X).argmax(axis=1)
        predicted: NDArray[Any] = self.classes_[chosen]
        return predicted

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy. A row whose label is −1 counts as an error, as with any scorer; a UserWarning says so.

        Args:
            X: n texts or pairs, as in `fit`.
            y: (n,) labels.
            sample_weight: (n,) weights of the rows; None is one each.
        """
        predicted = self.predict(X)
        labels, has_label = as_labels(y, len(predicted))
        if not has_label.all():
            warnings.warn(
                f"{np.sum(~has_label)} of {len(labels)} rows have the label −1 and count as errors; score labelled "
                "rows alone (in a search, give text without labels by fit's unlabelled=)",
                UserWarning,
                stacklevel=2,
            )
        return float(np.average(labels.astype(object) == predicted.astype(object), weights=sample_weight))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a folder that `load` and `transformers.pipeline("text-classification", model=path)` read.

        It appears under its name when it is whole. One that an earlier `save` wrote is replaced. A `RandomState` is
        not kept: the loaded classifier has `random_state=None`.

        Args:
            path: the folder; parents are made.

        Raises:
            OutputError: if something else is there, or it cannot be written.
        """
        check_is_fitted(self)
        params = {name: _plain(value) for name, value in self.get_params(deep=False).items()}
        if isinstance(params["random_state"], np.random.RandomState):
            params["random_state"] = None
        dtype = self.classes_.dtype.str
        notes = {"params": params, "classes": self.classes_.tolist(), "dtype": dtype, "pairs": self.pairs_}

        def fill(folder: Path) -> None:
            self.model_.save_pretrained(folder)
            self.tokenizer_.save_pretrained(folder)

        with _quiet():
            write_folder(path, notes, fill)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PDRClassifier:
        """The fitted classifier that `save` wrote.

        Args:
            path: the folder.

        Raises:
            ModelError: if there is none, or it is damaged.
        """
        folder = Path(path).expanduser()
        notes = read_manifest(folder)
        unknown = sorted(set(notes["params"]) - set(cls._get_param_names()))
        if unknown:
            raise ModelError(f"{folder} has parameters that this version does not know: {', '.join(unknown)}")
        with _quiet():
            model, report = load_weights(AutoModelForSequenceClassification, str(folder), output_loading_info=True)
            tokenizer = load_tokenizer(str(folder))
        try:
            classes = np.array(notes["classes"], dtype=notes["dtype"])
        except (TypeError, ValueError):
            classes = np.array([])
        if report["missing_keys"] or model.config.id2label != dict(enumerate(map(str, classes.tolist()))):
            raise ModelError(f"{folder} is damaged: its weights are not those of its classes; save it again")
        classifier = cls(**notes["params"])
        classifier.classes_, classifier.pairs_ = classes, notes["pairs"]
        device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        classifier.model_, classifier.tokenizer_ = model.to(device or "cpu"), tokenizer
        return classifier

    def _config(self) -> TrainConfig:
        """The parameters as a checked and resolved configuration, its seed drawn."""
        given = {name: _plain(value) for name, value in self.get_params(deep=False).items()}
        verbose, random_state = given.pop("verbose"), given.pop("random_state")
        if not isinstance(verbose, int) or verbose < 0:
            raise ConfigError(f"PDRClassifier: verbose must be a whole number of at least 0, got {verbose!r}")
        for name, value in given.items():
            if value is not None or getattr(TrainConfig, name) is not None:
                given[name] = check_value(name, value, where="PDRClassifier")
        return make_config(given, {"seed": _seed(random_state)}).resolved()


def _plain(value: Any) -> Any:
    """A parameter as TOML and JSON know it: grids hold NumPy's numbers, and models are named by paths, too."""
    if isinstance(value, np.generic):
        return value.item()
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _seed(random_state: Any) -> int:
    if isinstance(random_state, Integral) and 0 <= int(random_state) < 2**32:
        return int(random_state)
    try:
        return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
    except (ValueError, TypeError):
        raise ConfigError(
            f"PDRClassifier: random_state must be None, a whole number from 0 to {2**32 - 1} or a RandomState, "
            f"got {random_state!r}"
        ) from None


@contextmanager
def _own_randomness(seed: int) -> Iterator[None]:
    """Seed everything, and put it back as it was."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # the state that set_seed sets
    with torch.random.fork_rng():
        set_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


@contextmanager
def _quiet(verbose: bool = False) -> Iterator[None]:
    """Keep transformers from reporting that a head is new, and from drawing bars, unless asked to."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    if not verbose:
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _load(config: TrainConfig, names: list[str]) -> tuple[Any, Any]:
    """The pretrained model with a head for the classes, and its tokenizer, which cuts rows to what the model takes."""
    model, tokenizer = SequenceClassification(names).load_model(config.model), load_tokenizer(config.model)
    fit_together(model, tokenizer)
    rooms = positions(model)
    tokenizer.model_max_length = min(
        config.max_length, rooms or config.max_length
    )  # goes with the classifier, and with what is saved
    return model, tokenizer


def _features(tokenizer: Any, texts: Texts) -> list[dict[str, Any]]:
    if len(texts) == 0:
        return []
    columns = [texts.tolist()] if texts.ndim == 1 else texts.T.tolist()
    encoded = tokenizer(*columns, truncation=True)
    return [dict(zip(encoded, values, strict=True)) for values in zip(*encoded.values(), strict=True)]


def _train(
    config: TrainConfig,
    regularizer: Regularizer | None,
    model: Any,
    tokenizer: Any,
    labelled: list[dict[str, Any]],
    unlabelled: list[dict[str, Any]],
    *,
    verbose: bool,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=config.batch_size,
            num_train_epochs=config.epochs,
            max_steps=config.max_steps or -1,
            learning_rate=config.lr,
            warmup_steps=config.warmup_frac,
            weight_decay=config.weight_decay,
            logging_strategy="steps" if verbose else "no",
            logging_steps=0.1,
            save_strategy="no",
            seed=config.seed,
            dataloader_pin_memory=torch.cuda.is_available(),
            report_to="none",
            disable_tqdm=not verbose,
        )
        # An estimator uses one device, as its users cannot start it under a launcher: the first GPU, however many there are.
        args._n_gpu = min(args.n_gpu, 1)
        trainer = PDRTrainer(
            model,
            args,
            train_dataset=labelled,
            unlabelled_dataset=unlabelled or None,
            regularizer=regularizer,
            alpha=config.alpha,
            ratio=config.ratio,
            data_collator=DataCollatorWithPadding(tokenizer),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()


def _probabilities(model: Any, tokenizer: Any, texts: Texts) -> NDArray[np.float32]:
    rows = _features(tokenizer, texts)
    # Long rows first: memory runs out at once or not at all. What is in a batch does not depend on the texts' order.
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i]["input_ids"]), rows[i]["input_ids"]), reverse=True)
    collate = DataCollatorWithPadding(tokenizer)
    proba = np.empty((len(rows), model.config.num_labels), dtype=np.float32)
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(order), _PREDICT_ROWS):
            chosen = order[start : start + _PREDICT_ROWS]
            batch = collate([rows[i] for i in chosen]).to(model.device)
            proba[chosen] = model(**batch).logits.cpu().double().softmax(dim=-1).numpy()
    return proba
