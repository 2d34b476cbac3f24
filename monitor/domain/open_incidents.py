"""The incidents that are open, read off the states: what pages and metrics show."""

from monitor.domain import levels, scopes
from monitor.domain.model import FINE, IncidentRef, Scope, Topic
from monitor.domain.policy import Policy
from monitor.domain.scopes import ScopeState
from monitor.domain.snapshot import ConnectionView, IncidentView


def incidents_of(view: ConnectionView, policy: Policy) -> list[IncidentView]:
    """The open incidents of one connection."""
    state, connection = view.state, view.connection
    return [
        IncidentView(
            IncidentRef(topic, str(connection.id), value.number, value.opened_at),
            Scope.CONNECTION,
            connection.id,
            value.level,
            levels.severity_of(topic, value.level, policy, connection.platform),
            state.reason,
            state.detail,
        )
        for topic, value in state.topics.items()
        if value.level != FINE and value.opened_at is not None
    ]


def scope_incidents(state: ScopeState) -> list[IncidentView]:
    """The open incident of one scope, if there is one."""
    topic = state.topic
    if not state.open or topic.opened_at is None:
        return []
    incident = IncidentRef(Topic.SCOPE, state.name, topic.number, topic.opened_at)
    return [IncidentView(incident, state.kind, None, topic.level, scopes.severity(state.kind), state.reason, state.detail)]
