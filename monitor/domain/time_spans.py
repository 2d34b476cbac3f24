"""Sets of time: sorted, disjoint, half-open spans."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple


class Span(NamedTuple):
    """From *start* until just before *end*."""

    start: datetime
    end: datetime


def union(spans: Iterable[Span]) -> list[Span]:
    """Return the union of *spans*, which may be unsorted, overlapping or empty."""
    merged: list[Span] = []
    for span in sorted(spans):
        if span.start >= span.end:
            continue
        if merged and span.start <= merged[-1].end:
            if span.end > merged[-1].end:
                merged[-1] = Span(merged[-1].start, span.end)
        else:
            merged.append(span)
    return merged


def intersection(first: Sequence[Span], second: Sequence[Span]) -> list[Span]:
    """Return the time in both sets."""
    common: list[Span] = []
    left = right = 0
    while left < len(first) and right < len(second):
        start, end = max(first[left].start, second[right].start), min(first[left].end, second[right].end)
        if start < end:
            common.append(Span(start, end))
        if first[left].end <= second[right].end:
            left += 1
        else:
            right += 1
    return common


def difference(first: Sequence[Span], second: Sequence[Span]) -> list[Span]:
    """Return the time in *first* but not in *second*."""
    remaining: list[Span] = []
    index = 0
    for start, end in first:
        while index < len(second) and second[index].end <= start:
            index += 1
        at, number = start, index
        while at < end and number < len(second) and second[number].start < end:
            if at < second[number].start:
                remaining.append(Span(at, second[number].start))
            at = second[number].end
            number += 1
        if at < end:
            remaining.append(Span(at, end))
    return remaining
