"""The end of a token: how evidence becomes a belief, and a belief a level."""

import random
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from monitor.domain.events import FINE, Severity
from monitor.domain.expiry.estimate import LIST_AGE, apply, apply_listing, best_estimate, uncertainty, window
from monitor.domain.expiry.interval import DATE_STEP, RoundingEvidence, learn_rounding
from monitor.domain.expiry.levels import EXPIRED, SOON, auto_renewing, compact, crossings, level, renewal_overdue, severity_of, threshold_of
from monitor.domain.expiry.model import Rounding, TokenBelief, TokenChange
from monitor.domain.policy import ExpiryPolicy
from monitor.domain.replies.listings import ListedConnection
from monitor.domain.replies.token_life import TokenSays, parse_token_life
from tests.builders import DAY, HOUR, MINUTE, SECOND, START, a_connection
from tests.sampling import sampled

POLICY = ExpiryPolicy()
NO_COUNTDOWN = ExpiryPolicy(thresholds=(), trust_date=False)
LADDER = [FINE, "14d", "7d", "1d", EXPIRED]


def checked(
    belief: TokenBelief,
    text: object,
    at: datetime = START,
    *,
    passed: bool = True,
    server_at: datetime | None = None,
    rounding: Rounding = Rounding.UNKNOWN,
) -> tuple[TokenBelief, TokenChange | None]:
    """*belief* after a test at *at* that printed *text*."""
    life = parse_token_life(text)
    return apply(belief, life, passed=passed, sent_at=at, at=at, server_at=server_at, policy=POLICY, rounding=rounding)


def told(
    *texts: tuple[object, datetime], passed: bool = True, rounding: Rounding = Rounding.UNKNOWN
) -> tuple[TokenBelief, list[TokenChange | None]]:
    """The belief after several tests, and what changed at each."""
    belief, changes = TokenBelief(), []
    for text, at in texts:
        belief, change = checked(belief, text, at, passed=passed, rounding=rounding)
        changes.append(change)
    return belief, changes


def listed(
    belief: TokenBelief, at: datetime = START, *, ends_at: datetime | None = None, status: str | None = "valid", **more: object
) -> tuple[TokenBelief, TokenChange | None]:
    """*belief* after a list whose row says so."""
    text, platform, policy = more.get("text"), str(more.get("platform", "linkedin")), more.get("policy", POLICY)
    assert isinstance(policy, ExpiryPolicy)
    row = ListedConnection("linkedin-a", token=parse_token_life(text), token_expires_at=ends_at, token_status=status)
    server_at = more.get("server_at")
    assert server_at is None or isinstance(server_at, datetime)
    return apply_listing(belief, row, at=at, server_at=server_at, platform=platform, policy=policy)


def level_of(
    belief: TokenBelief, now: datetime = START, told_level: str = FINE, policy: ExpiryPolicy = POLICY, platform: str = "linkedin"
) -> str:
    """The level with everything usual."""
    return level(belief, now=now, policy=policy, notified_level=told_level, platform=platform)


VECTORS = [
    pytest.param("45d 3h", FINE, 45 * DAY + 3 * HOUR, 45 * DAY + 4 * HOUR, id="1"),
    pytest.param(None, FINE, None, None, id="2"),
    pytest.param("5h", "1d", 5 * HOUR, 6 * HOUR, id="3"),
    pytest.param("< 1h", "1d", timedelta(0), HOUR, id="4"),
    pytest.param("29 days", FINE, 29 * DAY, 30 * DAY, id="5"),
    pytest.param("7d 0h", "14d", 7 * DAY, 7 * DAY + HOUR, id="6"),
    pytest.param("6d 23h", "7d", 7 * DAY - HOUR, 7 * DAY, id="7"),
    pytest.param("expired", EXPIRED, None, None, id="expired"),
    pytest.param("soonish", FINE, None, None, id="unparsed"),
]


@pytest.mark.parametrize(("text", "expected", "earliest", "latest"), VECTORS)
def test_vectors(text: object, expected: str, earliest: timedelta | None, latest: timedelta | None) -> None:
    """The contract's texts give its windows and levels; a value on the threshold is not below it."""
    belief, _ = told((text, START), rounding=Rounding.FLOOR)
    ends = window(belief)
    assert ends == (None if earliest is None or latest is None else (START + earliest, START + latest))
    assert level_of(belief) == expected


