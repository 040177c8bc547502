"""Real questions, and predictions as models make them: right, nearly right, wrong and empty."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

Answers = dict[str, list[str]]


def questions(file: Path) -> tuple[Answers, dict[str, str]]:
    """Answers and passages by the question's id."""
    with gzip.open(file, "rt", encoding="utf-8") as stream:
        articles = json.load(stream)["data"]
    rows = [(qa, part["context"]) for article in articles for part in article["paragraphs"] for qa in part["qas"]]
    answers = {qa["id"]: [answer["text"] for answer in qa["answers"]] for qa, _ in rows}
    return answers, {qa["id"]: context for qa, context in rows}


def predicted(answers: Answers, contexts: dict[str, str], seed: int = 0) -> dict[str, str]:
    """A prediction for each question, made from one of its answers or from its passage."""
    pick = random.Random(seed)
    made = {}
    for name, texts in answers.items():
        answer = pick.choice(texts) if texts else ""
        words = contexts[name].split()
        start = pick.randrange(len(words))
        elsewhere = " ".join(words[start : start + pick.randint(1, 6)])
        longer = f"{answer} {elsewhere}"
        kinds = [
            answer,
            answer,
            f"the {answer}",
            f" {answer.upper()}!",
            f"({answer})",
            answer[:-3],
            longer,
            elsewhere,
            "",
        ]
        kinds.append(" ".join(reversed(answer.split())))
        made[name] = pick.choice(kinds)
    return made
