"""What the judgement of worlds counts and finds, as values, as a table and as a report."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median

from tests.world.run import Message
from tests.world.truth import HOUR, MINUTE


class Fault(StrEnum):
    """What may be wrong with a message, or with its absence."""

    FALSE_PAGE = "false page"
    FALSE_RECOVERY = "false recovery"
    TWICE = "told twice"
    WRONG_CAUSE = "wrong cause"
    SUPERFLUOUS = "superfluous"
    MISSING = "missing"
    LATE = "late"
    LOST = "lost"
    LIE = "told of a lie"  # the one page that a lying validator is allowed


EVENT = "a fault begins, its cause changes, or it ends; a token passes a threshold, or is renewed"
"""What the messages are counted against: each of these is worth one."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault: truly when, about what, what was true then, why it is one, and the message if there is one."""

    fault: Fault
    at: float
    who: str
    truth: str
    why: str
    message: Message | None = None


@dataclass(slots=True)
class Score:
    """What the judgement of one or more worlds counted; *events* are those of `EVENT`."""

    breaks: int = 0
    told: int = 0
    wrong_causes: int = 0
    never_corrected: int = 0
    delays: list[float] = field(default_factory=list)
    lies: int = 0
    per_platform: list[tuple[int, int, int]] = field(default_factory=list)
    per_api: list[tuple[int, int]] = field(default_factory=list)
    messages: int = 0
    requests: int = 0
    events: int = 0
    reminders: int = 0
    findings: list[Finding] = field(default_factory=list)

    def count(self, fault: Fault) -> int:
        """How often this fault was found."""
        return sum(finding.fault is fault for finding in self.findings)

    @property
    def per_event(self) -> float:
        """Messages per genuine event."""
        return self.messages / max(1, self.events)

    def add(self, other: "Score") -> None:
        """Count another world's too."""
        for name in (
            "breaks",
            "told",
            "wrong_causes",
            "never_corrected",
            "lies",
            "messages",
            "requests",
            "events",
            "reminders",
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.delays += other.delays
        self.per_platform += other.per_platform
        self.per_api += other.per_api
        self.findings += other.findings


def clock(elapsed: float) -> str:
    """A moment in a report: day and time since the world's beginning, as the monitor's clock shows it in UTC on 1 January 2030."""
    days, rest = divmod(int(elapsed), 86400)
    return f"d{days + 1} {rest // 3600:02d}:{rest % 3600 // 60:02d}"


def span(seconds: float) -> str:
    """A length of time in a report."""
    return f"{seconds / 60:.1f} min" if seconds < 2 * HOUR else f"{seconds / HOUR:.1f} h"


def table(total: Score) -> Iterator[str]:
    """The rows of the table, one per line."""
    delays = [delay / MINUTE for delay in total.delays]
    rows: list[tuple[str, object]] = [
        (
            f"genuine breaks told ({total.breaks})",
            f"{total.told}, wrong cause {total.wrong_causes}, never corrected {total.never_corrected}",
        ),
        (
            "delay, undisturbed breaks, median / max minutes",
            f"{median(delays):.1f} / {max(delays):.1f}  ({len(delays)})" if delays else "-",
        ),
        ("false pages (but for the first of a lie)", total.count(Fault.FALSE_PAGE)),
        ("pages of lies", total.lies),
        ("messages per platform outage, begin + over", _pairs([(opened, over) for _, opened, over in total.per_platform])),
        ("messages per API outage, begin + over", _pairs(total.per_api)),
        (
            "false recoveries, lost, told twice",
            f"{total.count(Fault.FALSE_RECOVERY)}, {total.count(Fault.LOST)}, {total.count(Fault.TWICE)}",
        ),
        ("missing, late, superfluous", f"{total.count(Fault.MISSING)}, {total.count(Fault.LATE)}, {total.count(Fault.SUPERFLUOUS)}"),
        ("messages in all (reminders; requests)", f"{total.messages} ({total.reminders}; {total.requests})"),
        (f"messages per genuine event ({total.events})", f"{total.per_event:.2f}"),
    ]
    for what, value in rows:
        yield f"{what:<52} {value}"
    yield f"A genuine event: {EVENT}."


def _pairs(pairs: Iterable[tuple[int, int]]) -> str:
    counted = list(pairs)
    if not counted:
        return "-"
    opened, over = zip(*counted, strict=True)
    return f"{sum(opened) / len(counted):.1f} + {sum(over) / len(counted):.1f}, at most {max(opened)} + {max(over)}  ({len(counted)})"


def report(total: Score) -> Iterator[str]:
    """Every finding, in the order of time, and how often each kind of it came."""
    kinds: Counter[str] = Counter()
    for finding in sorted(total.findings, key=lambda finding: finding.at):
        sent = finding.message.notification if finding.message is not None else None
        said = f"{sent.type} ({sent.why}, {sent.severity}, {sent.reason})" if sent is not None else "-"
        kinds[f"{finding.fault}: {sent.type if sent is not None else '-'}: {finding.why}"] += 1
        yield f"{clock(finding.at)}  {finding.fault}  {finding.who}: {said}: {finding.why}  [{finding.truth}]"
    yield ""
    for kind, count in kinds.most_common():
        yield f"{count:5d}  {kind}"
