"""What each route answers; the parts are those of `monitor.schemas.shapes`."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from monitor.domain.preflight import Readiness
from monitor.domain.status import DisplayStatus
from monitor.schemas import shapes
from monitor.schemas.shapes import Moment

NextCursor = Annotated[str | None, Field(description="pass it as `cursor` for the next page; null: this is the last")]


class ApiDocument(TypedDict):
    """What every document has."""

    version: Annotated[str, Field(description="grows when something is removed or changes its meaning; new keys may come at any time")]
    at: Annotated[Moment, Field(description="when it was answered")]


class Summary(ApiDocument):
    """How it all stands."""

    takenAt: Annotated[Moment, Field(description="when the picture was taken, a second ago at most")]
    summary: Annotated[str, Field(description="the sentence at the top of the status page; the wording may change")]
    total: Annotated[int, Field(description="how many connections are watched")]
    counts: Annotated[dict[str, int], Field(description="health to how many connections")]
    displayStatuses: Annotated[
        dict[str, int], Field(description="the same, but those that work and have an incident counted as `attention`")
    ]
    apiUp: Annotated[bool | None, Field(description="whether the API answers; null: not known yet")]
    storageUp: Annotated[bool, Field(description="whether the database takes writes")]
    accounts: Annotated[dict[str, bool | None], Field(description="account to whether the API accepts its key; null: not known yet")]
    openIncidents: Annotated[dict[str, int], Field(description="severity to how many")]
    scopeIncidents: list[shapes.ScopeIncident]
    receivers: dict[str, shapes.Receiver]


class ApiConnection(shapes.ConnectionFacts):
    """One connection and what is known of it."""

    displayStatus: Annotated[  # noqa: N815 - JSON has it so
        DisplayStatus, Field(description="its health, or `attention` while it works but has an incident")
    ]
    notes: Annotated[list[str], Field(description="what the status page says of it: what is wrong and what to do; the wording may change")]


class Connections(ApiDocument):
    """A page of connections."""

    takenAt: Annotated[Moment, Field(description="when the picture was taken, a second ago at most")]
    total: Annotated[int, Field(description="how many there are on all pages")]
    connections: list[ApiConnection]
    nextCursor: NextCursor


class OneConnection(ApiDocument, shapes.Details):
    """One connection, and why it is believed to be as it is."""

    connection: ApiConnection
    retired: Annotated[bool, Field(description="it is no longer watched; this is how it was last known")]
    uptime: Annotated[
        shapes.UptimeFacts | None, Field(description="of the last 90 days, today included; null: the database can't be read now")
    ]


class History(ApiDocument):
    """A page of the checks of one connection, the newest first."""

    connection: shapes.Identity
    checks: list[shapes.Check]
    nextCursor: NextCursor


class UptimeHistory(ApiDocument):
    """How much of the time a connection worked, day by day, the oldest first."""

    connection: shapes.Identity
    total: Annotated[shapes.UptimeFacts, Field(description="of all these days together")]
    days: list[shapes.DayUptimeFacts]


class Incidents(ApiDocument):
    """A page of incidents, the newest first."""

    incidents: list[shapes.Incident]
    nextCursor: NextCursor


class Deliveries(ApiDocument):
    """A page of deliveries, the newest first."""

    deliveries: list[shapes.Delivery]
    nextCursor: NextCursor


class OneDelivery(ApiDocument):
    """One delivery with its attempts, the oldest first."""

    delivery: shapes.Delivery
    attempts: list[shapes.Attempt]


class Preflights(ApiDocument):
    """Whether connections can be relied on for a post."""

    answer: Annotated[Readiness, Field(description="`ready`: all are; `not_ready`: one is not; else `unknown`")]
    connections: list[shapes.Preflight]
