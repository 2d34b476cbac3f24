"""
Rule: connections of one platform that fail together, for the same cause, are one incident.

A failure where there was none makes the platform suspected, and its other connections are looked at (`swept_at`). Then the narrowest
scope that explains the failures opens: the `group` of one user's connections, or the platform. Only connections that fail now count.
While a scope is open it covers the failures with its cause: their notifications are suppressed, and it closes when none is left.
Failures that would open a scope which is open already join its incident, also with another cause: that changes it.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from monitor.domain.connections import Connection
from monitor.domain.copies import replace
from monitor.domain.events import FINE, REPLACED, STALE, Topic
from monitor.domain.policy import ScopePolicy
from monitor.domain.reasons import CREDENTIAL, UPSTREAM, Health, advice_of, meaning
from monitor.domain.replies.checks import Verdict
from monitor.domain.scopes.key import GROUP, PLATFORM, ScopeKey
from monitor.domain.scopes.state import MEMBERS_KEPT, RecoveryWindow, ScopeState, closed, opened
from monitor.domain.states import ConnectionState, PendingCause
from monitor.errors import Reason

AlikeReasons = frozenset[Reason]

# Failures that the first looks found are looked at once more before they are counted: the wait is this many sweeps at most.
_MOST_SWEEPS = 2
# So many sweeps where all fail with texts that nobody knows: a platform that has trouble soon shows one that says so.
_MOST_SWEEPS_OF_UNKNOWN = 4

# An outage is over after so many looks, and as many as it takes to see so many checks of its connections pass.
_FEWEST_LOOKS, _PASSED_CHECKS = 2, 8
# Each time that it seemed to be over, and was not, doubles the looks, this often at most.
_MOST_DOUBLINGS = 2

_COUNTED = 2
_STEADY = 3

_UNKNOWN = frozenset({Reason.VALIDATION_FAILED})


@dataclass(frozen=True, slots=True)
class Member:
    """
    One connection of a platform, as the rule sees it.

    Attributes:
        reason, detail: of the failure that the last evidence shows; None and empty when it passed.
        since: since when it fails so.
        counted: the failure was seen twice.
        steady: its last few checks failed.
        witness: receivers know of it already, and its last check shows trouble of the platform itself: no cause of its own.
    """

    connection: Connection
    looked_at: datetime | None
    reason: Reason | None
    detail: str
    since: datetime | None
    counted: bool
    broken: bool
    notified: bool
    steady: bool
    witness: bool = False

    @property
    def group(self) -> ScopeKey:
        """The group it belongs to."""
        return ScopeKey(GROUP, self.connection.account, self.connection.user_id, self.connection.platform)


def member(connection: Connection, state: ConnectionState) -> Member | None:
    """*connection* as the rule sees it; None when its test says nothing about its platform."""
    if state.health in {Health.UNSUPPORTED, Health.MISSING, Health.MISCONFIGURED}:
        return None
    reason, pending = _failure(state), state.pending
    twice = pending is not None and pending.health is Health.ERROR and pending.count >= _COUNTED
    return Member(
        connection,
        state.last_evidence_at,
        reason,
        state.detail if reason is not None else "",
        _failing_since(state),
        counted=reason is not None and (twice or (state.health is Health.ERROR and _unconfirmed_cause(state) is None)),
        broken=state.health is Health.ERROR,
        notified=is_notified(state),
        steady=state.failures >= _STEADY,
        witness=reason is not None and is_notified(state) and state.reason in UPSTREAM,
    )


def is_notified(state: ConnectionState) -> bool:
    """Whether receivers know of a failure of the connection; that it is stale says nothing of one."""
    return state.topic(Topic.CONNECTION).notified.level not in {FINE, STALE}


def _explained(reason: Reason) -> AlikeReasons:
    """The reasons of failures that an incident with *reason* explains: while a platform has trouble, it also answers with unknown texts."""
    return UPSTREAM | _UNKNOWN if reason in UPSTREAM else reasons_like(reason)


def reasons_like(reason: Reason) -> AlikeReasons:
    """The reasons that can have the same cause as *reason*."""
    return next((reasons for reasons in (UPSTREAM, CREDENTIAL) if reason in reasons), frozenset({reason}))


def reach(policy: ScopePolicy, window: timedelta) -> timedelta:
    """How far apart failures are that can have one cause; *window* is two rounds of checks or more."""
    return max(policy.platform_window, window)


def hides_cause(platform: ScopeState, cause: Reason, state: ConnectionState) -> bool:
    """Whether *platform* has, or is about to have, trouble that may show as the unknown text of a connection whose *cause* is known."""
    has_trouble = platform.suspect_at is not None or (platform.open and platform.reason in UPSTREAM)
    return has_trouble and state.failures > 0 and state.reason in _UNKNOWN and cause not in _UNKNOWN


def covers(scope: ScopeState, one: Member, within: timedelta) -> bool:
    """
    Whether the open incident of *scope* is notified instead of the failure of a connection below it.

    Trouble of the platform covers whatever fails because of it; another cause what failed *within* so long of its incident.
    """
    if not scope.open or scope.reason is None or one.since is None or one.notified:
        return False
    if one.reason is not None and all(one.reason not in _explained(reason) for reason in (scope.reason, *scope.earlier_reasons)):
        return False
    joined_at = scope.changed_at or scope.topic.since
    return scope.reason in UPSTREAM or joined_at is None or one.since <= joined_at + within


def is_sign(before: ConnectionState, after: ConnectionState) -> bool:
    """Whether a check that led from *before* to *after* shows a failure, or another cause of one, for the first time."""
    reason, previous = _failure(after), _failure(before)
    if reason is None or is_notified(after):
        return False
    frozen = before.pending is None and before.health is not Health.ERROR
    return previous is None or frozen or previous not in reasons_like(reason)


def suspected(state: ScopeState, sign: Verdict, now: datetime, policy: ScopePolicy, window: timedelta) -> ScopeState:
    """Return the state of a platform after the first *sign* of a failure: its other connections are looked at, and its end is in doubt."""
    state = _noted(_relapsed(state), sign, now)
    if state.suspect_at is not None:
        return state
    return replace(_swept(state, now, policy, window), suspect_at=now)


def explained(state: ScopeState, after: ConnectionState, verdict: Verdict, now: datetime) -> ScopeState:
    """Return the suspected *state* of a platform after a check of a connection that failed with a text that nobody knows, until then."""
    return _noted(state, verdict, now) if state.suspect_at is not None and _failure(after) in _UNKNOWN else state


def _noted(state: ScopeState, verdict: Verdict, now: datetime) -> ScopeState:
    """Return *state* with what the platform has shown, if that is trouble of its own."""
    if verdict.reason not in UPSTREAM or state.open:
        return state
    return replace(state, reason=verdict.reason, detail=verdict.detail, last_bad_at=now)


def _relapsed(state: ScopeState) -> ScopeState:
    """Return *state* after a failure: if it was recovering, it is no longer."""
    return replace(state, recovery=None, relapses=state.relapses + 1) if state.recovery is not None else state


def _swept(state: ScopeState, now: datetime, policy: ScopePolicy, window: timedelta) -> ScopeState:
    """Return *state* with the looks at its connections beginning *now*, unless the last ones are too recent."""
    rested = state.swept_at is None or now - state.swept_at >= min(policy.sweep_pause, window / 6)
    return replace(state, swept_at=now) if rested else state


def longest_hold(reason: Reason | None, policy: ScopePolicy) -> timedelta:
    """How long the notification of a failure with *reason* waits for the looks at one suspicion."""
    return (_MOST_SWEEPS_OF_UNKNOWN if reason in _UNKNOWN else _MOST_SWEEPS) * policy.sweep


def hold_until(state: ScopeState, policy: ScopePolicy) -> datetime | None:
    """Return until when notifications of single connections wait at most while the platform is suspected; None when it is not."""
    if state.suspect_at is None:
        return None
    # After a pause they are looked at anew.
    return max(state.suspect_at, state.swept_at or state.suspect_at) + _MOST_SWEEPS_OF_UNKNOWN * policy.sweep


@dataclass(frozen=True, slots=True)
class Sight:
    """
    What the rule looks at.

    Attributes:
        members: the connections of the platform; while it is only open and not recovering, those that fail.
        window: how far back checks count: two rounds or more.
        looking: the platform is suspected; until that is decided no incident there is over.
        silenced: whether a silence suppresses the failure of a connection.
    """

    members: Sequence[Member]
    now: datetime
    policy: ScopePolicy
    window: timedelta
    watching_since: datetime
    looking: bool = False
    silenced: Callable[[Connection], bool] = lambda _: False

    @property
    def within(self) -> timedelta:
        """How far apart failures are that can have one cause."""
        return reach(self.policy, self.window)


def advance_platform(platform: ScopeState, scope: Callable[[ScopeKey], ScopeState], sight: Sight) -> dict[ScopeKey, ScopeState]:
    """Return the state of a platform, and of the groups on it that change, after the passing of time; *scope* gives those of groups."""
    platform = advance_open(platform, sight)
    if platform.suspect_at is None:
        return {platform.key: platform}
    failing = [_named(one, platform) for one in sight.members if _is_new(one, platform, scope, sight)]
    if _still_looking(platform, failing, sight):
        return {platform.key: _with_another_look(platform, failing, sight)}
    platform = replace(platform, suspect_at=None)
    decided: dict[ScopeKey, ScopeState] = {platform.key: platform}
    for reasons, alike in _by_reasons(failing).items():
        for narrowest, members in _narrowest(platform, reasons, alike, sight):
            # Trouble that clears by itself replaces no cause that a person must repair.
            key = platform.key if reasons is UPSTREAM and scope(narrowest).open else narrowest
            state = platform if key == platform.key else scope(key)
            if decided.get(key, state) is not state or (state.open and reasons is UPSTREAM):
                continue
            own = [one for one in _witnesses(platform, reasons, sight) if key in {platform.key, one.group}]
            replaced = _replaced(scope, sight) if key == platform.key and reasons is UPSTREAM else {}
            joining = [one for one in sight.members if one.group in replaced and covers(replaced[one.group], one, sight.within)]
            together = [*members, *joining]
            decided[key] = _joined(state, reasons, members, sight) if state.open else _with_incident(state, together, own, sight.now)
            decided |= {group: closed(old, sight.now, REPLACED) for group, old in replaced.items()}
    return decided


def _replaced(scope: Callable[[ScopeKey], ScopeState], sight: Sight) -> Mapping[ScopeKey, ScopeState]:
    """The open incidents of groups that go on in that of their platform: trouble of its own."""
    groups = {one.group: scope(one.group) for one in sight.members}
    return {key: group for key, group in groups.items() if group.open and group.reason in UPSTREAM}


def advance_open(state: ScopeState, sight: Sight) -> ScopeState:
    """Return the state of a platform or group after the passing of time: its incident closes when nothing that it covers fails."""
    if not state.open:
        return state
    if not state.members:
        # An incident of an earlier version does not say what it covers.
        failing = [one for one in sight.members if one.reason is not None and not one.notified]
        return _with_facts(state, failing, sight.now) if failing else _closed(state, sight)
    left = [one for one in sight.members if state.key in {one.group, _platform_of(one)} and covers(state, one, sight.within)]
    if not left and state.reason not in UPSTREAM:
        return state if sight.looking else _closed(state, sight)
    if state.affected < len(left):
        state = replace(state, affected=len(left))
    ids = tuple(one.connection.id for one in left[:MEMBERS_KEPT]) if len(left) < state.affected else ()
    if ids != state.left:
        state = replace(state, left=ids)
    passing = len(left) < state.affected or any(one.reason is None for one in left)
    return _recovering(state, left, sight) if passing else replace(state, recovery=None) if state.recovery is not None else state


def _recovering(state: ScopeState, left: Sequence[Member], sight: Sight) -> ScopeState:
    """
    Return the open *state*, some of whose connections pass: all are looked at, and trouble that clears by itself is over after some looks.

    A platform that fails some requests only would often seem to work at one look, and the fewer connections it has, at several.
    """
    now, policy, recovery = sight.now, sight.policy, state.recovery
    if recovery is None:
        swept = _swept(state, now, policy, sight.window)
        return replace(swept, recovery=RecoveryWindow(now, 0, 0)) if swept is not state else state
    below = [one for one in sight.members if state.key in {one.group, _platform_of(one)} and not one.notified]
    looked = sum(one.looked_at is not None and one.looked_at >= recovery.since for one in below)
    enough = looked == len(below) or (looked > 0 and now - recovery.since >= _MOST_SWEEPS * policy.sweep)
    if state.reason not in UPSTREAM or sight.looking or not enough:
        return state
    failing = [one for one in left if one.reason is not None]
    unnamed = all(one.reason not in UPSTREAM for one in failing)
    if len(failing) > (policy.platform_ratio if unnamed else policy.close_ratio) * state.affected or any(not one.steady for one in failing):
        return _relapsed(state)
    if len(left) > len(failing):
        return state
    if recovery.good + 1 >= _looks(state):
        return _closed(state, sight)
    again = now - recovery.since >= policy.close_after
    return replace(state, swept_at=now, recovery=RecoveryWindow(now, recovery.good + 1, 0)) if again else state


def _looks(state: ScopeState) -> int:
    """At how many looks in a row nothing may fail before the outage of a platform is over."""
    return max(_FEWEST_LOOKS, ceil(_PASSED_CHECKS / max(1, state.affected))) << min(state.relapses, _MOST_DOUBLINGS)


def _closed(state: ScopeState, sight: Sight) -> ScopeState:
    """Return *state* with its incident closed, and the connections below it that fail all the same, since when and for whatever cause."""
    below = (one for one in sight.members if state.key in {one.group, _platform_of(one)})
    left = tuple(one.connection.id for one in below if one.reason is not None)[:MEMBERS_KEPT]
    affected = max(state.affected, len({*state.members, *left}))
    return replace(closed(state, sight.now), left=left, affected=affected)


def to_look_at(state: ScopeState, members: Iterable[Member], limit: int) -> list[int]:
    """The connections to check now that the scope is looked at: at most *limit*, failing ones first, then the oldest evidence."""
    since = state.swept_at
    waiting = [one for one in members if since is not None and (one.looked_at is None or one.looked_at < since)]
    if state.suspect_at is None and (state.recovery is None or state.reason not in UPSTREAM):
        waiting = [one for one in waiting if one.reason is not None or one.broken]
    waiting.sort(key=lambda one: (one.reason is None, one.looked_at.timestamp() if one.looked_at is not None else 0.0))
    return [one.connection.id for one in waiting[:limit]]


def _failure(state: ConnectionState) -> Reason | None:
    """The reason of the failure that the last evidence shows; None when it shows none, or one that is not the platform's to report."""
    reason = state.cause if state.health is Health.ERROR and _unconfirmed_cause(state) is None else state.reason
    return reason if state.failures and reason is not None and meaning(reason).health is Health.ERROR else None