LISTS = [
    pytest.param("facebook", "expired", None, EXPIRED, NO_COUNTDOWN, id="103"),
    pytest.param("youtube", "valid", START - 3 * HOUR, FINE, POLICY, id="105-youtube"),
    pytest.param("linkedin", "valid", START - 3 * HOUR, FINE, POLICY, id="105-any"),
    pytest.param("tiktok", "valid", START + 5 * HOUR, FINE, POLICY, id="105-tiktok-future"),
    pytest.param("twitter", "unknown", None, FINE, POLICY, id="107"),
    pytest.param("tiktok", "expiring_soon", START + 25 * DAY, SOON, POLICY, id="108"),
    pytest.param("tiktok", "expiring_soon", START + 25 * DAY, "30d", ExpiryPolicy(thresholds=(30 * DAY,)), id="108-own"),
    pytest.param("linkedin", None, START + 2 * DAY, "7d", POLICY, id="109"),
    pytest.param("linkedin", None, START - 3 * HOUR, EXPIRED, POLICY, id="109-past"),
    pytest.param("linkedin", "expired", START + 40 * DAY, EXPIRED, POLICY, id="flag-wins"),
    pytest.param("facebook", "expiring_soon", START + DAY, FINE, NO_COUNTDOWN, id="no-countdown"),
    pytest.param("instagram", "valid", START + DAY, FINE, ExpiryPolicy(trust_date=False), id="untrusted"),
]


@pytest.mark.parametrize(("platform", "status", "ends_at", "expected", "policy"), LISTS)
def test_list_vectors(platform: str, status: str | None, ends_at: datetime | None, expected: str, policy: ExpiryPolicy) -> None:
    """The list's flag and date give the level by the rules of the contract, under both generations of the API."""
    belief, change = listed(TokenBelief(), ends_at=ends_at, status=status, platform=platform, policy=policy)
    assert level_of(belief, policy=policy, platform=platform) == expected
    assert change is None


def test_date_wins_over_text() -> None:
    """With both, the exact date counts; texts of another hour are no remark, texts of another week are."""
    belief, _ = told(("82d 4h", START))
    belief, _ = listed(belief, ends_at=START + 82 * DAY + 14 * HOUR)
    assert (best_estimate(belief), uncertainty(belief), belief.disagrees) == (START + 82 * DAY + 14 * HOUR, timedelta(0), False)
    belief, _ = checked(belief, "60d 4h", START + MINUTE)
    assert belief.disagrees
    assert best_estimate(belief) == START + 82 * DAY + 14 * HOUR


def test_passed_date_against_living_texts() -> None:
    """A date that has long passed is dropped when the API still prints time left."""
    belief, _ = listed(TokenBelief(), ends_at=START + HOUR, status=None)
    belief, _ = checked(belief, "40d 0h", START + 4 * HOUR)
    assert belief.exact_at is None
    assert level_of(belief, START + 4 * HOUR) == FINE


@pytest.mark.parametrize("wrong", [-400 * DAY, -19 * DAY, 19 * DAY, 400 * DAY])
def test_dates_by_a_wrong_clock(wrong: timedelta) -> None:
    """While our clock and the server's are days apart no date is read by ours: lists and texts go on, and no threshold is crossed."""
    belief, _ = listed(TokenBelief(), ends_at=START + 20 * DAY + HOUR, server_at=START)
    assert level_of(belief) == FINE
    now = START + wrong
    belief, _ = checked(belief, "20d 1h", now, server_at=START)
    assert level_of(belief, now) == FINE
    belief, change = listed(belief, now, ends_at=START + 20 * DAY + HOUR, status=None, server_at=START)
    assert change is None
    assert level_of(belief, now) == FINE
    belief, _ = checked(belief, "20d 0h", START + HOUR, server_at=START + HOUR)
    belief, change = listed(belief, START + HOUR, ends_at=START + 20 * DAY + HOUR, server_at=START + HOUR)
    assert (change, level_of(belief, START + HOUR)) == (None, FINE)
    assert belief.exact_at == START + 20 * DAY + HOUR


