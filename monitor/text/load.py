"""Accounts with more checks than the API's limit allows, in words."""

from monitor.domain.load import AccountLoad
from monitor.text.durations import format_duration
from monitor.text.format import count


def load_text(load: AccountLoad) -> str:
    """What is wrong: how many checks are needed and allowed."""
    return (
        f"the {count(load.connections, 'connection')} of account {load.account} need {_per_hour(load.needed)} checks per hour, "
        f"but {load.allowed:g} requests per second allow {_per_hour(load.allowed)}: checks are late"
    )


def interval_advice(load: AccountLoad) -> str:
    """The interval that would fit."""
    return f"use longer intervals: {format_duration(load.fitting_interval)} for all of them would fit"


def _per_hour(rate: float) -> str:
    return f"{round(rate * 3600):,}"