def _unconfirmed_cause(state: ConnectionState) -> PendingCause | None:
    """The other cause of a failure that the last evidence shows, not confirmed yet."""
    pending, reason = state.pending_cause, state.reason
    return pending if pending is not None and reason is not None and advice_of(reason) is pending.advice else None


def _failing_since(state: ConnectionState) -> datetime | None:
    if state.health is not Health.ERROR:
        return state.first_failed_at
    unconfirmed = _unconfirmed_cause(state)
    if unconfirmed is not None:
        return unconfirmed.first_at
    since = (state.failure.cause_since if state.failure is not None else None) or state.since
    # Trouble of the platform that comes and goes is as old as it lasts without a passed check.
    passed_at = state.last_passed_at if state.cause in UPSTREAM else None
    return max(since, passed_at) if since is not None and passed_at is not None else since


def _platform_of(one: Member) -> ScopeKey:
    return ScopeKey(PLATFORM, one.connection.platform)


def _is_new(one: Member, platform: ScopeState, scope: Callable[[ScopeKey], ScopeState], sight: Sight) -> bool:
    """Whether the connection fails now, since lately, and receivers do not know it yet in any way."""
    suspect_at = platform.suspect_at or sight.now
    if one.reason is None or one.notified or one.since is None or one.since <= suspect_at - sight.within:
        return False
    return _is_fresh(one, platform) and not any(covers(wider, one, sight.within) for wider in (platform, scope(one.group)))


