"""What the nodes of a cluster tell each other of causes wider than an account: a `Finding` to `global`, a `Board` to all nodes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from monitor.domain.scopes.state import ScopeState
from monitor.domain.states import ConnectionState
from monitor.errors import Reason


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One thing that a node learnt.

    Attributes:
        connection_id: whose check or state it is; 0 for a list of the account.
        account, user_id: whose list it is, or whose connections changed.
        at: when the answer came; None without one.
        reason, detail: the verdict on the answer.
        scope: the state of a scope of the account, when its row changed.
        sign: the check shows a failure of the connection for the first time.
        relisted: other connections of the account are watched now.
    """

    connection_id: int = 0
    account: str = ""
    user_id: str = ""
    at: datetime | None = None
    reason: Reason | None = None
    detail: str = ""
    state: ConnectionState | None = None
    scope: ScopeState | None = None
    sign: bool = False
    relisted: bool = False


@dataclass(frozen=True, slots=True)
class Board:
    """
    What the node that tends `global` publishes to all others, once a second.

    Attributes:
        number: another one every time.
        applied: the member to the number of its last findings that was applied.
        served: the accounts that were answered last, each with when.
        counts: how many connections are below the API and each platform.
        scopes: the wide scopes that are not quiet; of all others the rows are up to date.
    """

    number: int = 0
    applied: Mapping[str, int] = field(default_factory=dict)
    served: Mapping[str, datetime] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    scopes: tuple[ScopeState, ...] = ()
