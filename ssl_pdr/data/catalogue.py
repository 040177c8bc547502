"""The data sets of the paper by their names: where each part of them lies, on the Hub and in the files as they were published."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ssl_pdr.choices import CLASSIFICATION, QUESTION_ANSWERING
from ssl_pdr.data.named import EVALUATED, TRAINED, HubPlace, NamedSet, Part
from ssl_pdr.errors import UnknownNameError, unknown_name


def _glue(configuration: str, split: str) -> HubPlace:
    return HubPlace("nyu-mll/glue", split, configuration)


def _imdb(split: str) -> HubPlace:
    return HubPlace("stanfordnlp/imdb", split, "plain_text")


def _questions(repository: str, configuration: str, version: str) -> dict[str, Part]:
    return {
        "train": Part(HubPlace(repository, "train", configuration), (f"train-{version}.json",), ("train*",)),
        "validation": Part(
            HubPlace(repository, "validation", configuration), (f"dev-{version}.json",), ("dev*", "validation*")
        ),
    }


def _adversarial(configuration: str, published: str) -> dict[str, Part]:
    hub = HubPlace("stanfordnlp/squad_adversarial", "validation", folder=configuration)
    return {"validation": Part(hub, (published,), (f"{configuration.lower()}*",))}


def _mnli(split: str, published: str, general: tuple[str, ...]) -> Part:
    names = (f"{published}.tsv", f"multinli_1.0_{published}.jsonl", f"multinli_1.0_{published}.txt")
    return Part(_glue("mnli", split), names, general)


def _hans(split: str, published: str, general: tuple[str, ...]) -> Part:
    hub = HubPlace("jhu-cogsci/hans", split, folder="plain_text")
    return Part(hub, (f"{published}.txt", f"{published}.jsonl"), general)


_SENTIMENT = ("negative", "positive")
_SETS = (
    NamedSet(
        name="sst2",
        title="SST-2",
        task=CLASSIFICATION,
        scoring="accuracy",
        description="sentiment of movie review snippets (GLUE); its train part holds phrases of one another, so hold none of it out",
        role=TRAINED,
        parts={
            "train": Part(_glue("sst2", "train"), ("train.tsv",), ("train*",)),
            "validation": Part(_glue("sst2", "validation"), ("dev.tsv",), ("dev*", "validation*")),
        },
        evaluation="validation",
        aliases=("sst2", "sst"),
        labels=_SENTIMENT,
    ),
    NamedSet(
        name="imdb",
        title="IMDB",
        task=CLASSIFICATION,
        scoring="accuracy",
        description="sentiment of whole movie reviews: the other domain for SST-2, and 50,000 reviews without labels",
        role=EVALUATED,
        parts={
            "train": Part(_imdb("train"), (), ("train*",), ("train/pos", "train/neg")),
            "test": Part(_imdb("test"), (), ("test*",), ("test/pos", "test/neg")),
            "unsupervised": Part(_imdb("unsupervised"), (), ("unsup*",), ("train/unsup",)),
        },
        evaluation="test",
        unlabelled="unsupervised",
        aliases=("imdb", "aclimdb", "aclimdbv1"),
        labels=_SENTIMENT,
        spelled={"neg": "negative", "pos": "positive"},
    ),
    NamedSet(
        name="mnli",
        title="MNLI",
        task=CLASSIFICATION,
        scoring="accuracy",
        description="whether a premise entails a hypothesis, in ten genres; evaluated on matched and on mismatched genres",
        role=TRAINED,
        parts={
            "train": _mnli("train", "train", ("train*",)),
            "validation": _mnli("validation_matched", "dev_matched", ("dev_matched*", "validation_matched*")),
            "mismatched": _mnli(
                "validation_mismatched", "dev_mismatched", ("dev_mismatched*", "validation_mismatched*")
            ),
        },
        evaluation="validation",
        aliases=("mnli", "multinli", "multinli10"),
        labels=("entailment", "neutral", "contradiction"),
        pairs=True,
    ),
    NamedSet(
        name="hans",
        title="HANS",
        task=CLASSIFICATION,
        scoring="hans",
        description="pairs on which three shortcuts of models for MNLI fail: lexical overlap, subsequence, constituent",
        role=EVALUATED,
        parts={
            "train": _hans("train", "heuristics_train_set", ("train*",)),
            "validation": _hans("validation", "heuristics_evaluation_set", ("eval*", "validation*")),
        },
        evaluation="validation",
        aliases=("hans",),
        labels=("entailment", "non-entailment"),
        collapse={"neutral": "non-entailment", "contradiction": "non-entailment"},
        pairs=True,
        group="heuristic",
    ),
    NamedSet(
        name="squad",
        title="SQuAD v1.1",
        task=QUESTION_ANSWERING,
        scoring="squad",
        description="questions on paragraphs of Wikipedia, each answered by a span of its paragraph",
        role=TRAINED,
        parts=_questions("rajpurkar/squad", "plain_text", "v1.1"),
        evaluation="validation",
        aliases=("squad", "squad1", "squadv1", "squad11", "squadv11"),
    ),
    NamedSet(
        name="squad_v2",
        title="SQuAD v2.0",
        task=QUESTION_ANSWERING,
        scoring="squad_v2",
        description="SQuAD with questions that their paragraph does not answer",
        role=TRAINED,
        parts=_questions("rajpurkar/squad_v2", "squad_v2", "v2.0"),
        evaluation="validation",
        aliases=("squadv2", "squad2", "squad20", "squadv20"),
    ),
    NamedSet(
        name="addsent",
        title="AddSent",
        task=QUESTION_ANSWERING,
        scoring="adversarial",
        description="SQuAD's questions, with up to five variants of a sentence that looks like an answer; the worst one counts",
        role=EVALUATED,
        parts=_adversarial("AddSent", "sample1k-HCVerifyAll.json"),
        evaluation="validation",
        aliases=("addsent", "adversarialsquad", "squadadversarial", "advsquad"),
    ),
    NamedSet(
        name="addonesent",
        title="AddOneSent",
        task=QUESTION_ANSWERING,
        scoring="adversarial",
        description="SQuAD's questions, with one added sentence that looks like an answer",
        role=EVALUATED,
        parts=_adversarial("AddOneSent", "sample1k-HCVerifySample.json"),
        evaluation="validation",
        aliases=("addonesent", "addsent", "adversarialsquad", "squadadversarial", "advsquad"),
    ),
    NamedSet(
        name="bioasq",
        title="BioASQ",
        task=QUESTION_ANSWERING,
        scoring="squad",
        description="biomedical questions on abstracts (MRQA 2019, out-of-domain dev): the other domain for SQuAD",
        role=EVALUATED,
        parts={
            "validation": Part(
                HubPlace("mrqa-workshop/mrqa", "test", files="plain_text/test-*.parquet", subset="BioASQ"),
                ("BioASQ.jsonl",),
                ("bioasq*",),
            )
        },
        evaluation="validation",
        aliases=("bioasq", "mrqa"),
    ),
)
NAMED: dict[str, NamedSet] = {named.name: named for named in _SETS}


def find_named(source: object) -> NamedSet | None:
    """The set that a source names, if it does. A name wins over a folder that is called so, which `./name` means.

    Example:
        >>> find_named("sst2").title, find_named("mine.csv"), find_named([("a text", "label")])
        ('SST-2', None, None)
    """
    return NAMED.get(str(source)) if isinstance(source, str | Path) else None


def unknown_set(kind: str, name: str, others: Iterable[str] = ()) -> UnknownNameError:
    """The error for a name that is none of `NAMED` or `others`.

    Example:
        >>> print(unknown_set("data set", "adversarial_squad"))
        unknown data set 'adversarial_squad'; did you mean 'addsent' or 'addonesent'? There are: addonesent, addsent, bioasq,
        hans, imdb, mnli, squad, squad_v2, sst2
    """
    known = sorted([*NAMED, *others])
    meant = [named.name for named in _SETS if plain_name(name) in named.aliases]
    if not meant:
        return unknown_name(kind, name, known)
    hint = " or ".join(map(repr, meant))
    return UnknownNameError(f"unknown {kind} {name!r}; did you mean {hint}? There are: {', '.join(known)}")


def plain_name(name: str) -> str:
    """A name as `aliases` have it.

    Example:
        >>> plain_name("SST-2"), plain_name("multinli_1.0")
        ('sst2', 'multinli10')
    """
    return re.sub(r"[\W_]", "", name.lower())


def unlabelled_part(source: object) -> str:
    """The part of a source that is trained on without labels.

    Example:
        >>> unlabelled_part("imdb"), unlabelled_part("mine.csv")
        ('unsupervised', 'train')
    """
    named = find_named(source)
    return "train" if named is None else named.unlabelled
