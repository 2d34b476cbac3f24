"""
Every metric by name, help, labels and buckets. All of it is public: a change is a line in the changelog.

A family that is missing a sample means "not known"; no value stands for that. Text that changes (names, usernames)
is a label of `postpost_connection_info` alone.
"""

from dataclasses import dataclass
from enum import StrEnum


class MetricType(StrEnum):
    """The types of metrics we use."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its full name, what it means, its label names, and for histograms the upper bounds of its buckets."""

    kind: MetricType
    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def unit(self) -> str:
        """The unit in the name: seconds, or none."""
        return "seconds" if self.name.endswith("_seconds") else ""


_ONE = ("account", "platform", "platform_id")
_REQUEST_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LAG_SECONDS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)

_C = "postpost_connection_"
UP = Family(
    MetricType.GAUGE, f"{_C}up", "1 while the connection works, 0 while it is known not to; absent while unknown or not testable.", _ONE
)
HEALTH = Family(MetricType.GAUGE, f"{_C}health", "1 for the health that is believed, 0 for the others.", (*_ONE, "health"))
EXPIRY = Family(
    MetricType.GAUGE, f"{_C}token_expiry_timestamp_seconds", "When the token ends, best estimate; absent when no end is known.", _ONE
)
EXPIRES_IN = Family(
    MetricType.GAUGE,
    f"{_C}token_expires_in_seconds",
    "Whole seconds of life left in the token, at the scrape; negative after its end.",
    _ONE,
)
UNCERTAINTY = Family(
    MetricType.GAUGE, f"{_C}token_expiry_uncertainty_seconds", "By how much the token's end may be off to either side; 0 when exact.", _ONE
)
LAST_CHECK = Family(MetricType.GAUGE, f"{_C}last_check_timestamp_seconds", "When the last check ended, whatever it told.", _ONE)
LAST_CONCLUSIVE = Family(
    MetricType.GAUGE, f"{_C}last_conclusive_check_timestamp_seconds", "When the last check ended that told about the connection.", _ONE
)
LAST_POST = Family(MetricType.GAUGE, f"{_C}last_successful_post_timestamp_seconds", "When the last post succeeded, by the API.", _ONE)
FAILURES = Family(MetricType.GAUGE, f"{_C}consecutive_failures", "Failed checks in a row; inconclusive ones do not count.", _ONE)
INFO = Family(
    MetricType.INFO,
    f"{_C}info",
    "What the connection is called; labels of the configuration as label_<name>.",
    (*_ONE, "user_id", "name", "username"),
)

ACCOUNT_UP = Family(
    MetricType.GAUGE, "postpost_account_up", "Whether the API accepts the account's key; absent while unknown.", ("account",)
)
API_UP = Family(MetricType.GAUGE, "postpost_api_up", "Whether the API gives answers; absent while unknown.")
STORAGE_UP = Family(MetricType.GAUGE, "postpost_storage_up", "Whether the monitor's own database takes writes.")
INCIDENTS = Family(MetricType.GAUGE, "postpost_incidents_open", "Open incidents.", ("kind", "severity"))
PENDING = Family(MetricType.GAUGE, "postpost_outbox_pending", "Deliveries that the receiver is still owed.", ("receiver",))
OLDEST = Family(
    MetricType.GAUGE, "postpost_outbox_oldest_timestamp_seconds", "When the oldest delivery still owed was decided; absent when none."
)
GONE = Family(
    MetricType.GAUGE,
    "postpost_receiver_gone",
    "Whether the receiver answered that it is gone, so that nothing is sent to it.",
    ("receiver",),
)
LOOP_STEP = Family(MetricType.GAUGE, "postpost_loop_last_step_timestamp_seconds", "When the loop last finished a step.", ("loop",))
RELOADED = Family(
    MetricType.GAUGE, "postpost_config_last_reload_successful", "Whether the last reading of the configuration was taken over."
)
RELOADED_AT = Family(
    MetricType.GAUGE, "postpost_config_last_reload_success_timestamp_seconds", "When the configuration in use was taken over."
)

HEARTBEAT_AT = Family(
    MetricType.GAUGE, "postpost_heartbeat_last_success_timestamp_seconds", "When the last sign of life was taken; absent before the first."
)

CHECKS = Family(MetricType.COUNTER, "postpost_checks_total", "Checks by how they ended.", ("platform", "outcome", "reason"))
CHECK_SECONDS = Family(
    MetricType.HISTOGRAM, "postpost_check_duration_seconds", "How long the API took to answer a check.", buckets=_REQUEST_SECONDS
)
LAG = Family(MetricType.HISTOGRAM, "postpost_check_lag_seconds", "How much later than due a check began.", buckets=_LAG_SECONDS)
MISSED = Family(MetricType.COUNTER, "postpost_checks_missed_total", "Checks left out because their turn had passed.")
DELIVERIES = Family(
    MetricType.COUNTER, "postpost_deliveries_total", "Attempts to tell a receiver, by how they ended.", ("receiver", "result")
)
DELIVERY_SECONDS = Family(
    MetricType.HISTOGRAM, "postpost_delivery_duration_seconds", "How long an attempt to tell a receiver took.", buckets=_REQUEST_SECONDS
)
REBUILDS = Family(MetricType.COUNTER, "postpost_api_client_rebuilds_total", "HTTP clients replaced because they had got stuck.")
JUMPS = Family(MetricType.COUNTER, "postpost_clock_jumps_total", "Jumps of the wall clock that were noticed.")
HEARTBEATS = Family(MetricType.COUNTER, "postpost_heartbeats_total", "Signs of life that were due, by how they went.", ("result",))
BUILD = Family(MetricType.INFO, "postpost_build_info", "Which program this is.", ("version",))

PER_CONNECTION = (UP, HEALTH, EXPIRY, EXPIRES_IN, UNCERTAINTY, LAST_CHECK, LAST_CONCLUSIVE, LAST_POST, FAILURES, INFO)
OVERALL = (ACCOUNT_UP, API_UP, STORAGE_UP, INCIDENTS, PENDING, OLDEST, GONE, LOOP_STEP, RELOADED, RELOADED_AT, HEARTBEAT_AT)
COUNTED = (CHECKS, CHECK_SECONDS, LAG, MISSED, DELIVERIES, DELIVERY_SECONDS, REBUILDS, JUMPS, HEARTBEATS, BUILD)
ALL = PER_CONNECTION + OVERALL + COUNTED
