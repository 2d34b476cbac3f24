"""What PostPost answers in a world, as the documents of the simulator, read by the real parsers."""

import json
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from monitor.clock import SystemClock
from monitor.domain.replies.checks import Reply
from monitor.domain.replies.listings import Listing
from monitor.errors import ApiError, Reason
from monitor.postpost.errors import refusal
from monitor.postpost.responses import parse_listing, parse_reply
from monitor.simulator.clock import ShiftedClock
from monitor.simulator.platforms import Generation
from monitor.simulator.responses import list_document, verdict_document
from monitor.simulator.state import SimulatedApi, SimulatedConnection
from tests.world.truth import DAY, SERVICE, Kind, Member, Occurrence, World

BEGIN = datetime(2030, 1, 1, tzinfo=UTC)
"""The true date at a world's beginning."""

_TIMEOUT_SECONDS = 30.0

# What is answered with HTTP: status and message.
_ANSWERED: Mapping[Reason, tuple[int, str]] = {
    Reason.API_FAILED: (500, "Internal server error"),
    Reason.PROXY_ANSWERED: (502, ""),
    Reason.API_UNAUTHORIZED: (401, "Invalid API key"),
    Reason.API_THROTTLED: (429, "Too many requests"),
    Reason.USER_NOT_MANAGED: (403, "User is not managed by key owner"),
}
_REFUSED: Mapping[int, str] = {402: "Payment required", 403: "Forbidden", 404: "Connection not found", 500: "Failed to test connection"}


class TrueClock(SystemClock):
    """The clock that is never set."""

    def __init__(self) -> None:
        self.elapsed = 0.0

    def now(self) -> datetime:
        """The true date."""
        return moment(self.elapsed)

    def monotonic(self) -> float:
        """Seconds since the beginning."""
        return self.elapsed

    def boottime(self) -> float:
        """Seconds since the beginning."""
        return self.elapsed