def test_row_by_the_clock_of_the_server() -> None:
    """A row's text is read by the list's `Date`, however much ours is off, as a test's is; without one by ours."""
    off = 10 * MINUTE
    belief, _ = listed(TokenBelief(), START + off, text="3d 2h", status=None, server_at=START)
    assert window(belief) == (START + 3 * DAY + 2 * HOUR - 30 * MINUTE - LIST_AGE, START + 3 * DAY + 3 * HOUR + DATE_STEP)
    belief, _ = listed(TokenBelief(), START + off, text="3d 2h", status=None)
    assert window(belief) == (START + off + 3 * DAY + 2 * HOUR - 30 * MINUTE - LIST_AGE, START + off + 3 * DAY + 3 * HOUR)


def test_row_without_a_date() -> None:
    """Where the list has no date its text counts, but for an `expired` that the flag contradicts."""
    belief, _ = listed(TokenBelief(), text="3d 2h", status=None)
    assert level_of(belief) == "7d"
    assert listed(TokenBelief(), text="expired", status="valid")[0].says is TokenSays.NOTHING
    assert listed(TokenBelief(), text="expired", status=None)[0].says is TokenSays.EXPIRED


def test_expired_text_where_nobody_counts() -> None:
    """On platforms that renew by themselves the word alone raises nothing; the flag does."""
    belief, _ = told(("expired", START), ("expired", START + HOUR))
    assert level_of(belief, policy=NO_COUNTDOWN, platform="tiktok") == FINE
    belief, _ = listed(belief, status="expired", platform="tiktok", policy=NO_COUNTDOWN)
    assert level_of(belief, policy=NO_COUNTDOWN, platform="tiktok") == EXPIRED


def test_windows_intersect() -> None:
    """Two prints around a step leave only the time between them."""
    before, after = START, START + 15 * MINUTE
    belief, _ = told(("20d 4h", before), ("20d 3h", after), rounding=Rounding.FLOOR)
    assert window(belief) == (before + 20 * DAY + 4 * HOUR, after + 20 * DAY + 4 * HOUR)
    assert best_estimate(belief) == before + 20 * DAY + 4 * HOUR + 7.5 * MINUTE
    assert uncertainty(belief) == 7.5 * MINUTE


@pytest.mark.parametrize(
    ("rounding", "earliest", "latest"),
    [
        (Rounding.FLOOR, 5 * HOUR, 6 * HOUR),
        (Rounding.ROUND, 4.5 * HOUR, 5.5 * HOUR),
        (Rounding.UNKNOWN, 4.5 * HOUR, 6 * HOUR),
    ],
)
def test_rounding(rounding: Rounding, earliest: timedelta, latest: timedelta) -> None:
    """Each rounding has its own window; not knowing it takes both."""
    belief, _ = told(("5h", START), rounding=rounding)
    assert window(belief) == (START + earliest, START + latest)


def test_server_clock() -> None:
    """The server's `Date` cancels its clock's error; whole seconds and the time of the request widen the window."""
    life = parse_token_life("5h")
    theirs = START + 10 * MINUTE
    belief, _ = apply(
        TokenBelief(), life, passed=True, sent_at=START, at=START + 2 * SECOND, server_at=theirs, policy=POLICY, rounding=Rounding.FLOOR
    )
    assert window(belief) == (theirs - 2 * SECOND + 5 * HOUR, theirs + SECOND + 6 * HOUR)


@pytest.mark.parametrize("jump", [3 * HOUR, 365 * DAY, 3650 * DAY, -3 * HOUR, -365 * DAY])
def test_our_clock_jumps(jump: timedelta) -> None:
    """When our clock jumps, a living token neither expires nor renews: the printed life counts from our clock."""
    belief, _ = checked(TokenBelief(), "5d 3h", START, server_at=START)
    belief, change = checked(belief, "5d 3h", START + jump, server_at=START + MINUTE)
    assert change is None
    assert level_of(belief, START + jump, told_level="7d") == "7d"
    failed, _ = checked(belief, None, START + jump, passed=False, server_at=START + 2 * MINUTE)
    assert level_of(failed, START + jump, told_level="7d") == "7d"


