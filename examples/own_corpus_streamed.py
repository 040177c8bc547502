"""A corpus of your own that is too large to keep: streamed beside a few labelled rows, in Python.

    python examples/own_corpus_streamed.py     # the embedded encoder, about a minute on 2 CPU cores

`Corpus` stands for whatever you read your texts from: any object whose iteration begins anew each time, or an
`IterableDataset` of `datasets`. Rows are shuffled in blocks and become model inputs when their turn comes.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainingArguments

from ssl_pdr import VAT, PDRTrainer, Stream
from ssl_pdr.tasks.base import model_source

AREAS = {
    "weather": ("rain", "wind", "frost", "sunshine", "fog"),
    "kitchen": ("bread", "soup", "salt", "butter", "rice"),
}


def sentence(area: str, chance: random.Random) -> str:
    """A text on one of two subjects."""
    first, second = chance.sample(AREAS[area], 2)
    return f"On day {chance.randint(1, 9999)} there was {first} and then {second}."


class Corpus:
    """A hundred million sentences, one after the other; a file or a network would be read here."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        chance = random.Random(1)
        for _ in range(100_000_000):
            yield {"text": sentence(chance.choice(list(AREAS)), chance)}


def main() -> None:
    """Train for a few steps and evaluate."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="minilm-l6")
    parser.add_argument("--max-steps", type=int, default=30)
    options = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(model_source(options.model))
    model = AutoModelForSequenceClassification.from_pretrained(
        model_source(options.model), num_labels=len(AREAS), dtype="float32", ignore_mismatched_sizes=True
    )
    chance = random.Random(0)

    def labelled(rows: int) -> list[dict[str, Any]]:
        areas = [number % len(AREAS) for number in range(rows)]
        texts = [sentence(list(AREAS)[area], chance) for area in areas]
        return [
            {**tokenizer(text, truncation=True, max_length=32), "labels": area}
            for text, area in zip(texts, areas, strict=True)
        ]

    def encode(rows: Sequence[Any]) -> list[dict[str, Any]]:
        made = tokenizer([row["text"] for row in rows], truncation=True, max_length=32)
        return [dict(zip(made, values, strict=True)) for values in zip(*made.values(), strict=True)]

    with tempfile.TemporaryDirectory() as folder:
        trainer = PDRTrainer(
            model,
            TrainingArguments(
                output_dir=folder,
                max_steps=options.max_steps,
                per_device_train_batch_size=16,
                learning_rate=1e-4,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                dataloader_pin_memory=False,
            ),
            train_dataset=labelled(32),
            unlabelled_dataset=Stream(Corpus(), encode, name="the diary"),
            eval_dataset=labelled(200),
            regularizer=VAT("shl"),
            ratio=3.0,  # unlabelled rows for each labelled one: a stream has no length to go by
            processing_class=tokenizer,
            compute_metrics=lambda out: {"accuracy": float((out.predictions.argmax(-1) == out.label_ids).mean())},
        )
        trainer.train()
        print(f"accuracy after {trainer.state.global_step} steps: {trainer.evaluate()['eval_accuracy']:.2f}")


if __name__ == "__main__":
    main()
