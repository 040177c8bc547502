"""A csv file of your own, a few labels, and a text file of your own without any: from files to a saved model.

    python examples/own_csv.py                 # the embedded encoder, about a minute on 2 CPU cores

The files that it writes and reads have the shape that people's own have: some rows of the csv have no label.
"""

from __future__ import annotations

import argparse
import csv
import random
import tempfile
from pathlib import Path

import datasets

from ssl_pdr import TrainConfig, train

PRAISE = (
    "a joy from start to end",
    "well made and a pleasure to use",
    "it does all that I hoped for",
    "I would buy it again",
)
BLAME = ("it broke within a week", "a waste of money", "nothing about it works as described", "I sent it back at once")
THINGS = ("kettle", "lamp", "radio", "backpack", "keyboard", "tent", "clock", "umbrella")


def review(chance: random.Random) -> tuple[str, str]:
    """A text and what it is."""
    label = chance.choice(("praise", "blame"))
    said = chance.choice(PRAISE if label == "praise" else BLAME)
    return f"The {chance.choice(THINGS)} number {chance.randint(1, 999)}: {said}.", label


def write_files(folder: Path) -> tuple[Path, Path]:
    """A csv with a label in every second row, and a text file, one document a line."""
    chance = random.Random(0)
    table, texts = folder / "reviews.csv", folder / "more.txt"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["review", "verdict"])
        for number in range(160):
            text, label = review(chance)
            writer.writerow([text, label if number % 2 else ""])
    texts.write_text("\n".join(review(chance)[0] for _ in range(200)) + "\n", encoding="utf-8")
    return table, texts


def main() -> None:
    """Train, and say what came out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="minilm-l6")
    parser.add_argument("--max-steps", type=int, default=40)
    options = parser.parse_args()
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table, texts = write_files(folder)
        result = train(
            TrainConfig(
                data=str(table),
                text_column="review",
                label_column="verdict",
                unlabelled=(str(texts),),
                labelled_per_class=8,
                ratio=2.0,
                model=options.model,
                max_steps=options.max_steps,
                max_length=32,
                output=str(folder / "run"),
            )
        )
    budget, scores = result["budget"], result["scores"]
    corpora = ", ".join(f"{corpus['name']} ({corpus['rows']} rows)" for corpus in result["data"]["unlabelled"])
    print(f"{budget['labelled']} labels, {budget['unlabelled']} further rows of the csv, and {corpora}")
    print(f"accuracy on held-out rows: {scores['in_domain']['accuracy']:.2f}")
    for kind, count in result["data"]["notes"].items():
        print(f"{kind}: {count}")


if __name__ == "__main__":
    main()