def moment(elapsed: float) -> datetime:
    """The true date so many seconds after the beginning."""
    return BEGIN + timedelta(seconds=elapsed)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: what it says, how long it takes, its HTTP status and the wait that it asks for."""

    says: Reply | Listing | ApiError
    seconds: float
    status: int | None = 200
    wait_seconds: float | None = None


class WorldApi:
    """The API of a world at the moment of its clock."""

    def __init__(self, world: World, clock: TrueClock) -> None:
        self.world = world
        self.clock = clock
        self._random = Random(f"api/{world.seed}")
        self._simulated = SimulatedApi(ShiftedClock(clock))
        self._simulated.generation = Generation(world.generation)
        self._services = tuple(world.of(*SERVICE))
        self._connections = {number: self._connection(member) for number, member in world.members.items()}

    def _connection(self, member: Member) -> SimulatedConnection:
        name = f"{member.platform} {member.number}"
        connection = SimulatedConnection(member.platform_id, self._simulated.clock, username=name, display_name=name, renews=False)
        connection.last_post_at = moment(-0.5 * DAY)
        return connection

    def test(self, number: int) -> Answer:
        """The answer to a test of one connection, now."""
        member = self.world.members[number]
        refused = self._refused(member.account, member.user_id)
        if refused is not None:
            return refused
        connection = self._current(number)
        seconds = 0.15 + self._random.expovariate(4.0)
        silent = self.world.doing(number, self.clock.elapsed, Kind.SILENT)
        if silent is not None or not connection.known:
            status = silent.status if silent is not None else 404
            return self._http(status, _REFUSED[status], seconds, with_user=bool(member.user_id))
        body = json.dumps(verdict_document(self._simulated, connection)).encode()
        return Answer(parse_reply(body, member.platform_id), seconds)

    def listing(self, account: str, user_id: str) -> Answer:
        """The list of an account's own connections, or of one of its managed users, now."""
        refused = self._refused(account, user_id, about_connection=False)
        if refused is not None:
            return refused
        own = [self._current(each.number) for each in self.world.members.values() if (each.account, each.user_id) == (account, user_id)]
        short = next((each for each in self.world.of(Kind.SHORT_LIST) if each.holds(self.clock.elapsed) and each.where == account), None)
        shown = own[: len(own) // 4] if short is not None else own
        document = list_document(self._simulated, {each.platform_id: each for each in shown})
        return Answer(parse_listing(json.dumps(document).encode()), 0.4)

    def _refused(self, account: str, user_id: str, *, about_connection: bool = True) -> Answer | None:
        for each in self._services:
            if each.holds(self.clock.elapsed) and each.where in ("", account) and each.user in ("", user_id):
                return self._refusal(each, with_user=bool(user_id), about_connection=about_connection)
        return None

    def _refusal(self, outage: Occurrence, *, with_user: bool, about_connection: bool) -> Answer:
        reason = outage.reason or Reason.API_FAILED
        if reason not in _ANSWERED:
            seconds = _TIMEOUT_SECONDS if reason is Reason.API_TIMEOUT else 0.2
            return Answer(ApiError(reason, str(reason).replace("_", " ")), seconds, None)
        status, message = _ANSWERED[reason]
        wait = outage.amount if outage.kind is Kind.THROTTLE else None
        return self._http(status, message, 0.2, with_user=with_user, about_connection=about_connection, wait=wait)

    def _http(
        self, status: int, message: str, seconds: float, *, with_user: bool, about_connection: bool = True, wait: float | None = None
    ) -> Answer:
        body = json.dumps({"error": message}).encode() if message else b"<html><h1>Bad gateway</h1></html>"
        headers = {} if wait is None else {"retry-after": str(int(wait))}
        now = self.clock.now()
        error = refusal(status, headers, body, now=now, with_user=with_user, about_connection=about_connection)
        return Answer(error, seconds, status, None if error.retry_after is None else error.retry_after.total_seconds())

    def _current(self, number: int) -> SimulatedConnection:
        """The simulated connection as it is now."""
        now, world = self.clock.elapsed, self.world
        connection, member = self._connections[number], world.members[number]
        shown = world.shown(number, now)
        connection.dead = shown.text if shown is not None else None
        connection.ends_at = next((moment(ends) for since, ends in reversed(member.lives) if since <= now), None)
        connection.permissions = None
        for each in world.about(number):
            if each.kind is Kind.VANISHED and each.holds(now):
                connection.vanish()
            elif each.kind is Kind.PERMISSIONS and each.holds(now) and connection.traits is not None:
                connection.permissions = connection.traits.scopes[:-1]
        self._publish(connection, member, now)
        return connection

    def _publish(self, connection: SimulatedConnection, member: Member, now: float) -> None:
        """Bring its last post and its last posting error up to date."""
        for at in reversed(member.posts[: bisect_right(member.posts, now)]):
            failed = self.posting_error(member.number, at)
            if failed is None:
                connection.last_post_at = moment(at)
                break
            if connection.last_error is None or connection.last_error[1] < moment(at):
                connection.last_error = (failed, moment(at))
        for each in self.world.about(member.number):
            # The post that fails for a reason of its own, and the next one, which is published.
            if each.kind is Kind.POSTING and each.begins <= now:
                if connection.last_error is None or connection.last_error[1] < moment(each.begins):
                    connection.last_error = (each.text, moment(each.begins))
                if each.ends <= now and (connection.last_post_at is None or connection.last_post_at < moment(each.ends)):
                    connection.last_post_at = moment(each.ends)

    def posting_error(self, number: int, at: float) -> str | None:
        """The error of a post at that moment; None when it is published."""
        for each in self.world.about(number):
            spell = each.spell(at)
            if spell is not None and each.kind not in (Kind.LIE, Kind.BLIP):
                return spell.text
            if each.kind is Kind.VANISHED and each.holds(at):
                return "Connection not found"
            if each.kind is Kind.POSTING and each.holds(at):
                return each.text
        return None
