"""The classifier against scikit-learn's own checks, inside its tools, on disk, and against itself."""

from __future__ import annotations

import pickle
import random
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from joblib.externals.loky import get_reusable_executor
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks, get_tags
from transformers import BertTokenizerFast, GPT2Config, GPT2ForSequenceClassification, pipeline

from ssl_pdr.classifier import PDRClassifier
from ssl_pdr.errors import DataError, ModelError, NonFiniteLossError, OutputError, PDRError
from tests.conftest import tiny_bert

GOOD, BAD = ["good", "fine", "great", "lovely"], ["bad", "poor", "dull", "awful"]
WORDS = [*GOOD, *BAD, "film", "plot", "scene", "actor", "the", "a", "was", "is"]
TEXTS = [f"the {WORDS[8 + i % 4]} was {WORDS[i % 8]}" for i in range(16)]
NUMBERS = [int(i % 8 >= 4) for i in range(16)]
POOL = [f"a {word} {thing}" for word in WORDS[:8] for thing in WORDS[8:12]]
PAIRS = list(zip(TEXTS, TEXTS[::-1], strict=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny BERT with a tokenizer of its own."""
    folder = tmp_path_factory.mktemp("model")
    vocab = folder / "vocab.txt"
    vocab.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]), encoding="utf-8")
    BertTokenizerFast(vocab=str(vocab)).save_pretrained(folder)
    tiny_bert(num_labels=2).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def tiny(folder: str) -> Callable[..., PDRClassifier]:
    """A classifier that is trained in no time, and learns next to nothing."""
    return partial(PDRClassifier, model=folder, max_steps=2, batch_size=8, lr=1e-2, random_state=0)


def same(one: PDRClassifier, other: PDRClassifier, X: Any = POOL) -> bool:  # noqa: N803
    return bool(np.array_equal(one.predict_proba(X), other.predict_proba(X)))


# --- scikit-learn's checks, by name -----------------------------------------------------------------------------------

OF_THE_CLASS = [  # these look at the class and its parameters
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
]
OF_WHAT_IS_REFUSED = [  # these hand over vectors, or nothing fitted, and want a clear error
    "check_classifiers_one_label_sample_weights",
    "check_estimator_sparse_matrix",
    "check_estimator_sparse_tag",
    "check_estimators_unfitted",
    "check_fit1d",
    "check_supervised_y_no_nan",
]
ON_WORDS = [  # these fit and predict: their numbers are spelled as words
    "check_classifier_data_not_an_array",
    "check_classifiers_classes",
    "check_classifiers_one_label",
    "check_classifiers_regression_target",
    "check_classifiers_train",
    "check_dict_unchanged",
    "check_dont_overwrite_parameters",
    "check_dtype_object",
    "check_estimator_sparse_array",
    "check_estimators_dtypes",
    "check_estimators_fit_returns_self",
    "check_estimators_overwrite_params",
    "check_estimators_pickle",
    "check_f_contiguous_array_estimator",
    "check_fit2d_1feature",
    "check_fit2d_1sample",
    "check_fit_check_is_fitted",
    "check_fit_idempotent",
    "check_fit_score_takes_y",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_pipeline_consistency",
    "check_positive_only_tag_during_fit",
    "check_readonly_memmap_input",
    "check_requires_y_none",
    "check_supervised_y_2d",
]
DO_NOT_APPLY = {
    "check_array_api_input": "texts are no tensors of an array library",
    "check_complex_data": "no number is taken, complex or not",
    "check_decision_proba_consistency": "there is no decision_function",
    "check_estimators_empty_data_messages": "wants zero features to be named; a text has none to count",
    "check_estimators_nan_inf": "numbers are refused whatever they are; missing texts are in test_arrays",
    "check_estimators_partial_fit_n_features": "there is no partial_fit",
    "check_fit2d_predict1d": "one dimension is what texts have",
    "check_n_features_in": "a text has no features to count",
    "check_n_features_in_after_fitting": "a text has no features to count",
    "check_non_transformer_estimators_n_iter": "there is no max_iter",
}


class OnWords(PDRClassifier):
    """The classifier with each number of a row spelled as a word, so that checks with rows of numbers can be run."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = tags.input_tags.string = False
        tags.input_tags.two_d_array = True
        tags.classifier_tags.poor_score = True  # so few steps teach next to nothing
        return tags

    def fit(self, X: Any, y: Any, unlabelled: Any = None) -> PDRClassifier:  # noqa: N803
        return super().fit(spelled(X), y, unlabelled)

    def predict_proba(self, X: Any) -> Any:  # noqa: N803
        return super().predict_proba(spelled(X))


class OnAnyWidth(OnWords):
    """As above, for a check that wants rows of another width to be refused, which are as good as any as text."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.no_validation = True
        return tags


def spelled(X: Any) -> Any:  # noqa: N803
    if hasattr(X, "toarray"):
        return X
    rows = np.asarray(X, dtype=float)
    return [" ".join(WORDS[int(abs(7 * value)) % len(WORDS)] for value in row) for row in rows]


@pytest.mark.parametrize("name", [*OF_THE_CLASS, *OF_WHAT_IS_REFUSED])
def test_scikit_learns_check(tiny: Callable[..., PDRClassifier], name: str) -> None:
    if not hasattr(estimator_checks, name):
        pytest.skip(f"this scikit-learn has no {name}")
    getattr(estimator_checks, name)("PDRClassifier", tiny())


@pytest.mark.parametrize("name", ON_WORDS)
def test_scikit_learns_check_on_words(folder: str, name: str) -> None:
    kind = OnAnyWidth if name == "check_classifiers_train" else OnWords
    # Under this name the check of the classes knows that −1 is no class.
    known_as = "SelfTrainingClassifier" if name == "check_classifiers_classes" else "PDRClassifier"
    classifier = kind(folder, reg="rdrop", max_steps=1, batch_size=4, random_state=0)
    check = getattr(estimator_checks, name)
    check(known_as, classifier)
    if "readonly_memmap" in signature(check).parameters:
        check(known_as, classifier, readonly_memmap=True)


def test_no_check_of_scikit_learn_is_forgotten(folder: str) -> None:
    given = estimator_checks.estimator_checks_generator(OnWords(folder), legacy=True)
    names = {check.func.func.__name__ if isinstance(check.func, partial) else check.func.__name__ for _, check in given}
    ours = {*OF_THE_CLASS, *OF_WHAT_IS_REFUSED, *ON_WORDS, *DO_NOT_APPLY}
    assert names - ours == set()
    assert not set(DO_NOT_APPLY) & {*OF_THE_CLASS, *OF_WHAT_IS_REFUSED, *ON_WORDS}


def test_by_its_tags_it_takes_texts() -> None:
    tags = get_tags(PDRClassifier())
    assert (tags.estimator_type, tags.target_tags.required) == ("classifier", True)
    assert (tags.input_tags.string, tags.input_tags.one_d_array, tags.input_tags.two_d_array) == (True, True, False)


# --- fitting ----------------------------------------------------------------------------------------------------------


def test_rows_without_label_are_unlabelled_text(tiny: Callable[..., PDRClassifier]) -> None:
    alone = tiny().fit(TEXTS, NUMBERS)
    by_label = tiny().fit(TEXTS + POOL, NUMBERS + [-1] * len(POOL))
    by_argument = tiny().fit(TEXTS, NUMBERS, unlabelled=POOL)
    half_and_half = tiny().fit(TEXTS + POOL[:5], NUMBERS + [-1] * 5, unlabelled=pd.Series(POOL[5:]))
    assert same(by_label, by_argument)
    assert same(by_label, half_and_half)
    assert not same(by_label, alone)


@pytest.mark.parametrize("params", [{"reg": "none"}, {"alpha": 0.0}, {"reg": "at"}, {"ratio": 0.0}])
def test_unlabelled_text_without_a_regularizer_is_not_used(
    tiny: Callable[..., PDRClassifier], params: dict[str, Any]
) -> None:
    assert same(tiny(**params).fit(TEXTS, NUMBERS), tiny(**params).fit(TEXTS, NUMBERS, unlabelled=POOL))


@pytest.mark.parametrize("params", [{"reg": "rpt"}, {"div": "kl"}, {"alpha": 9.0}, {"radius": 3.0}, {"ratio": 1.0}])
def test_parameters_reach_the_training(tiny: Callable[..., PDRClassifier], params: dict[str, Any]) -> None:
    default = tiny().fit(TEXTS, NUMBERS, unlabelled=POOL)
    assert not same(default, clone(default).set_params(**params).fit(TEXTS, NUMBERS, unlabelled=POOL))


def test_it_learns(tiny: Callable[..., PDRClassifier]) -> None:
    classifier = tiny(max_steps=60, dropout="off", radius=0.1).fit(TEXTS, NUMBERS, unlabelled=POOL)
    assert classifier.score(TEXTS, NUMBERS) == 1.0


def test_random_state_decides(tiny: Callable[..., PDRClassifier]) -> None:
    first = tiny().fit(TEXTS, NUMBERS)
    assert same(first, pickle.loads(pickle.dumps(first)).fit(TEXTS, NUMBERS))
    assert same(first, tiny(random_state=np.int64(0)).fit(TEXTS, NUMBERS))
    assert not same(first, tiny(random_state=1).fit(TEXTS, NUMBERS))
    states = [tiny(random_state=np.random.RandomState(5)) for _ in range(2)]
    first, second = (classifier.fit(TEXTS, NUMBERS) for classifier in states)
    assert same(first, second)
    assert not same(first, second.fit(TEXTS, NUMBERS))  # the next draw of the same state
    chance = tiny(random_state=None).fit(TEXTS, NUMBERS)
    assert not same(chance, tiny(random_state=None).fit(TEXTS, NUMBERS))


def test_fit_leaves_everything_as_it_was(
    tiny: Callable[..., PDRClassifier], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    transformers.logging.set_verbosity_info()
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.enable_progress_bar()  # the command line, tested in the same process, turns them off for good
    texts, y = np.array(TEXTS, dtype=object), np.array(NUMBERS)
    before = _random_states()
    try:
        classifier = tiny().fit(texts, y, unlabelled=POOL)
        assert transformers.logging.get_verbosity() == transformers.logging.INFO
        assert transformers.logging.is_progress_bar_enabled()
    finally:
        transformers.logging.set_verbosity_error()
        if not bars:
            transformers.logging.disable_progress_bar()
    assert _random_states() == before
    assert list(tmp_path.iterdir()) == []
    assert (texts.tolist(), y.tolist()) == (TEXTS, NUMBERS)
    assert sorted(name for name in vars(classifier) if name.endswith("_")) == [
        "classes_",
        "model_",
        "pairs_",
        "tokenizer_",
    ]
    assert capfd.readouterr() == ("", "")


def _random_states() -> tuple[Any, ...]:
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002


def test_it_trains_where_several_gpus_are_visible(
    tiny: Callable[..., PDRClassifier], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can start an estimator under a launcher: it takes the first."""
    init = transformers.TrainingArguments.__post_init__

    def two(self: Any) -> None:
        init(self)
        self._n_gpu = 2

    monkeypatch.setattr(transformers.TrainingArguments, "__post_init__", two)
    assert len(tiny().fit(TEXTS, NUMBERS).predict(TEXTS)) == len(TEXTS)


def test_verbose_shows_the_parts_of_the_loss(tiny: Callable[..., PDRClassifier], capfd: Any) -> None:
    tiny(verbose=1).fit(TEXTS, NUMBERS)
    assert "labelled_share" in capfd.readouterr().out


def test_a_failed_fit_keeps_the_earlier_one(tiny: Callable[..., PDRClassifier]) -> None:
    classifier = tiny().fit(TEXTS, NUMBERS)
    before = classifier.predict_proba(POOL)
    with pytest.raises(NonFiniteLossError, match="the trained model's answers are not finite"):
        classifier.set_params(lr=1e30).fit(TEXTS, [1 - number for number in NUMBERS])
    assert np.array_equal(classifier.predict_proba(POOL), before)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"alpha": -1.0}, "alpha must be a finite number of at least 0, got -1.0"),
        ({"alpha": "much"}, "PDRClassifier: alpha must be a number, got 'much'"),
        ({"alpha": None}, "PDRClassifier: alpha must be a number, got None"),
        ({"radius": np.float64("nan")}, "radius must be"),
        ({"reg": "vatt"}, "unknown regularizer 'vatt'; did you mean 'vat'"),
        ({"div": "kll"}, "unknown divergence 'kll'; did you mean 'kl'"),
        ({"preset": "papers"}, "unknown preset 'papers'; did you mean 'paper'"),
        ({"site": "top"}, "unknown site 'top'"),
        ({"ratio": "half"}, "ratio must be 'proportional' or a number of at least 0, got 'half'"),
        ({"max_steps": 0}, "max-steps must be a whole number"),
        ({"batch_size": 2.5}, "PDRClassifier: batch_size must be a whole number, got 2.5"),
        ({"random_state": -1}, "random_state must be None, a whole number from 0 to 4294967295 or a RandomState"),
        ({"random_state": "x"}, "random_state must be .* got 'x'"),
        ({"verbose": "very"}, "verbose must be a whole number of at least 0, got 'very'"),
        ({"model": 7}, "PDRClassifier: model must be text, got 7"),
        ({"model": "/no/such/folder"}, "cannot load a model from the Hub name '/no/such/folder'"),
    ],
)
def test_a_wrong_parameter_gets_one_line_in_fit(
    tiny: Callable[..., PDRClassifier], params: dict[str, Any], message: str
) -> None:
    with pytest.raises(PDRError, match=message) as caught:
        tiny(**params).fit(TEXTS, NUMBERS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("X", "y", "unlabelled", "message"),
    [
        (TEXTS, NUMBERS[1:], None, "y has 15 rows and X 16"),
        (TEXTS, [1] * 16, None, "y has one class, 1"),
        (TEXTS, [-1] * 16, None, "y has no label, only −1"),
        (TEXTS, ["yes", "-1"] * 8, None, r"y\[1\] is the text '-1'"),
        (list(range(16)), NUMBERS, None, r"X\[0\] is 0, expected a sequence of texts"),
        (TEXTS, NUMBERS, "a film", "unlabelled is 'a film', expected"),
        (TEXTS, NUMBERS, [], "unlabelled has no rows"),
        (TEXTS, NUMBERS, PAIRS, "unlabelled holds pairs of texts, expected texts"),
    ],
)
def test_wrong_data_get_one_line_in_fit(
    tiny: Callable[..., PDRClassifier],
    X: Any,  # noqa: N803
    y: Any,
    unlabelled: Any,
    message: str,
) -> None:
    with pytest.raises(DataError, match=message):
        tiny().fit(X, y, unlabelled)


