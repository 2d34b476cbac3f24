"""Stretches of time as sets: half-open, in order, none touching the next. What is given may be in any order and overlap."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple


class Span(NamedTuple):
    """From *start* until just before *end*."""

    start: datetime
    end: datetime


def union(spans: Iterable[Span]) -> list[Span]:
    """All that is in any of *spans*; those without length count for nothing."""
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


def intersection(one: Sequence[Span], other: Sequence[Span]) -> list[Span]:
    """What is in both; each is a set as `union` gives it."""
    found: list[Span] = []
    left = right = 0
    while left < len(one) and right < len(other):
        start, end = max(one[left].start, other[right].start), min(one[left].end, other[right].end)
        if start < end:
            found.append(Span(start, end))
        if one[left].end <= other[right].end:
            left += 1
        else:
            right += 1
    return found


def difference(one: Sequence[Span], other: Sequence[Span]) -> list[Span]:
    """What is in *one* but not in *other*; each is a set as `union` gives it."""
    found: list[Span] = []
    first = 0
    for start, end in one:
        while first < len(other) and other[first].end <= start:
            first += 1
        at, number = start, first
        while at < end and number < len(other) and other[number].start < end:
            if at < other[number].start:
                found.append(Span(at, other[number].start))
            at = other[number].end
            number += 1
        if at < end:
            found.append(Span(at, end))
    return found
