"""What a terminal shows of a corpus: its parts, its classes, its lengths, and what leaks from one part into another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ssl_pdr.data.checks import CorpusReport, Leak, PartReport
from ssl_pdr.printing import one_line

MANY_CLASSES = 30
_LARGEST, _SMALLEST = 20, 10  # shown of more classes than that
_PER_TABLE = 3  # parts side by side
_NAME = 24  # columns of a class name
_EIGHTHS_ACROSS, _EIGHTHS_UP = " ▏▎▍▌▋▊▉█", " ▁▂▃▄▅▆▇█"
_HEIGHT = 3  # lines of a histogram


def show_report(report: CorpusReport, console: Console) -> None:
    """All of the report: parts, balance, lengths, leaks with examples, notes."""
    console.print(_parts_table(report))
    for table in _balance_tables([part for part in report.parts if part.labelled], console.width):
        console.print(table)
    for line in _histograms(report, console.width):
        console.print(line, no_wrap=True, overflow="ellipsis")
    if report.leaks:
        console.print(_leaks_table(report))
    leaks = [leak for leak in report.leaks if leak.into_evaluation and leak.examples]
    if leaks:
        console.print(_examples_table(leaks))
    for part in report.parts:
        if part.contradictions:
            console.print(
                Text(f"CAREFUL: {_clean(part.name)}: {part.contradictions:,} texts have more than one label", "yellow")
            )
    for note in report.notes:
        console.print(Text(f"note: {_clean(note)}", "dim"))


def show_balance(rows: Sequence[tuple[str, int, int]], console: Console) -> None:
    """Bars of labelled and all rows of each class; of more than `MANY_CLASSES` the largest and the smallest.

    Args:
        rows: (class, labelled rows, all rows).
        console: where to.
    """
    largest = max((total for _, _, total in rows), default=0) or 1
    shown, hidden = _selection([total for _, _, total in rows])
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("class", max_width=_NAME, no_wrap=True, overflow="ellipsis")
    table.add_column("labelled", justify="right")
    table.add_column("of", justify="right")
    table.add_column("█ labelled  ░ not", no_wrap=True)
    width = max(10, console.width - 26 - min(_NAME, max((len(name) for name, _, _ in rows), default=0)))
    for i in shown:
        if i is None:
            labelled, total = sum(rows[j][1] for j in hidden), sum(rows[j][2] for j in hidden)
            table.add_row(f"… {len(hidden):,} more", f"{labelled:,}", f"{total:,}", "", style="dim")
            continue
        name, labelled, total = rows[i]
        full = _cells(total, largest, width)
        dark = min(full, _cells(labelled, largest, width))
        table.add_row(Text(_clean(name)), f"{labelled:,}", f"{total:,}", Text("█" * dark + "░" * (full - dark), "cyan"))
    console.print(table)


def _parts_table(report: CorpusReport) -> Table:
    table = Table(title="corpus", box=box.SIMPLE_HEAD, padding=(0, 0))
    table.add_column("part", overflow="fold", min_width=10)
    tokens = ("median\ntokens", "longest", f"cut at\n{report.max_length:,}")
    for heading in ("rows", "labelled", "classes", *tokens, "same as\nearlier", "near an\nearlier"):
        table.add_column(heading, justify="right", no_wrap=True)
    for part in report.parts:
        table.add_row(
            Text(_clean(part.name)),
            f"{part.rows:,}",
            {part.rows: "all", 0: "none"}.get(part.labelled, f"{part.labelled:,}"),
            f"{sum(count > 0 for count in part.balance.values()):,}" if part.labelled else "–",
            f"{part.lengths.quartiles[1]:,}",
            f"{part.lengths.longest:,}",
            Text(f"{part.lengths.truncated:.1%}", "yellow" if part.lengths.truncated > 0.1 else ""),
            Text(f"{part.duplicates:,}", "yellow" if part.duplicates else ""),
            "–" if part.near_duplicates is None else f"{part.near_duplicates:,}",
        )
    return table


def _balance_tables(parts: Sequence[PartReport], width: int) -> Iterator[Table]:
    """Shares of the classes as bars, all to one scale; a few parts side by side."""
    if not parts:
        return
    shares = [[count / part.labelled for count in part.balance.values()] for part in parts]
    top = max(share for part in shares for share in part)
    bar = max(4, min(20, (width - _NAME) // min(_PER_TABLE, len(parts)) - 9))
    names = list(parts[0].balance)
    shown, hidden = _selection(list(parts[0].balance.values()))
    for start in range(0, len(parts), _PER_TABLE):
        group = range(start, min(start + _PER_TABLE, len(parts)))
        table = Table(title="share of the labelled rows", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("class", max_width=_NAME, no_wrap=True, overflow="ellipsis")
        for p in group:
            table.add_column(
                Text(_clean(parts[p].name)), min_width=bar + 7, max_width=bar + 7, no_wrap=True, overflow="ellipsis"
            )
        for i in shown:
            if i is None:
                rest = (f"{sum(shares[p][j] for j in hidden):6.1%}" for p in group)
                table.add_row(f"… {len(hidden):,} more", *rest, style="dim")
            else:
                bars = (Text(f"{shares[p][i]:6.1%} ").append(_across(shares[p][i] / top, bar), "cyan") for p in group)
                table.add_row(Text(_clean(names[i])), *bars)
        yield table


def _selection(sizes: Sequence[int]) -> tuple[list[int | None], list[int]]:
    """Which classes are shown, None standing for those that are not, and which are not."""
    if len(sizes) <= MANY_CLASSES:
        return list(range(len(sizes))), []
    order = sorted(range(len(sizes)), key=lambda i: -sizes[i])
    return [*order[:_LARGEST], None, *order[-_SMALLEST:]], order[_LARGEST:-_SMALLEST]


def _histograms(report: CorpusReport, width: int) -> Iterator[Text]:
    """A histogram of each part, over one axis with a mark where texts are cut."""
    edges = max((part.lengths.edges for part in report.parts), key=len, default=(0, 1))
    first = min((next((i for i, n in enumerate(part.lengths.counts) if n), 0) for part in report.parts), default=0)
    first -= first % 4  # four bins to each doubling, the first of them a power of two
    step = 1
    while (len(edges) - first) / step > max(8, width - 4):
        step *= 2  # bins to a column
    starts = edges[first:-1:step]
    kept = sum(start <= report.max_length for start in starts)  # columns of texts that are not cut
    yield Text("rows by length in tokens", "italic").append(" (logarithmic)", "dim")
    for part in report.parts:
        low, middle, high = part.lengths.quartiles
        lost = f", {part.lengths.lost:.1%} of tokens lost" if part.lengths.lost else ""
        facts = f"  quartiles {low:,} {middle:,} {high:,}, mean {part.lengths.mean:,.0f}{lost}"
        yield Text(_clean(part.name), "bold").append(facts, "not bold")
        for line in _columns([sum(part.lengths.counts[i : i + step]) for i in range(first, len(edges) - 1, step)]):
            yield Text("  ").append(line[:kept], "cyan").append(line[kept:].rstrip(), "red")
    yield Text("  " + _axis(starts), "dim")
    if kept < len(starts):
        yield Text("  " + " " * kept + f"▲ cut at {report.max_length:,}", "red")


def _columns(counts: Sequence[int]) -> list[str]:
    """Lines of vertical bars, the top one first; whatever is not 0 can be seen."""
    top = max(counts, default=0) or 1
    heights = [max(int(count > 0), round(count / top * _HEIGHT * 8)) for count in counts]
    return [
        "".join(_EIGHTHS_UP[min(8, max(0, height - 8 * line))] for height in heights)
        for line in reversed(range(_HEIGHT))
    ]


def _axis(starts: Sequence[int]) -> str:
    """The powers of two among the columns' first lengths, each under its column, as far as there is room."""
    axis = ""
    for column, start in enumerate(starts):
        if start & (start - 1) == 0 and (not axis or len(axis) < column):
            axis = axis.ljust(column) + (f"{start}" if start < 1024 else f"{start >> 10}k")
    return axis