def _is_fresh(one: Member, platform: ScopeState) -> bool:
    return one.looked_at is not None and platform.swept_at is not None and one.looked_at >= platform.swept_at


def _still_looking(platform: ScopeState, failing: Sequence[Member], sight: Sight) -> bool:
    if platform.suspect_at is None:
        return False
    looked_for = sight.now - max(platform.suspect_at, sight.watching_since)
    alike = [len(members) + len(_witnesses(platform, reasons, sight)) for reasons, members in _by_reasons(failing).items()]
    together = max(alike, default=0) >= sight.policy.platform_count
    if together and all(one.reason in _UNKNOWN for one in failing):
        return looked_for < _MOST_SWEEPS_OF_UNKNOWN * sight.policy.sweep
    if together and any(not one.counted for one in failing):
        return looked_for < _MOST_SWEEPS * sight.policy.sweep
    waiting = any(not _is_fresh(one, platform) for one in sight.members)
    return waiting and looked_for < sight.policy.sweep


def _with_another_look(platform: ScopeState, failing: Sequence[Member], sight: Sight) -> ScopeState:
    """Return the suspected *platform*, whose connections are looked at once more while all of them fail with texts that nobody knows."""
    due = (platform.suspect_at or sight.now) + _MOST_SWEEPS * sight.policy.sweep
    unknown = sight.now >= due and (platform.swept_at is None or platform.swept_at < due)
    return replace(platform, swept_at=sight.now) if unknown and all(one.reason in _UNKNOWN for one in failing) else platform