def test_renewal() -> None:
    """A far later end is a renewal, told once; what the list said before is void."""
    belief, _ = listed(TokenBelief(), ends_at=START + 2 * DAY, status="expiring_soon")
    belief, first = checked(belief, "2d 0h")
    belief, second = checked(belief, "59d 23h", START + HOUR)
    belief, third = checked(belief, "59d 22h", START + 2 * HOUR)
    assert (first, second, third) == (None, TokenChange.RENEWED, None)
    assert (belief.exact_at, belief.status, belief.renewed_at) == (None, None, START + HOUR)
    assert level_of(belief, START + 2 * HOUR, told_level="7d") == FINE
    belief, fourth = listed(belief, START + 3 * HOUR, ends_at=START + 60 * DAY)
    assert fourth is None


def test_renewal_seen_by_the_list_first() -> None:
    """The list's later date is the same renewal; the next text is not a second one."""
    belief, _ = listed(TokenBelief(), ends_at=START + 2 * DAY, status="expiring_soon")
    belief, _ = checked(belief, "2d 0h")
    belief, renewed = listed(belief, START + HOUR, ends_at=START + 60 * DAY)
    belief, after = checked(belief, "59d 22h", START + 2 * HOUR)
    assert (renewed, after) == (TokenChange.RENEWED, None)
    assert belief.renewal_points == (2 * DAY - HOUR,)
    assert not belief.disagrees


def test_reconnecting_an_expired_token() -> None:
    """Time left after `expired` is a renewal; it is not counted among the usual points of renewal."""
    belief, changes = told(("expired", START), ("expired", START + HOUR), ("59d 23h", START + 2 * HOUR))
    assert changes == [None, None, TokenChange.RENEWED]
    assert belief.renewal_points == ()
    assert level_of(belief, START + 2 * HOUR, told_level=EXPIRED) == FINE
    belief, _ = told(("5h", START), ("expired", START + 7 * HOUR))
    _, change = listed(belief, START + 8 * HOUR, ends_at=START + 60 * DAY)
    assert change is TokenChange.RENEWED
    flagged, _ = listed(TokenBelief(TokenSays.LEFT), ends_at=START + 10 * DAY, status="expired")
    flagged, change = listed(flagged, START + HOUR, ends_at=START + 60 * DAY)
    assert (change, flagged.renewal_points) == (TokenChange.RENEWED, ())


def test_expired_is_not_left_for_an_hour_more() -> None:
    """After `expired` was told, a text of very little time left does not take it back."""
    belief, changes = told(("expired", START), ("< 1h", START + MINUTE))
    assert changes == [None, None]
    assert level_of(belief, START + MINUTE, told_level=EXPIRED) == EXPIRED
    assert level_of(belief, START + MINUTE) == "1d"


@pytest.mark.parametrize("later", ["20d 5h", "20d 6h", "20d 23h"])
def test_a_small_move_is_no_renewal(later: str) -> None:
    """An end that moves by hours, weeks away, starts the window anew and tells nothing."""
    belief, changes = told(("20d 3h", START), (later, START + MINUTE))
    assert changes == [None, None]
    assert level_of(belief, START + MINUTE) == FINE
    belief, changes = told((later, START), ("20d 3h", START + MINUTE))
    assert TokenChange.RENEWED not in changes


def test_a_short_life_that_doubles_is_a_renewal() -> None:
    """A token of one day that is renewed within its last hour is seen to be renewed, although the move is below a day."""
    _, changes = told(("< 1h", START), ("23h", START + HOUR))
    assert changes[-1] is TokenChange.RENEWED


def test_shortened() -> None:
    """A far earlier end is no renewal."""
    belief, changes = told(("40d 0h", START), ("3d 0h", START + MINUTE))
    assert changes[-1] is TokenChange.SHORTENED
    assert level_of(belief, START + MINUTE) == "7d"
    _, changes = told(("40d 0h", START), ("expired", START + MINUTE))
    assert changes[-1] is TokenChange.SHORTENED
    belief, _ = listed(TokenBelief(), ends_at=START + 40 * DAY)
    assert listed(belief, ends_at=START + 30 * DAY)[1] is TokenChange.SHORTENED


