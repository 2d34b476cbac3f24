"""Whether the judge finds what is wrong: a world is told rightly, and then its messages are tampered with."""

from dataclasses import replace
from functools import cache

import pytest

from monitor.domain.events import EventType, NotificationReason, Severity
from monitor.errors import Reason
from tests.world import texts
from tests.world.generate import generate
from tests.world.judge import score
from tests.world.run import Message, Run, run
from tests.world.score import Fault, report, table
from tests.world.truth import DAY, HOUR, MINUTE, Kind, Member, Occurrence, Spell, World

BROKEN, WELL, CHANGING = 1, 2, 3


@cache
def told() -> Run:
    """Three connections, of which one breaks and heals, and one has its rights withdrawn and then its token revoked."""
    members = {number: Member(number, f"twitter-10{number}", "twitter", "main") for number in (BROKEN, WELL)}
    members[CHANGING] = Member(CHANGING, "linkedin-Ab3", "linkedin", "main", lives=((0.0, 90 * DAY),))
    breaks = Spell(2 * HOUR, 5 * HOUR, texts.REVOKED, "Request failed with status code 401")
    first = Spell(3 * HOUR, 5 * HOUR, texts.RIGHTS, "Request failed with status code 403")
    second = Spell(5 * HOUR, 8 * HOUR, texts.REVOKED, "Request failed with status code 401")
    occurrences = (
        Occurrence(Kind.BREAK, 2 * HOUR, 5 * HOUR, (BROKEN,), (breaks,)),
        Occurrence(Kind.BREAK, 3 * HOUR, 8 * HOUR, (CHANGING,), (first, second)),
    )
    return run(World(1, 11 * HOUR, members, ("main",), occurrences))


def opening(number: int = BROKEN) -> Message:
    """The message that tells of a break."""
    return next(message for message in told().messages if message.number == number and message.notification.level_to == "error")


def closing(number: int = BROKEN) -> Message:
    """The message that tells of its end."""
    return next(
        message for message in told().messages if message.notification.type is EventType.CONNECTION_RECOVERED and message.number == number
    )


def faults(messages: list[Message]) -> list[Fault]:
    """What the judge finds when these messages were sent instead."""
    ordered = sorted(messages, key=lambda message: message.at)
    return [finding.fault for finding in score(Run(told().world, ordered)).findings if finding.who != "linkedin-Ab3"]


def moved(message: Message, span: float) -> Message:
    """The message, but later."""
    return replace(message, at=message.at + span)


def test_what_is_right() -> None:
    """A world that is told rightly has no findings, and its numbers are those of its truth."""
    judged = score(told())

    assert faults(told().messages) == []
    assert (judged.breaks, judged.told, judged.lies, judged.count(Fault.LOST)) == (2, 2, 0, 0)
    assert judged.delays
    assert max(judged.delays) <= 16 * MINUTE


def test_a_dropped_message() -> None:
    """A break of which nothing is told is missing, and what is left of it is superfluous."""
    assert faults([each for each in told().messages if each is not opening()]) == [Fault.SUPERFLUOUS, Fault.MISSING]


def test_a_dropped_recovery() -> None:
    """An end of which nothing is told is lost."""
    assert faults([each for each in told().messages if each is not closing()]) == [Fault.LOST]


def test_a_doubled_message() -> None:
    """The same break is told twice, a minute or hours later."""
    for later in (1.0, HOUR):
        assert faults([*told().messages, moved(opening(), later)]) == [Fault.TWICE]
    assert faults([*told().messages, moved(closing(), MINUTE)]) == [Fault.SUPERFLUOUS]


def test_a_wrong_cause() -> None:
    """A cause that is not the true one is found, and one that is not urgent enough."""
    wrong = replace(opening(), notification=replace(opening().notification, reason=Reason.TARGET_GONE))
    calm = replace(opening(), notification=replace(opening().notification, severity=Severity.WARNING))

    for message in (wrong, calm):
        assert faults([message if each is opening() else each for each in told().messages]) == [Fault.WRONG_CAUSE]


def test_a_false_recovery() -> None:
    """An end that is told while the break goes on is false; so the true end has nothing to be over."""
    assert faults([*told().messages, replace(closing(), at=opening().at + HOUR)]) == [Fault.FALSE_RECOVERY]


def test_a_false_page() -> None:
    """A page about a connection that works is false, and so is a reminder after the end."""
    reminder = replace(opening().notification, why=NotificationReason.REMINDER, type=EventType.REMINDER)

    assert faults([*told().messages, replace(opening(), number=WELL)]) == [Fault.FALSE_PAGE]
    assert faults([*told().messages, Message(closing().at + HOUR, reminder, BROKEN, "")]) == [Fault.FALSE_PAGE]


