"""Parquet, compressed files, bombs, and endings that lie."""

from __future__ import annotations

import gzip
import io
import random
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.fuzz.case import EITHER, FINE, Case
from benchmarks.fuzz.ways import LABELLED, OUT, WAYS, Content, each, in_turn, put
from benchmarks.fuzz.world import TRAIN, rows, table

_GIBIBYTE = 2**30


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _parquet()
    yield from _compressed()
    yield from _bombs()
    yield from _endings()


def parquet(columns: dict[str, Sequence[Any]] | None = None, types: dict[str, Any] | None = None, **how: Any) -> bytes:
    """A table as parquet."""
    import pyarrow as pa
    import pyarrow.parquet

    texts = rows(24)
    columns = columns or {"text": [text for text, _ in texts], "label": [label for _, label in texts]}
    arrays = {name: pa.array(values, (types or {}).get(name)) for name, values in columns.items()}
    sink = io.BytesIO()
    pa.parquet.write_table(pa.table(arrays), sink, **how)
    return sink.getvalue()


def zst(content: bytes) -> bytes:
    """As zstd."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


def _parquet() -> Iterator[Case]:
    import pyarrow as pa

    good = parquet()
    middle = bytearray(good)
    middle[4:60] = b"\xff" * 56
    texts = [text for text, _ in rows(24)]
    bad: dict[str, Content] = {
        "nothing": b"",
        "the magic alone": b"PAR1",
        "the magic twice": b"PAR1PAR1",
        "cut in the middle": good[: len(good) // 2],
        "without its last byte": good[:-1],
        "data overwritten": bytes(middle),
        "footer of a huge length": good[:-8] + b"\xff\xff\xff\x7f" + b"PAR1",
        "footer of no length": good[:-8] + b"\x00\x00\x00\x00" + b"PAR1",
        "no rows": parquet({"text": [], "label": []}),
        "no columns that are known": parquet({"a": [1, 2], "b": [3, 4]}),
        "a text that is a number": parquet({"text": list(range(24)), "label": ["a", "b"] * 12}),
        "nulls alone": parquet({"text": [None] * 24, "label": [None] * 24}),
        "csv in it": table().encode(),
    }
    yield from in_turn("parquet", "bad.parquet", bad, [*LABELLED, "unlabelled"])
    odd: dict[str, Content] = {
        "bytes as texts": parquet({"text": [text.encode() for text in texts], "label": ["a", "b"] * 12}),
        "bytes that are no text": parquet({"text": [b"\xff\xfe"] * 24, "label": ["a", "b"] * 12}),
        "dates as labels": parquet(
            {"text": texts, "label": [i % 2 * 10**6 for i in range(24)]}, {"label": pa.timestamp("us")}
        ),
        "lists as labels": parquet({"text": texts, "label": [[i % 2] for i in range(24)]}),
        "decimals as labels": parquet({"text": texts, "label": [1, 2] * 12}, {"label": pa.decimal128(20, 3)}),
        "dictionaries as labels": parquet({"text": texts, "label": pa.array(["a", "b"] * 12).dictionary_encode()}),
        "fractions as labels": parquet({"text": texts, "label": [0.5, float("nan")] * 12}),
        "unsigned 64 bits as labels": parquet({"text": texts, "label": [2**64 - 1, 0] * 12}, {"label": pa.uint64()}),
        "times of years that do not exist": parquet(
            {"text": texts, "label": [2**62, 1] * 12}, {"label": pa.timestamp("us")}
        ),
        "a duration beyond Python's": parquet(
            {"text": texts, "label": ["a", "b"] * 12, "d": [2**62] * 24}, {"d": pa.duration("s")}
        ),
    }
    yield from in_turn("parquet", "odd.parquet", odd, ["train", "split", "eval", "data"], ends=EITHER)
    many = ["film " * 4000] * 10_000
    bomb = parquet({"text": many, "label": ["a", "b"] * 5_000})
    yield from each("bombs", "b.parquet", {"200 MB of one text in parquet": bomb}, ["split"], ends=EITHER)
    large = parquet({"text": ["x" * (200 * 2**20), "b", "c", "d"], "label": ["a", "b", "a", "b"]}, compression="zstd")
    yield from each(
        "bombs", "l.parquet", {"a text of 200 MB in parquet": large}, ["split", "train", "unlabelled"], ends=EITHER
    )


def _compressed() -> Iterator[Case]:
    content = table().encode()
    packed = gzip.compress(content)
    zipped = zst(content)
    turned = bytearray(packed)
    turned[len(turned) // 2] ^= 0xFF
    bad: dict[str, Content] = {
        "nothing": b"",
        "the magic alone": packed[:2],
        "a header alone": packed[:10],
        "cut in the middle": packed[: len(packed) // 2],
        "without its checksum": packed[:-8],
        "with a wrong checksum": packed[:-8] + b"\x00" * 8,
        "a byte turned": bytes(turned),
        "not compressed": content,
        "compressed twice": gzip.compress(packed),
        "zstd in it": zipped,
        "nothing in it": gzip.compress(b""),
        "a zlib stream": zlib.compress(content),
        "zeros after it": packed + b"\x00" * 10 + b"junk",
        "random bytes": random.Random(2).randbytes(500),
    }
    yield from in_turn("gz", "bad.csv.gz", bad, [*LABELLED, "unlabelled"])
    bad = {
        "nothing": b"",
        "the magic alone": zipped[:4],
        "cut in the middle": zipped[: len(zipped) // 2],
        "without its last byte": zipped[:-1],
        "not compressed": content,
        "gzip in it": packed,
        "nothing in it": zst(b""),
        "random bytes": zipped[:4] + random.Random(3).randbytes(500),
        "compressed twice": zst(zipped),
    }
    yield from in_turn("zst", "bad.csv.zst", bad, [*LABELLED, "stream"])
    fine: dict[str, Content] = {"two members": packed + gzip.compress(table(8, 100).partition("\n")[2].encode())}
    yield from each("gz", "fine.csv.gz", fine, ["split"], ends=FINE)
    yield from each(
        "zst", "fine.csv.zst", {"two frames": zipped + zst(b"the film was fine,pos\n")}, ["split"], ends=EITHER
    )


def bomb(packer: str, piece: bytes, size: int, head: bytes = b"", tail: bytes = b"") -> Content:
    """A small file that holds `size` bytes."""

    def make(path: Path) -> None:
        import pyarrow as pa

        whole = piece * (2**20 // len(piece))
        with path.open("wb") as raw:
            stream: Any = (
                gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1)
                if packer == "gz"
                else pa.CompressedOutputStream(pa.PythonFile(raw, "w"), "zstd")
            )
            with stream:
                stream.write(head)
                for _ in range(size // len(whole)):
                    stream.write(whole)
                stream.write(tail)

    return make


def _bombs() -> Iterator[Case]:
    """Small files with gigabytes in them."""
    head = b"text,label\n"
    for packer in ("gz", "zst"):
        lines: dict[str, tuple[str, Content]] = {
            "zeros": ("csv", bomb(packer, b"\x00", 2 * _GIBIBYTE)),
            "one line": ("csv", bomb(packer, b"x", _GIBIBYTE, head + b"a,pos\n")),
            "an open quote": ("csv", bomb(packer, b"line\n", _GIBIBYTE, head + b'"')),
            "a header": ("csv", bomb(packer, b"x,", _GIBIBYTE)),
            "line ends": ("csv", bomb(packer, b"\n", 2**22)),
            "a json text": ("json", bomb(packer, b"x", _GIBIBYTE, b'[{"text": "')),
            "json brackets": ("json", bomb(packer, b"[", _GIBIBYTE)),
            "json white space": ("json", bomb(packer, b" ", _GIBIBYTE, b"[")),
            "a json line": ("jsonl", bomb(packer, b"x", _GIBIBYTE, b'{"text": "a", "label": "b"}\n{"text": "')),
            "a tsv line": ("tsv", bomb(packer, b"\t", _GIBIBYTE, b"text\tlabel\n")),
        }
        for what, (ending, content) in lines.items():
            name = f"bomb.{ending}.{packer}"
            for way in ("split", "unlabelled")[: 2 if what in ("zeros", "one line", "json brackets") else 1]:
                yield Case(
                    kind="bombs",
                    name=f"{what}, {ending}.{packer}, {way}",
                    argv=WAYS[way](name),
                    make=put(name, content),
                    ends=EITHER,
                )
        text = bomb(packer, b"x", _GIBIBYTE, b"fine\n")
        name = f"bomb.txt.{packer}"
        yield Case(
            kind="bombs",
            name=f"one line, txt.{packer}, unlabelled",
            argv=WAYS["unlabelled"](name),
            make=put(name, text),
        )
        yield Case(
            kind="bombs",
            name=f"one line, txt.{packer}, stream",
            argv=(*WAYS["stream"](name), "--skip-bad-rows"),
            make=put(name, text),
            ends=EITHER,
        )
        paragraph = bomb(packer, b"word\n", _GIBIBYTE // 4, b"fine\n\n")
        yield Case(
            kind="bombs",
            name=f"one paragraph, txt.{packer}",
            argv=(*WAYS["unlabelled"](name), "--split-documents", "paragraph"),
            make=put(name, paragraph),
        )
    nested = gzip.compress(gzip.compress(b"\x00" * (2**27)))
    yield from each("bombs", "n.csv.gz", {"gzip in gzip": nested}, ["split"])


def _endings() -> Iterator[Case]:
    """Names that say something else than the content, or nothing that is known."""
    content = table().encode()
    names: dict[str, bytes] = {
        "x.xlsx": b"PK\x03\x04" + b"\x00" * 100,
        "x.zip": b"PK\x03\x04",
        "x.csv.bz2": b"BZh9",
        "x.csv.xz": b"\xfd7zXZ\x00",
        "x.parquet.gz": gzip.compress(parquet()),
        "x.arrow": b"ARROW1",
        "x.pkl": b"\x80\x04K\x01.",
        "x.npy": b"\x93NUMPY",
        "x.gz": gzip.compress(content),
        "x": content,
        "x.csv ": content,
        "x.csv.gz.gz": gzip.compress(gzip.compress(content)),
        "x.JSON": content,
        "x.jsonl": content,
        "x.parquet": content,
        "x.tsv": parquet(),
        "x.csv": parquet(),
        "x.json": parquet(),
        "x.db": b"SQLite format 3\x00",
        ".csv": content,
        "x.csv": b"PK\x03\x04" + bytes(200),  # noqa: F601
    }
    ways = ["split", "unlabelled", "evaluate"]
    for number, (name, inside) in enumerate(names.items()):
        for way in (ways[number % 3], ways[(number + 1) % 3]):
            yield Case(
                kind="endings",
                name=f"{name!r}, {way}",
                argv=WAYS[way](f"./{name}"),
                make=put(name, inside),
                ends=EITHER if name in (".csv", "x.tsv") else (2,),
            )
    for name, inside in {"x.csv.GZ": gzip.compress(content), "X.CSV": content}.items():
        yield Case(kind="endings", name=name, argv=WAYS["split"](name), make=put(name, inside), ends=FINE)
    argv = (*TRAIN, "--data", "reviews.csv", "--unlabelled", "more.txt:0.5", "--reg", "rdrop", *OUT)
    yield Case(kind="endings", name="a weight behind an ending", argv=argv, ends=FINE)
    for weight in ("abc", "0", "-1", "nan", "inf", "1e999", "", "１", ":", "1:1", " 1", "0x1"):
        argv = (*TRAIN, "--data", "reviews.csv", "--reg", "rdrop", "--unlabelled", f"more.txt:{weight}", *OUT)
        yield Case(
            kind="weights", name=f"more.txt:{weight}", argv=argv, ends=EITHER if weight in ("１", " 1") else (2,)
        )