def _named(one: Member, platform: ScopeState) -> Member:
    """*one*, which fails with what its platform has shown since it is suspected, where it shows a text that nobody knows."""
    seen_at = platform.last_bad_at
    if one.reason not in _UNKNOWN or platform.suspect_at is None or seen_at is None or seen_at < platform.suspect_at:
        return one
    return replace(one, reason=platform.reason, detail=platform.detail)


def _by_reasons(failing: Iterable[Member]) -> Mapping[AlikeReasons, list[Member]]:
    by_reasons: dict[AlikeReasons, list[Member]] = defaultdict(list)
    for one in failing:
        if one.reason is not None:
            by_reasons[reasons_like(one.reason)].append(one)
    if UPSTREAM in by_reasons:
        by_reasons[UPSTREAM] += by_reasons.pop(_UNKNOWN, [])
    return by_reasons


def _witnesses(platform: ScopeState, reasons: AlikeReasons, sight: Sight) -> list[Member]:
    """Connections that receivers know as broken, and that fail with trouble of the platform now, if that is what *reasons* are."""
    return [one for one in sight.members if reasons is UPSTREAM and one.witness and _is_fresh(one, platform)]


def _narrowest(
    platform: ScopeState, reasons: AlikeReasons, failing: Sequence[Member], sight: Sight
) -> Iterable[tuple[ScopeKey, list[Member]]]:
    """The scopes that open because of *failing* connections with these *reasons*, and with which of them."""
    groups: dict[ScopeKey, list[Member]] = defaultdict(list)
    for one in failing:
        groups[one.group].append(one)
    fresh = [one for one in sight.members if _is_fresh(one, platform) and not one.notified]
    others_pass = any(one.reason is None and one.group not in groups for one in fresh)
    witnesses = _witnesses(platform, reasons, sight)
    wide = len({*groups, *(one.group for one in witnesses)}) > 1 or (reasons is UPSTREAM and not others_pass)
    if platform.open:
        ended = not any(covers(platform, one, sight.within) for one in sight.members)
        wide = (wide and platform.reason in reasons) or (ended and all(one.reason is not None for one in fresh))
    # Trouble of the platform has one cause, however few of many accounts have it.
    few = reasons is UPSTREAM and sum(one.counted for one in failing) >= sight.policy.group_count
    if wide and (few or _together(failing, fresh, witnesses, sight.policy)):
        return [(platform.key, _members(reasons, failing, sight))]
    opening = []
    for key, members in groups.items():
        own = [one for one in fresh if one.group == key]
        many = sum(one.counted for one in members) >= max(sight.policy.group_count, sight.policy.platform_count, 1)
        if many or _together(members, own, [one for one in witnesses if one.group == key], sight.policy):
            opening.append((key, _members(reasons, members, sight)))
    return [(key, members) for key, members in opening if members]


