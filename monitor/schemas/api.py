"""What each API route answers."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from monitor.domain.projections.preflight import Readiness
from monitor.domain.views.status import DisplayStatus, OverallState
from monitor.schemas import commands, shapes
from monitor.schemas.shapes import Moment

NextCursor = Annotated[str | None, Field(description="pass it as `cursor` for the next page; null: this is the last")]


class ApiDocument(TypedDict):
    """What every document has."""

    version: Annotated[
        str, Field(description="increases when something is removed or changes its meaning; new keys may be added at any time")
    ]
    at: Annotated[Moment, Field(description="when it was answered")]


class Summary(ApiDocument):
    """The overall state."""

    takenAt: Annotated[Moment, Field(description="when the snapshot was taken, a second ago at most")]
    state: Annotated[
        OverallState,
        Field(
            description="the overall state, the first of these that holds; `suspected`: the API or an account seems to fail, which is not"
            " confirmed yet"
        ),
    ]
    summary: Annotated[str, Field(description="the sentence at the top of the status page; the wording may change")]
    total: Annotated[int, Field(description="the number of watched connections")]
    counts: Annotated[dict[str, int], Field(description="health to how many connections")]
    displayStatuses: Annotated[
        dict[str, int],
        Field(
            description="what connections are shown as to how many: those that work and have an incident count as `attention` or `expiring`,"
            " those that cannot be checked now as `unknown`"
        ),
    ]
    apiUp: Annotated[bool | None, Field(description="whether the API answers; null: unknown")]
    storageUp: Annotated[bool, Field(description="whether the database takes writes")]
    accounts: Annotated[dict[str, bool | None], Field(description="account to whether the API accepts its key; null: unknown")]
    openIncidents: Annotated[dict[str, int], Field(description="severity to how many")]
    scopeIncidents: list[shapes.ScopeIncident]
    suspectedScopes: Annotated[list[shapes.SuspectedScopeFacts], Field(description="scopes that seem to fail, without an incident yet")]
    silences: Annotated[list[shapes.SilenceSummary], Field(description="silences of operators that are not over")]
    receivers: dict[str, shapes.Receiver]
    heartbeat: Annotated[shapes.HeartbeatFacts | None, Field(description="null: none is configured, or none was due yet")]


class ApiConnection(shapes.ConnectionFacts):
    """One connection and what is known of it."""

    displayStatus: Annotated[  # noqa: N815 - JSON has it so
        DisplayStatus,
        Field(
            description="its health; `attention` while it works and has an incident, `expiring` when that is a token that ends soon, `unknown`"
            " also while a scope incident keeps it from being checked"
        ),
    ]
    statusText: Annotated[str, Field(description="the same for people: `Working`, `Was working 3m ago`; the wording may change")]  # noqa: N815
    ackedBy: Annotated[  # noqa: N815
        shapes.AckedBy | None, Field(description="who acknowledged all of its open incidents; null: nobody")
    ]
    silencedUntil: Annotated[  # noqa: N815
        Moment | None, Field(description="until when its notifications are silenced; null: they are not")
    ]
    escalatesAt: Annotated[  # noqa: N815
        Moment | None, Field(description="when one of its open incidents is escalated next unless it is acknowledged; null: never")
    ]
    notes: Annotated[list[str], Field(description="what is wrong and what to do, as on the status page; the wording may change")]


class Connections(ApiDocument):
    """A page of connections."""

    takenAt: Annotated[Moment, Field(description="when the snapshot was taken, a second ago at most")]
    total: Annotated[int, Field(description="the number of connections on all pages")]
    connections: list[ApiConnection]
    nextCursor: NextCursor


class OneConnection(ApiDocument, shapes.Details):
    """One connection and the evidence for its state."""

    connection: ApiConnection
    retired: Annotated[bool, Field(description="it is no longer watched; this is its last known state")]
    uptime: Annotated[
        shapes.UptimeFacts | None, Field(description="of the last 90 days, today included; null: the database can't be read now")
    ]


class Explanation(ApiDocument, shapes.Details):
    """Why the monitor believes what it believes of a connection: the document of `explain --json`."""

    connection: shapes.ConnectionFacts
    retired: Annotated[bool, Field(description="it is no longer watched")]
    notifications: Annotated[list[commands.ExplainedNotification], Field(description="the newest first")]
    explanation: list[commands.Paragraph]


class ForecastAnswer(ApiDocument):
    """What is notified until a moment if nobody does anything and everything that works goes on working."""

    until: Moment
    total: Annotated[int, Field(description="how many notifications")]
    notifications: Annotated[list[shapes.ForecastNotification], Field(description="the first of them, in order of time")]


class History(ApiDocument):
    """A page of the checks of one connection, newest first."""

    connection: shapes.Identity
    checks: list[shapes.Check]
    nextCursor: NextCursor


class UptimeHistory(ApiDocument):
    """The uptime of one connection, day by day, oldest first."""

    connection: shapes.Identity
    total: Annotated[shapes.UptimeFacts, Field(description="of all these days")]
    days: list[shapes.DayUptimeFacts]


class Incidents(ApiDocument):
    """A page of incidents, newest first."""

    incidents: list[shapes.HandledIncident]
    nextCursor: NextCursor


class Expiries(ApiDocument):
    """The tokens that end, the first to end first."""

    expiries: list[shapes.Expiry]


class RouteSummary(TypedDict):
    """One route."""

    method: str
    path: Annotated[str, Field(description="`{name}` stands for a parameter")]
    summary: str


class Routes(ApiDocument):
    """What there is."""

    description: Annotated[str, Field(description="where the OpenAPI description is")]
    reference: Annotated[str, Field(description="where the same is as a page")]
    routes: list[RouteSummary]


class CheckRequested(ApiDocument):
    """A connection that is tested now, and every few seconds for two minutes."""

    connection: shapes.Identity
    author: str


class PermissionsAccepted(ApiDocument):
    """Lost permissions that are no longer required."""

    connection: shapes.Identity
    accepted: Annotated[list[str], Field(description="what was missing and is no longer required")]
    required: Annotated[list[str], Field(description="what is still missing, because `require_permissions` names it")]
    author: str


class SilenceAdded(ApiDocument):
    """A new silence."""

    silence: shapes.SilenceSummary


class SilenceEnded(ApiDocument):
    """A silence that was ended."""

    expired: Annotated[int, Field(description="its number")]
    author: str


class Acknowledged(ApiDocument):
    """An incident that was acknowledged."""

    incidentKey: str
    ackedBy: shapes.AckedBy | None


class Deliveries(ApiDocument):
    """A page of deliveries, newest first."""

    deliveries: list[shapes.Delivery]
    nextCursor: NextCursor


class OneDelivery(ApiDocument):
    """One delivery with its attempts, oldest first."""

    delivery: shapes.Delivery
    attempts: list[shapes.Attempt]


class Preflights(ApiDocument):
    """Whether connections can be relied on for a post."""

    answer: Annotated[Readiness, Field(description="`ready`: all are; `not_ready`: one is not; else `unknown`")]
    connections: list[shapes.Preflight]