def test_a_tokenizer_of_another_model_is_refused(tiny: Callable[..., PDRClassifier], tmp_path: Path) -> None:
    vocab = tmp_path / "vocab.txt"
    vocab.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(str, range(90))]), encoding="utf-8")
    BertTokenizerFast(vocab=str(vocab)).save_pretrained(tmp_path)
    tiny_bert(num_labels=2).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="the tokenizer knows 95 words, the model 64"):
        tiny(model=tmp_path).fit(TEXTS, NUMBERS)


# --- predicting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "dtype"),
    [
        (np.array([5, 2] * 8, dtype=np.int16), "int16"),
        (np.array([True, False] * 8), "bool"),
        (["spam", "ham"] * 8, "<U4"),
        (["spam", "ham"] * 7 + [-1, -1], "object"),
        (pd.Series(["spam", "ham"] * 8), "object"),
    ],
)
def test_predictions_are_labels_as_they_came(tiny: Callable[..., PDRClassifier], y: Any, dtype: str) -> None:
    classifier = tiny(max_steps=1).fit(TEXTS, y)
    assert classifier.predict(TEXTS).dtype == classifier.classes_.dtype == np.dtype(dtype)
    assert classifier.classes_.tolist() == sorted({label for label in list(y) if label != -1})
    assert set(classifier.predict(POOL)) <= set(classifier.classes_)