def _leaks_table(report: CorpusReport) -> Table:
    rows_of = {part.name: part.rows for part in report.parts}
    table = Table(
        title="in two parts at once", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), caption=_meaning(report.leaks)
    )
    table.add_column("", no_wrap=True)
    table.add_column("rows of", overflow="fold")
    table.add_column("that are also in", overflow="fold")
    for heading in ("the same", "their copies", "near"):
        table.add_column(heading, justify="right")
    for leak in report.leaks:
        word, style = _verdict(leak)
        table.add_row(
            Text(word, style),
            Text(_clean(leak.other)),
            Text(_clean(leak.part)),
            Text(f"{leak.other_rows:,} of {rows_of[leak.other]:,}", style),
            f"{leak.rows:,}",
            "–" if leak.other_near is None else f"{leak.other_near:,}",
        )
    return table


def _verdict(leak: Leak) -> tuple[str, str]:
    if not leak.other_rows and not leak.other_near:
        return "none", "green"
    if not leak.into_evaluation:
        return "note", "dim"
    return ("LEAK", "bold red") if leak.other_rows else ("NEAR", "yellow")


def _meaning(leaks: Iterable[Leak]) -> Text | None:
    words = {_verdict(leak)[0] for leak in leaks}
    meanings = {
        "LEAK": "LEAK: what is evaluated on is trained on, so scores on it are too good.",
        "NEAR": "NEAR: look at these rows; is it the same text in another form?",
        "note": "note: harmless, but these rows are seen with a label and without.",
    }
    lines = [meaning for word, meaning in meanings.items() if word in words]
    return Text("\n".join(lines), "dim", justify="left") if lines else None


def _examples_table(leaks: Sequence[Leak]) -> Table:
    table = Table(title="examples", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), expand=True)
    table.add_column("", no_wrap=True)
    table.add_column("part", max_width=22, no_wrap=True, overflow="ellipsis")
    table.add_column("row", justify="right", no_wrap=True)
    table.add_column("text", ratio=1, no_wrap=True, overflow="ellipsis")
    for leak in leaks:
        for example in leak.examples:
            kind = (
                Text("the same", "red") if example.kind == "exact" else Text(f"near {example.similarity:.2f}", "yellow")
            )
            table.add_row(kind, Text(_clean(leak.other)), f"{example.other_row:,}", Text(_clean(example.other_text)))
            table.add_row("", Text(_clean(leak.part)), f"{example.row:,}", Text(_clean(example.text)), end_section=True)
    return table


def _clean(text: str) -> str:
    """On one line; shown as `Text`, it is no markup and no emoji code."""
    return one_line(" ".join(text.split()))


def _cells(count: int, largest: int, width: int) -> int:
    return max(int(count > 0), round(count / largest * width))


def _across(share: float, width: int) -> str:
    eighths = max(int(share > 0), round(share * width * 8))
    return "█" * (eighths // 8) + _EIGHTHS_ACROSS[eighths % 8].strip()
