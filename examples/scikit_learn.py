"""Few labels and much unlabelled text in scikit-learn: supervised against semi-supervised.

The texts are messages to a shop, made from templates here; eight of them have a label, −1 stands for the others.

    python examples/scikit_learn.py
    python examples/scikit_learn.py --model distilbert/distilbert-base-uncased
"""

import argparse
import itertools

import numpy as np

from ssl_pdr.classifier import PDRClassifier

OPENINGS = ["Hello, ", "Hi there, ", "Good morning, ", "", "Dear team, ", "Quick question: "]
THINGS = ["lamp", "kettle", "jacket", "backpack", "keyboard", "desk", "radio", "tent"]
MESSAGES = {
    "delivery": [
        "when will my {thing} arrive?",
        "the {thing} was due last week and I am still waiting.",
        "the courier never came with the {thing}.",
        "tracking has shown the {thing} in the same town for days.",
        "could you send the {thing} to my new address instead?",
    ],
    "fault": [
        "the {thing} came with a crack in it.",
        "a part of the {thing} fell off after a day.",
        "the {thing} has stopped working.",
        "there is a hole in the {thing} you sent.",
        "the {thing} makes a horrible noise.",
    ],
    "payment": [
        "I was charged twice for the {thing}.",
        "my card is refused when I order the {thing}.",
        "please send an invoice for the {thing}.",
        "the discount code did not work for the {thing}.",
        "why is the {thing} dearer at the checkout?",
    ],
    "praise": [
        "the {thing} is exactly what I hoped for.",
        "thank you, my daughter loves the {thing}.",
        "never had a better {thing}, well done.",
        "just to say that the {thing} is wonderful.",
        "I would buy the {thing} again at once.",
    ],
}


def messages(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """All the messages there are, and what each is about, in random order."""
    rows = [
        (opening + wording.format(thing=thing), topic)
        for topic, wordings in MESSAGES.items()
        for opening, wording, thing in itertools.product(OPENINGS, wordings, THINGS)
    ]
    np.random.default_rng(seed).shuffle(rows)
    texts, topics = zip(*rows, strict=True)
    return np.array(texts), np.array(topics, dtype=object)


def main() -> None:
    """Train both ways on the same eight labels, and compare them on messages that neither has seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="minilm-l6", help="a folder or Hub name; default: the embedded encoder")
    parser.add_argument("--max-steps", type=int, default=60, help="optimizer steps of each training")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    texts, topics = messages(options.seed)
    train, test = slice(0, 400), slice(400, 700)
    y = np.full(400, -1, dtype=object)
    for topic in MESSAGES:
        y[np.flatnonzero(topics[train] == topic)[:2]] = topic
    has_label = y != -1
    print(f"{has_label.sum()} labelled and {(~has_label).sum()} unlabelled messages, {len(MESSAGES)} topics")

    settings = {"model": options.model, "max_steps": options.max_steps, "max_length": 32, "random_state": options.seed}
    supervised = PDRClassifier(reg="none", **settings)
    supervised.fit(texts[train][has_label], y[has_label])
    print(f"supervised:      accuracy {supervised.score(texts[test], topics[test]):.3f}")

    semi_supervised = PDRClassifier(reg="vat", div="shl", ratio=3.0, **settings)
    semi_supervised.fit(texts[train], y)
    print(f"semi-supervised: accuracy {semi_supervised.score(texts[test], topics[test]):.3f}")

    text = "The parcel should have been here on Monday."
    for topic, probability in zip(semi_supervised.classes_, semi_supervised.predict_proba([text])[0], strict=True):
        print(f"{probability:6.1%} {topic:9} {text}")


if __name__ == "__main__":
    main()
