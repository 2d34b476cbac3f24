"""The parameters of each page. What is not declared here, and what no connection has, is refused by name; an empty field asks for nothing."""

from collections.abc import Collection, Iterable
from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from monitor.domain.views.status import Filters
from monitor.web.api.parameters import Ids, Number, Query, Several, Status, Text, choice_of, fields_of, parse
from monitor.web.api.problems import ApiProblem
from monitor.web.status.board import StatusBoard

_MOST_SHOWN = 20
_LATEST_MILLISECOND = 253_402_300_799_999


def _label(text: str) -> str:
    if not text.partition("=")[0]:
        raise ValueError("must be the name of a label, or its name and value such as team=social")
    return text


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text if len(text) == len("2030-01-31") else "")
    except ValueError:
        raise ValueError("must be a day such as 2030-01-31") from None


_Word = Annotated[Text, Field(max_length=200)]
_Id = Annotated[Number, Field(ge=1)]


class FilterQuery(Query):
    """Of the calendar, its feed and the forecast."""

    display_status: Status | None = None
    platform: _Word | None = None
    account: _Word | None = None
    label: Annotated[tuple[Annotated[_Word, AfterValidator(_label)], ...], Field(max_length=10)] = ()
    q: _Word | None = None


class WallQuery(FilterQuery):
    """Of the wall."""

    group: _Word | None = None


class ListQuery(WallQuery):
    """Of the list."""

    sort: Literal["name", "state", "token", "checked"] | None = None
    at: Text | None = None
    page: Annotated[Number, Field(ge=1, le=999_999)] = 1


class IncidentsPageQuery(Query):
    """Of the page of incidents."""

    page: Annotated[Number, Field(ge=1, le=999_999)] = 1
    before: _Id | None = None


class ConnectionPageQuery(Query):
    """Of the page of a connection."""

    day: Annotated[date, BeforeValidator(_day)] | None = None
    before: Annotated[Number, Field(ge=1, le=_LATEST_MILLISECOND)] | None = None
    incidents: _Id | None = None
    response: Literal["24h", "7d", "30d"] | None = None


class PreflightPageQuery(Query):
    """Of the page "Can I post?"."""

    ids: Several[Ids] = ()
    label: Annotated[_Word, AfterValidator(_label)] | None = None
    at: Text | None = None


def check(model: type[Query], query: Iterable[tuple[str, str]]) -> None:
    """Raises `ApiProblem` when a parameter is not one of *model*, or has no usable value; forms send empty fields, too."""
    parse(model, {}, [(name, text.strip()) for name, text in query if text.strip() or name not in fields_of(model)])


def check_known(board: StatusBoard, filters: Filters) -> None:
    """Raises `ApiProblem` when *filters* name a platform, an account, a label or a group that no connection has."""
    if not board.snapshot.connections:
        return
    if filters.platform:
        _check_one("platform", filters.platform, board.platforms)
    if filters.account:
        _check_one("account", filters.account, board.account_names)
    for pair in filters.labels:
        name, equals, _ = pair.partition("=")
        _check_one("label", name, board.label_values)
        if equals:
            _check_one("label", pair, [f"{name}={known}" for known in board.label_values[name]])
    if filters.group:
        _check_one("group", filters.group, ["platform", "account", *board.label_values])


def _check_one(field: str, given: str, known: Collection[str]) -> None:
    if given in known:
        return
    allowed = sorted(known)
    more = f" and {len(allowed) - _MOST_SHOWN:,} more" if len(allowed) > _MOST_SHOWN else ""
    there_are = f"there are {', '.join(allowed[:_MOST_SHOWN])}{more}" if allowed else "there are none"
    raise ApiProblem(
        400, f"no connection has this {field}; {there_are}{choice_of(given, allowed)}", field=field, allowed=allowed[:_MOST_SHOWN]
    )