def test_nulls() -> None:
    """One null of a passed test changes nothing, the second in a row clears; failed tests carry null for no reason."""
    belief, _ = told(("3d 0h", START))
    once, _ = checked(belief, None, START + MINUTE)
    assert level_of(once, START + MINUTE) == "7d"
    between, _ = checked(once, "3d 0h", START + 2 * MINUTE)
    assert level_of(checked(between, None, START + 3 * MINUTE)[0], START + 3 * MINUTE) == "7d"
    twice, change = checked(once, None, START + 2 * MINUTE)
    assert (level_of(twice, START + 2 * MINUTE, told_level="7d"), window(twice), change) == (FINE, None, None)
    failed = belief
    for minute in range(5):
        failed, _ = checked(failed, None, START + minute * MINUTE, passed=False)
    assert level_of(failed, START + 5 * MINUTE) == "7d"


def test_unparsed_changes_nothing() -> None:
    """A text that is not understood leaves the belief as it was."""
    belief, _ = told(("3d 0h", START))
    assert checked(belief, "whenever", START + MINUTE) == (belief, None)


def test_the_end_passes() -> None:
    """An end that passed counts as expired only when evidence arrives two hours after it, not by the clock."""
    belief, _ = told(("5h", START), rounding=Rounding.FLOOR)
    assert level_of(belief, START + 10 * HOUR) == "1d"
    early, _ = checked(belief, None, START + 7 * HOUR, passed=False)
    assert level_of(early, START + 7 * HOUR) == "1d"
    late, _ = checked(belief, None, START + 8 * HOUR, passed=False)
    assert level_of(late, START + 8 * HOUR) == EXPIRED


def test_hysteresis() -> None:
    """A told level is left only when the end is beyond it by two hours or a tenth of the threshold."""
    just_above = TokenBelief(TokenSays.LEFT, exact_at=START + 7 * DAY + HOUR)
    assert level_of(just_above) == "14d"
    assert level_of(just_above, told_level="7d") == "7d"
    assert level_of(just_above, told_level="1d") == "14d"
    assert level_of(TokenBelief(TokenSays.LEFT, exact_at=START + 7.6 * DAY), told_level="7d") == "7d"
    assert level_of(TokenBelief(TokenSays.LEFT, exact_at=START + 7.8 * DAY), told_level="7d") == "14d"
    assert level_of(TokenBelief(TokenSays.LEFT, exact_at=START + 7 * DAY - HOUR), told_level="7d") == "7d"
    assert level_of(TokenBelief(TokenSays.LEFT, exact_at=START + HOUR), told_level="7d") == "1d"
    short = ExpiryPolicy(thresholds=(HOUR,))
    assert level_of(TokenBelief(TokenSays.LEFT, exact_at=START + 2.5 * HOUR), told_level="1h", policy=short) == "1h"
    assert level_of(TokenBelief(TokenSays.LEFT, exact_at=START + 3.5 * HOUR), told_level="1h", policy=short) == FINE


def test_a_level_that_is_no_longer_configured() -> None:
    """After a change of the thresholds an old level holds nothing back."""
    belief = TokenBelief(TokenSays.LEFT, exact_at=START + 20 * DAY)
    assert level_of(belief, told_level="21d") == FINE


def an_auto_renewing(points: tuple[timedelta, ...], left: timedelta) -> TokenBelief:
    return TokenBelief(TokenSays.LEFT, exact_at=START + left, observed_at=START, renewal_points=points)


def test_auto_renewal_disarms_the_countdown() -> None:
    """Two renewals at about the same life left end the countdown until the renewal is overdue."""
    usual = an_auto_renewing((6 * DAY, 6 * DAY + 3 * HOUR), 6.5 * DAY)
    assert auto_renewing(usual)
    assert level_of(usual) == FINE
    late = replace(usual, exact_at=START + 5 * DAY - MINUTE)
    assert renewal_overdue(late, START, POLICY)
    assert level_of(late) == "7d"
    assert not renewal_overdue(usual, START, POLICY)
    assert level_of(replace(usual, says=TokenSays.EXPIRED)) == EXPIRED