def _together(failing: Sequence[Member], fresh: Sequence[Member], witnesses: Sequence[Member], policy: ScopePolicy) -> bool:
    """Whether enough of the connections that were looked at fail, not counting those that fail for another cause."""
    counted, alike = (number + len(witnesses) for number in (sum(one.counted for one in failing), len(failing)))
    base = alike + sum(one.reason is None for one in fresh)
    return counted >= max(policy.platform_count, 1) and alike >= policy.platform_ratio * base


def _members(reasons: AlikeReasons, failing: Sequence[Member], sight: Sight) -> list[Member]:
    """Those of the *failing* connections that the incident begins with; none when all are silenced."""
    if all(sight.silenced(one.connection) for one in failing):
        return []
    return [one for one in failing if one.counted or reasons is UPSTREAM]


def _with_incident(state: ScopeState, failing: Sequence[Member], witnesses: Sequence[Member], now: datetime) -> ScopeState:
    """Return *state* with an incident of the *failing* connections, and of *witnesses*, open since the first of them failed."""
    since = min((one.since for one in failing if one.since is not None), default=now)
    opening = opened(replace(_with_facts(state, failing, now), suspect_at=since), now, len(failing))
    members = (*opening.members, *(one.connection.id for one in witnesses))[:MEMBERS_KEPT]
    return replace(opening, suspect_at=None, members=members)


def _joined(state: ScopeState, reasons: AlikeReasons, failing: Sequence[Member], sight: Sight) -> ScopeState:
    """Return the open *state* with more connections that fail with *reasons*, which may be others than it had."""
    covered = [one for one in sight.members if state.key in {one.group, _platform_of(one)} and covers(state, one, sight.within)]
    joined = replace(_with_facts(state, [*(one for one in covered if one.reason in reasons), *failing], sight.now), changed_at=sight.now)
    if state.reason is None or state.reason in reasons:
        return joined
    since = min((one.since for one in failing if one.since is not None), default=sight.now)
    return replace(joined, cause_since=since, earlier_reasons=(*state.earlier_reasons, state.reason))


def _with_facts(state: ScopeState, failing: Sequence[Member], now: datetime) -> ScopeState:
    """Return *state* with the prevailing reason and text of the *failing* connections."""
    named = [one for one in failing if one.reason in UPSTREAM] or failing
    (reason, detail), _ = Counter((one.reason, one.detail) for one in named).most_common(1)[0]
    members = tuple(one.connection.id for one in failing[:MEMBERS_KEPT])
    return replace(state, reason=reason, detail=detail, last_bad_at=now, members=members, affected=len(failing))
