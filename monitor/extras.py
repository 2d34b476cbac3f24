"""Libraries that not every installation needs: the extras of the distribution."""

from importlib.util import find_spec

EXTRAS = {"psycopg": "postgresql", "icalendar": "calendar", "apprise": "apprise", "procrastinate": "cluster"}
"""Library -> the extra that brings it."""


def missing(library: str) -> str:
    """What to do when *library* is not installed; "" when it is."""
    return "" if find_spec(library) else f"install the extra: pip install 'postpost-monitor[{EXTRAS[library]}]'"
