"""When the receivers are reminded of an incident that is still open: daily, and weekly once it is a week old."""

from datetime import datetime, timedelta

from monitor.domain.model import FINE, Told, Why
from monitor.domain.policy import Policy

_WEEK = timedelta(days=7)
_OVERTAKING = frozenset({Why.REMINDER, Why.CHANGED, Why.CLOSED})


def reminder_due(told: Told, policy: Policy) -> datetime | None:
    """When what was *told* is told again; None when it is over or reminders are turned off."""
    if told.level == FINE or told.at is None or policy.reminders <= timedelta(0):
        return None
    old = told.opened_at is not None and told.at - told.opened_at >= _WEEK
    return told.at + (max(_WEEK, policy.reminders) if old else policy.reminders)


def overtakes_reminders(why: Why) -> bool:
    """
    Whether a reminder of the same incident that a receiver has not taken yet says nothing more once this is told.

    A receiver that comes back after days hears what broke and how it is now, not how it was on every day between.
    """
    return why in _OVERTAKING