def test_a_late_message() -> None:
    """A break that is told half an hour after it could be is late."""
    assert faults([moved(opening(), HOUR / 2) if each is opening() else each for each in told().messages]) == [Fault.LATE]


def test_a_cause_that_changes() -> None:
    """A second cause of which nothing is told is found."""
    kept = [each for each in told().messages if each.notification.why is not NotificationReason.CHANGED]
    findings = [finding for finding in score(Run(told().world, kept)).findings if finding.who == "linkedin-Ab3"]

    assert [finding.fault for finding in findings] == [Fault.WRONG_CAUSE]
    assert "told as nothing" in findings[0].why


def test_one_seed_is_one_world() -> None:
    """A seed always makes the same world, which is told in the same way; another seed makes another one."""
    first, again, other = generate(5, 0.3, small=True), generate(5, 0.3, small=True), generate(6, 0.3, small=True)

    assert [(each.kind, each.begins, each.members) for each in first.occurrences] == [
        (each.kind, each.begins, each.members) for each in again.occurrences
    ]
    assert first.members == again.members != other.members
    assert [message.text for message in run(first).messages] == [message.text for message in run(again).messages]


def test_every_kind_happens() -> None:
    """Among the worlds of fifty seeds is every kind of occurrence."""
    kinds = {each.kind for seed in range(1, 51) for each in generate(seed, 1.5).occurrences}

    assert kinds == set(Kind)


def test_the_table_and_the_report() -> None:
    """The table has a row for every promise, the report a line for every finding."""
    judged = score(Run(told().world, [*told().messages, replace(opening(), number=WELL)]))
    rows = list(table(judged))

    assert any(row.startswith("false pages") and row.endswith(" 1") for row in rows)
    assert sum("false page" in line and "twitter-102" in line for line in report(judged)) == 1


@pytest.mark.parametrize("kind", [Kind.RESTART, Kind.KILL, Kind.FREEZE, Kind.SUSPEND, Kind.CLOCK])
def test_what_disturbs_the_monitor(kind: Kind) -> None:
    """Whatever happens to the process or its clocks, a break is told once, and its end once."""
    world = told().world
    lasts, amount = (0.0, HOUR) if kind is Kind.CLOCK else (20 * MINUTE, 0.0)
    disturbed = replace(world, occurrences=(*world.occurrences, Occurrence(kind, 3.4 * HOUR, 3.4 * HOUR + lasts, amount=amount)))
    messages = [message for message in run(replace(disturbed, _by_member={})).messages if message.number == BROKEN]

    assert [message.notification.type for message in messages] == [EventType.CONNECTION_FAILED, EventType.CONNECTION_RECOVERED]


def test_an_outage_of_the_receiver() -> None:
    """What is decided while the receiver fails arrives once, in order, when it works again; what never arrives is lost."""
    world = told().world
    outage = Occurrence(Kind.RECEIVER, 1.5 * HOUR, 4 * HOUR)
    late = run(replace(world, occurrences=(*world.occurrences, outage), _by_member={}))
    arrived = [(at, place) for at, places in late.requests for place in places if late.messages[place].number == BROKEN]

    assert [late.messages[place].notification.type for _, place in arrived] == [EventType.CONNECTION_FAILED, EventType.CONNECTION_RECOVERED]
    assert outage.ends <= arrived[0][0] <= outage.ends + 10 * MINUTE
    assert [finding for finding in score(late).findings if finding.who == "twitter-101"] == []
    assert Fault.LOST in [finding.fault for finding in score(replace(late, requests=late.requests[:-1])).findings]
    assert Fault.TWICE in [finding.fault for finding in score(replace(late, requests=[*late.requests, late.requests[-1]])).findings]


def test_an_outage_of_one_that_can_be_tested() -> None:
    """A platform of which one connection alone is answered: nothing shows that it is the platform, and that one is told rightly."""
    members = {number: Member(number, f"twitter-10{number}", "twitter", "main") for number in (BROKEN, WELL)}
    trouble = Spell(2 * HOUR, 5 * HOUR, texts.TROUBLE, "Service Unavailable")
    outage = Occurrence(Kind.PLATFORM, 2 * HOUR, 5 * HOUR, (BROKEN, WELL), (trouble,), where="twitter")
    silent = Occurrence(Kind.SILENT, HOUR, 8 * HOUR, (WELL,), status=403)
    judged = {
        answered: score(run(World(1, 10 * HOUR, members, ("main",), (outage, *([] if answered else [silent])))))
        for answered in (True, False)
    }

    assert [each.findings for each in judged.values()] == [[], []]
    assert judged[True].per_platform == judged[False].per_platform == [(2, 1, 1)]
