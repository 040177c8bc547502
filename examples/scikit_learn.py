"""Few labels and much unlabelled text in scikit-learn: supervised against semi-supervised.

The texts are reviews of a gadget, made from templates here. Sixteen of them have a label, −1 stands for the others.
The semi-supervised classifier is compared with two that see the labelled reviews alone: one passes over them as many
times, the other takes as many optimizer steps. On so small a problem chance decides much: try several seeds.

    python examples/scikit_learn.py
    python examples/scikit_learn.py --seed 1
    python examples/scikit_learn.py --model distilbert/distilbert-base-uncased --max-steps 60
"""

import argparse
import itertools

import numpy as np

from ssl_pdr.classifier import PDRClassifier

REMARKS = {
    "praise": [
        "The battery lasts for ages.",
        "It does all that I hoped for.",
        "The screen is a joy to look at.",
        "Setting it up took two minutes.",
        "My children adore it.",
        "It feels solid and well made.",
        "I would buy it again at once.",
        "The sound is clear and warm.",
        "Worth every penny.",
        "It starts in the blink of an eye.",
    ],
    "complaint": [
        "The battery is empty by noon.",
        "It does half of what was promised.",
        "The screen flickers all the time.",
        "Setting it up took me two evenings.",
        "My children gave up on it.",
        "It feels flimsy and cheap.",
        "I sent it back after a week.",
        "The sound is thin and tinny.",
        "A waste of money.",
        "It takes forever to start.",
    ],
}
ASIDES = ["Bought it in March.", "It came in a plain box.", "I use it at weekends.", "It replaces an older one."]


def reviews(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of remarks, each with something aside between them, and what they are; in random order."""
    chance = np.random.default_rng(seed)
    rows = [
        (f"{first} {chance.choice(ASIDES)} {second}", kind)
        for kind, remarks in REMARKS.items()
        for first, second in itertools.permutations(remarks, 2)
    ]
    chance.shuffle(rows)
    texts, kinds = zip(*rows, strict=True)
    return np.array(texts), np.array(kinds, dtype=object)


def main() -> None:
    """Train on the same sixteen labels with and without unlabelled text, and compare on reviews that none has seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="minilm-l6", help="a folder or Hub name; default: the embedded encoder")
    parser.add_argument("--max-steps", type=int, default=30, help="optimizer steps")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    texts, kinds = reviews(options.seed)
    train, test = texts[:110], texts[110:]
    y = np.full(110, -1, dtype=object)  # an object array: texts and the int −1 side by side
    for kind in REMARKS:
        y[np.flatnonzero(kinds[:110] == kind)[:8]] = kind
    has_label = y != -1
    print(f"{has_label.sum()} labelled and {(~has_label).sum()} unlabelled reviews; accuracy on {len(test)} others")

    settings = {"model": options.model, "max_length": 40, "random_state": options.seed}
    for name, steps in (("passes", max(options.max_steps // 2, 1)), ("steps", options.max_steps)):
        supervised = PDRClassifier(reg="none", max_steps=steps, **settings)
        supervised.fit(train[has_label], y[has_label])
        print(f"supervised, as many {name + ':':10}{supervised.score(test, kinds[110:]):.3f}")

    # One unlabelled row for each labelled one, so that half of each batch has labels.
    semi_supervised = PDRClassifier(reg="vat", div="shl", ratio=1.0, max_steps=options.max_steps, **settings)
    semi_supervised.fit(train, y)
    print(f"semi-supervised:              {semi_supervised.score(test, kinds[110:]):.3f}")

    text = "I am delighted with every part of it."
    for kind, probability in zip(semi_supervised.classes_, semi_supervised.predict_proba([text])[0], strict=True):
        print(f"{probability:6.1%} {kind:10} {text}")


if __name__ == "__main__":
    main()