def test_what_is_no_auto_renewal() -> None:
    """One renewal, or two at different lives left, say nothing of a machine."""
    assert not auto_renewing(an_auto_renewing((6 * DAY,), DAY))
    assert not auto_renewing(an_auto_renewing((6 * DAY, 2 * DAY), DAY))
    assert level_of(an_auto_renewing((6 * DAY, 2 * DAY), 12 * HOUR)) == "1d"


def test_short_lived_tokens_learn() -> None:
    """A token that is renewed each day in its last hours is told once, until two renewals were seen; points are the last five."""
    belief, now, levels = TokenBelief(), START, list[str]()
    for _ in range(8):
        for text, pause in (("20h", 9), ("11h", 9), ("2h", 2)):
            belief, _ = checked(belief, text, now)
            levels.append(level_of(belief, now, told_level=levels[-1] if levels else FINE))
            now += pause * HOUR
    assert levels == ["1d"] * 6 + [FINE] * 18
    assert len(belief.renewal_points) == 5


def test_severity() -> None:
    """The first threshold is info, the last critical, those between warning, and so is an only one."""
    expected = {"14d": Severity.INFO, "7d": Severity.WARNING, "1d": Severity.CRITICAL, EXPIRED: Severity.CRITICAL, SOON: Severity.INFO}
    assert {name: severity_of(name, POLICY) for name in expected} == expected
    assert severity_of(FINE, POLICY) is Severity.INFO
    assert severity_of("3d", ExpiryPolicy(thresholds=(3 * DAY,))) is Severity.WARNING
    assert severity_of("1d", ExpiryPolicy(thresholds=(DAY, 14 * DAY))) is Severity.CRITICAL


@pytest.mark.parametrize(
    ("duration", "text"),
    [(14 * DAY, "14d"), (36 * HOUR, "36h"), (90 * MINUTE, "90m"), (45 * SECOND, "45s"), (1.5 * SECOND, "1.5s"), (0 * SECOND, "0s")],
)
def test_level_names(duration: timedelta, text: str) -> None:
    """A threshold's name is its shortest form, and can be read back."""
    assert compact(duration) == text
    assert threshold_of(text) == duration


def test_levels_without_a_threshold() -> None:
    """Words are no thresholds."""
    assert [threshold_of(name) for name in (FINE, SOON, EXPIRED)] == [None, None, None]


def test_crossings() -> None:
    """The moments named are exactly those at which the level moves by time alone."""
    belief = TokenBelief(TokenSays.LEFT, exact_at=START + 20 * DAY)
    for moment, name in zip(crossings(belief, POLICY), ("14d", "7d", "1d"), strict=True):
        assert level_of(belief, moment) == name
        assert level_of(belief, moment - SECOND) != name
    usual = an_auto_renewing((6 * DAY, 6 * DAY), 20 * DAY)
    assert list(crossings(usual, POLICY))[-1] == START + 15 * DAY
    assert renewal_overdue(usual, START + 15 * DAY, POLICY)
    assert list(crossings(TokenBelief(), POLICY)) == []


def a_row(number: int, ends_at: datetime, text: str) -> ListedConnection:
    return ListedConnection(a_connection(number).platform_id, token=parse_token_life(text), token_expires_at=ends_at)


def test_learning_the_rounding() -> None:
    """Rows that only one rounding explains teach it, once three connections agree and none contradicts."""
    evidence = RoundingEvidence()
    for number in (1, 1, 2):
        evidence = learn_rounding(evidence, a_row(number, START + 5 * DAY + 45 * MINUTE, "5d 0h"), at=START)
    assert evidence.mode is Rounding.UNKNOWN
    evidence = learn_rounding(evidence, a_row(3, START + 5 * DAY + 45 * MINUTE, "5d 0h"), at=START)
    assert evidence.mode is Rounding.FLOOR
    evidence = learn_rounding(evidence, a_row(4, START + 5 * DAY - 15 * MINUTE, "5d 0h"), at=START)
    assert evidence.mode is Rounding.UNKNOWN
    rounded = RoundingEvidence()
    for number in range(9):
        rounded = learn_rounding(rounded, a_row(number, START + 5 * DAY - 15 * MINUTE, "5d 0h"), at=START)
    assert rounded.mode is Rounding.ROUND
    assert len(rounded.rounded) == 3