def test_many_rows_are_as_one_by_one(tiny: Callable[..., PDRClassifier]) -> None:
    classifier = tiny().fit(TEXTS, NUMBERS)
    texts = [" ".join(WORDS[(i + j) % 16] for j in range(1 + i // 16)) for i in range(150)]
    proba = classifier.predict_proba(texts)
    assert proba.dtype == np.float32
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(
        np.concatenate([classifier.predict_proba([text]) for text in texts[:40]]), proba[:40], atol=1e-6
    )
    assert np.array_equal(classifier.predict_proba(texts[::-1]), proba[::-1])
    classifier.model_.train()  # dropout is for training
    assert np.array_equal(classifier.predict_proba(texts), proba)


def test_long_rows_are_cut(tiny: Callable[..., PDRClassifier]) -> None:
    long = " ".join(WORDS * 5)  # the model has 32 positions, two of them for [CLS] and [SEP]
    classifier = tiny().fit([long, *TEXTS[1:]], NUMBERS)
    assert np.array_equal(*classifier.predict_proba([long, " ".join((WORDS * 2)[:30])]))
    classifier = tiny(max_length=5).fit(TEXTS, NUMBERS)
    assert np.array_equal(*classifier.predict_proba(["the film was good", "the film was"]))


@pytest.mark.parametrize("make", [list, np.array, pd.DataFrame])
def test_pairs(tiny: Callable[..., PDRClassifier], make: Callable[[Any], Any]) -> None:
    classifier = tiny().fit(make(PAIRS), NUMBERS, unlabelled=PAIRS[::-1])
    assert classifier.pairs_
    assert not np.array_equal(*classifier.predict_proba([("good film", "bad"), ("bad", "good film")]))
    with pytest.raises(DataError, match="X holds texts, expected pairs of texts"):
        classifier.predict(TEXTS)


def test_unfitted(tiny: Callable[..., PDRClassifier], tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        tiny().score(TEXTS, NUMBERS)
    with pytest.raises(NotFittedError):
        tiny().save(tmp_path / "nothing")


def test_score_counts_rows_without_label_as_errors_and_warns(tiny: Callable[..., PDRClassifier]) -> None:
    classifier = tiny(max_steps=1).fit(TEXTS, np.array(["spam", "ham"] * 8, dtype=object))
    right = classifier.predict(TEXTS)
    assert classifier.score(TEXTS, right) == 1.0
    some = right.copy()
    some[:4] = -1
    with pytest.warns(UserWarning, match="4 of 16 rows have the label −1 and count as errors"):
        assert classifier.score(TEXTS, some) == 0.75
    with pytest.warns(UserWarning, match="4 of 16 rows"):
        assert classifier.score(TEXTS, some, sample_weight=[0] * 4 + [1] * 12) == 1.0


def test_a_decoder_without_a_padding_token(tiny: Callable[..., PDRClassifier], folder: str, tmp_path: Path) -> None:
    BertTokenizerFast.from_pretrained(folder).save_pretrained(tmp_path / "model")
    config = GPT2Config(vocab_size=64, n_positions=16, n_embd=16, n_layer=1, n_head=2, num_labels=2)
    GPT2ForSequenceClassification(config).save_pretrained(tmp_path / "model")
    classifier = tiny(model=tmp_path / "model").fit([*TEXTS, " ".join(WORDS * 2)], [*NUMBERS, 1])
    classifier.save(tmp_path / "saved")
    assert same(classifier, PDRClassifier.load(tmp_path / "saved"))


# --- inside scikit-learn's tools --------------------------------------------------------------------------------------


def lower(texts: Any) -> list[str]:
    return [text.lower() for text in texts]


@pytest.fixture
def _no_process_stays() -> Iterator[None]:
    """joblib keeps its own for minutes, and other tests count theirs."""
    yield
    get_reusable_executor().shutdown(wait=True)


@pytest.mark.usefixtures("_no_process_stays")
def test_in_a_pipeline_in_a_search_in_processes(tiny: Callable[..., PDRClassifier]) -> None:
    steps = make_pipeline(FunctionTransformer(lower), tiny(max_steps=1))
    grid = {"pdrclassifier__alpha": np.array([0.5, 1.0]), "pdrclassifier__div": np.array(["kl"])}
    search = GridSearchCV(steps, grid, cv=2, n_jobs=2, error_score="raise")
    search.fit([text.upper() for text in TEXTS], NUMBERS, pdrclassifier__unlabelled=POOL)
    best = search.best_estimator_.named_steps["pdrclassifier"]
    expected = tiny(max_steps=1, div="kl", alpha=best.alpha).fit(TEXTS, NUMBERS, unlabelled=POOL)
    assert same(best, expected)
    assert search.predict(["THE FILM WAS GOOD"]) == expected.predict(["the film was good"])


class Counting(PDRClassifier):
    """Tells how much unlabelled text it was given."""

    def fit(self, X: Any, y: Any, unlabelled: Any = None) -> PDRClassifier:  # noqa: N803
        self.given_ = len(unlabelled)
        return super().fit(X, y, unlabelled)


def test_a_search_cuts_unlabelled_text_only_if_it_is_as_long_as_x(folder: str) -> None:
    """What the documentation warns of."""
    for pool, given in ((POOL[:16], 8), (POOL[:17], 17)):
        scores = cross_validate(
            Counting(folder, reg="rdrop", max_steps=1),
            TEXTS,
            NUMBERS,
            cv=2,
            params={"unlabelled": pool},
            return_estimator=True,
        )
        assert [classifier.given_ for classifier in scores["estimator"]] == [given, given]


def test_a_search_over_rows_without_label_warns(tiny: Callable[..., PDRClassifier]) -> None:
    with pytest.warns(UserWarning, match="rows have the label −1 and count as errors"):
        cross_validate(tiny(max_steps=1), TEXTS, [*NUMBERS[:8], *[-1] * 8], cv=2)


# --- on disk ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "names"),
    [
        (["spam", "ham"] * 7 + [-1, -1], {"ham", "spam"}),
        (np.array([3, 12] * 8, dtype=np.int8), {"3", "12"}),
        (np.array([True, False] * 8), {"True", "False"}),
        (np.array([0.0, 1.0] * 8), {"0.0", "1.0"}),
    ],
)
def test_a_saved_classifier_comes_back_and_is_a_hugging_face_model(
    tiny: Callable[..., PDRClassifier], tmp_path: Path, y: Any, names: set[str]
) -> None:
    classifier = tiny(alpha=np.float64(2), max_length=5).fit(TEXTS, y)
    classifier.save(tmp_path / "saved")
    loaded = PDRClassifier.load(tmp_path / "saved")
    assert same(classifier, loaded)
    assert loaded.classes_.dtype == classifier.classes_.dtype
    assert loaded.predict(POOL).tolist() == classifier.predict(POOL).tolist()
    assert loaded.get_params() == classifier.get_params()
    assert {path.suffix for path in (tmp_path / "saved").iterdir()} <= {".json", ".safetensors", ".txt"}
    answers = pipeline("text-classification", model=str(tmp_path / "saved"))(POOL, truncation=True)
    assert [answer["label"] for answer in answers] == [str(label) for label in classifier.predict(POOL).tolist()]
    assert set(loaded.model_.config.id2label.values()) == names


def test_more_than_ten_classes_keep_their_order(tiny: Callable[..., PDRClassifier], tmp_path: Path) -> None:
    classifier = tiny(reg="none").fit(TEXTS, list(range(16)))
    classifier.save(str(tmp_path / "saved"))
    assert same(classifier, PDRClassifier.load(str(tmp_path / "saved")))


def test_saving_replaces_its_own_and_nothing_else(tiny: Callable[..., PDRClassifier], tmp_path: Path) -> None:
    classifier = tiny(random_state=np.random.RandomState(0)).fit(PAIRS, NUMBERS)
    classifier.save(tmp_path / "saved")
    classifier.fit(TEXTS, [7, 8] * 8).save(tmp_path / "saved")
    loaded = PDRClassifier.load(tmp_path / "saved")
    assert (loaded.pairs_, loaded.classes_.tolist(), loaded.random_state) == (False, [7, 8], None)
    with pytest.raises(OutputError, match="which no saved classifier has"):
        classifier.save(classifier.model)
    assert PDRClassifier(classifier.model, max_steps=1).fit(TEXTS, NUMBERS)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"half"), "cannot load a model from the folder"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "cannot load a model from the folder"),
        (lambda folder: _replace(folder, '"alpha"', '"beta"'), "parameters that this version does not know: beta"),
        (lambda folder: _replace(folder, '"ham"', '"egg"'), "its weights are not those of its classes"),
        (lambda folder: _replace(folder, '"|O"', '"no dtype"'), "its weights are not those of its classes"),
    ],
)
def test_a_damaged_folder_gets_one_line(
    tiny: Callable[..., PDRClassifier], tmp_path: Path, damage: Callable[[Path], Any], message: str
) -> None:
    saved = tmp_path / "saved"
    tiny(max_steps=1).fit(TEXTS, np.array(["spam", "ham"] * 8, dtype=object)).save(saved)
    damage(saved)
    with pytest.raises(ModelError, match=message) as caught:
        PDRClassifier.load(saved)
    assert "\n" not in str(caught.value)


def _replace(folder: Path, old: str, new: str) -> None:
    path = folder / "pdr_classifier.json"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


def test_a_foreign_folder_gets_one_line(folder: str) -> None:
    with pytest.raises(ModelError, match=r"holds no saved PDRClassifier \(pdr_classifier.json: No such file"):
        PDRClassifier.load(folder)


# --- for real ---------------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_the_embedded_encoder_learns_from_a_few_labels() -> None:
    kind = {"wonderful": "praise", "delightful": "praise", "terrible": "blame", "awful": "blame"}
    texts = [f"The {thing} was {word}." for thing in ("film", "meal", "trip", "play", "book") for word in kind]
    y = np.array([kind[text.split()[-1][:-1]] for text in texts], dtype=object)
    classifier = PDRClassifier(max_steps=8, batch_size=12, max_length=16, random_state=0)
    classifier.fit(texts[:8], y[:8], unlabelled=texts[8:])
    assert classifier.score(texts[8:], y[8:]) >= 0.9
    assert classifier.predict(["I loved it, it was excellent.", "I hated it, it was dreadful."]).tolist() == [
        "praise",
        "blame",
    ]
