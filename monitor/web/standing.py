"""How much a connection asks for attention, so that the worst comes first."""

from collections.abc import Sequence
from enum import StrEnum

from monitor.domain import expiry, levels
from monitor.domain.model import Health, Severity, Topic
from monitor.domain.snapshot import ConnectionView, IncidentView


class Tone(StrEnum):
    """How much a thing asks for attention; each has a colour, and never only a colour."""

    BAD = "bad"
    WARN = "warn"
    IDLE = "idle"
    GOOD = "good"


TONES = {Severity.CRITICAL: Tone.BAD, Severity.WARNING: Tone.WARN, Severity.INFO: Tone.IDLE}


class Standing(StrEnum):
    """Where a connection stands, worst first: its health, or `attention` while it works but has an incident."""

    ERROR = "error"
    MISSING = "missing"
    MISCONFIGURED = "misconfigured"
    ATTENTION = "attention"
    UNKNOWN = "unknown"
    OK = "ok"
    UNSUPPORTED = "unsupported"


LABELS = {
    Standing.ERROR: "Broken",
    Standing.MISSING: "Missing",
    Standing.MISCONFIGURED: "Misconfigured",
    Standing.ATTENTION: "Needs attention",
    Standing.UNKNOWN: "Not known yet",
    Standing.OK: "Working",
    Standing.UNSUPPORTED: "Not testable",
}
_LEVEL_LABELS = {
    "error": LABELS[Standing.ERROR],
    "missing": LABELS[Standing.MISSING],
    "misconfigured": LABELS[Standing.MISCONFIGURED],
    levels.STALE: "Not heard of",
    levels.FLAPPING: "Flapping",
    expiry.EXPIRED: "Token expired",
}
_TOPIC_LABELS = {
    Topic.EXPIRY: "Token ends soon",
    Topic.RENEWAL: "Renewal overdue",
    Topic.PUBLISHING: "Posts fail",
    Topic.PERMISSIONS: "Permissions lost",
}
BROKEN = (Standing.ERROR, Standing.MISSING, Standing.MISCONFIGURED)
IN_TROUBLE = (*BROKEN, Standing.ATTENTION)
ORDER = {standing: place for place, standing in enumerate(Standing)}

_STANDING_TONES = {
    Standing.ERROR: Tone.BAD,
    Standing.MISSING: Tone.BAD,
    Standing.MISCONFIGURED: Tone.BAD,
    Standing.ATTENTION: Tone.WARN,
    Standing.UNKNOWN: Tone.IDLE,
    Standing.OK: Tone.GOOD,
    Standing.UNSUPPORTED: Tone.IDLE,
}
_BROKEN_HEALTH = {
    Health.ERROR: Standing.ERROR,
    Health.MISSING: Standing.MISSING,
    Health.MISCONFIGURED: Standing.MISCONFIGURED,
}
_OTHER_HEALTH = {Health.OK: Standing.OK, Health.UNSUPPORTED: Standing.UNSUPPORTED, Health.UNKNOWN: Standing.UNKNOWN}


def label_of(topic: Topic, level: str) -> str:
    """What is the matter at *level* of *topic*, in two or three words; empty when nothing more can be said of it."""
    return _LEVEL_LABELS.get(level) or _TOPIC_LABELS.get(topic, "")


def standing_of(view: ConnectionView, incidents: Sequence[IncidentView]) -> Standing:
    """Where a connection with these open incidents of its own stands; a mere information moves it nowhere."""
    broken = _BROKEN_HEALTH.get(view.state.health)
    if broken is not None:
        return broken
    if any(incident.severity is not Severity.INFO for incident in incidents):
        return Standing.ATTENTION
    return _OTHER_HEALTH[view.state.health]


def tone_of(standing: Standing, incidents: Sequence[IncidentView]) -> Tone:
    """The tone of a connection: a critical incident of one that still works is as bad as one that does not."""
    if standing is Standing.ATTENTION and any(incident.severity is Severity.CRITICAL for incident in incidents):
        return Tone.BAD
    return _STANDING_TONES[standing]