@pytest.mark.parametrize(
    ("ends_at", "text"),
    [
        (START + 5 * DAY + 15 * MINUTE, "5d 0h"),
        (START + 5 * DAY + 14 * HOUR, "5d 0h"),
        (START + 5 * DAY - 14 * HOUR, "5d 0h"),
        (START + 5 * DAY + 59 * MINUTE, "5d 0h"),
        (START + 5 * DAY + 31 * MINUTE, "5d 0h"),
        (START + 5 * DAY - MINUTE, "5d 0h"),
        (START + 45 * MINUTE, "< 1h"),
        (START + 5 * DAY, "expired"),
    ],
)
def test_rows_that_teach_nothing(ends_at: datetime, text: str) -> None:
    """Rows that fit both roundings, or whose date and text do not belong together, teach nothing."""
    assert learn_rounding(RoundingEvidence(), a_row(1, ends_at, text), at=START) == RoundingEvidence()


def test_learning_by_the_servers_clock() -> None:
    """The server's `Date` is what the text was printed by."""
    row = a_row(1, START + 5 * DAY + 15 * MINUTE, "5d 0h")
    assert learn_rounding(RoundingEvidence(), row, at=START, server_at=START - 30 * MINUTE).floor == (row.platform_id,)


def printed(left: timedelta) -> str:
    """What a server prints that cuts off to whole hours."""
    hours = left // HOUR
    if left <= timedelta(0):
        return "expired"
    return "< 1h" if hours < 1 else f"{hours // 24}d {hours % 24}h" if hours >= 24 else f"{hours}h"


def a_history(rng: random.Random) -> tuple[list[list[str]], int]:
    """
    The levels told between the renewals of one random token's life, and how many renewals were noticed.

    Checks are close together around the thresholds, where flapping would be. A level is told as soon as it is
    reached, by evidence or by time alone.
    """
    now, ends_at = START, START + rng.uniform(0.5, 16) * DAY
    belief, noticed, lives = TokenBelief(), 0, [[FINE]]
    for turn in range(14):
        nearest = min(abs(ends_at - now - edge) for edge in (14 * DAY, 7 * DAY, DAY, timedelta(0)))
        now += timedelta(minutes=rng.uniform(1, 40)) if nearest < 2 * HOUR else nearest - rng.uniform(0, 1) * HOUR
        lives[-1].append(level(belief, now=now, policy=POLICY, notified_level=lives[-1][-1], platform="linkedin"))
        told_level = lives[-1][-1]
        if turn and rng.random() < 0.1:
            ends_at = max(ends_at, now) + rng.choice((3, 10, 30, 60)) * DAY + rng.uniform(0, 24) * HOUR
            lives.append([])
        drift, took = timedelta(seconds=rng.uniform(-90, 90)), timedelta(seconds=rng.uniform(0.05, 3))
        life = parse_token_life(printed(ends_at - now - drift))
        server_at = rng.choice((None, (now + drift + took).replace(microsecond=0)))
        belief, change = apply(belief, life, passed=True, sent_at=now, at=now + took, server_at=server_at, policy=POLICY)
        noticed += change is TokenChange.RENEWED
        lives[-1].append(level(belief, now=now + took, policy=POLICY, notified_level=told_level, platform="linkedin"))
    return lives, noticed


@pytest.mark.parametrize("histories", sampled([1_000, 10_000]))
def test_each_threshold_once_between_renewals(histories: int) -> None:
    """Through thousands of random histories levels only rise between renewals, each is told once, and each renewal is noticed once."""
    rng = random.Random("ladder")
    renewals = 0
    for _ in range(histories):
        lives, noticed = a_history(rng)
        assert noticed == len(lives) - 1
        renewals += noticed
        for levels in lives:
            ranks = [LADDER.index(name) for name in levels]
            assert ranks == sorted(ranks), lives
    assert renewals > 0.8 * histories
