"""The parts of the JSON API: cursors, parameters, shapes as schemas, badges."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, StringConstraints
from typing_extensions import TypedDict

from monitor.clock import iso_utc
from monitor.domain.events import Topic
from monitor.domain.reasons import Health
from monitor.domain.views.status import Tone
from monitor.schemas import commands
from monitor.schemas.facts import encode
from monitor.schemas.shapes import json_schemas
from monitor.web.api import openapi, parameters
from monitor.web.api.actions import ACTION_ROUTES
from monitor.web.api.badges import Badge, drawn
from monitor.web.api.parameters import parse
from monitor.web.api.problems import ApiProblem
from monitor.web.api.routes import ROUTES, ApiRoute
from tests.sampling import sampled

ROOT = Path(__file__).parent.parent.parent
SVG = "{http://www.w3.org/2000/svg}"
PARTS = st.tuples(st.integers(0, 2**63 - 1), st.text(), st.text())


@given(PARTS)
def test_cursors(parts: tuple[int, str, str]) -> None:
    """A cursor comes back as what it was made of, and needs no escaping in an address."""
    made = parameters.encode("things", parts)

    assert parameters.decode("things", (int, str, str), made) == parts
    assert re.fullmatch(r"[A-Za-z0-9_-]+", made)


@given(
    st.one_of(st.text(), PARTS.map(lambda parts: parameters.encode("others", parts)), st.binary().map(lambda one: one.decode("latin-1")))
)
def test_foreign_cursors(made: str) -> None:
    """What is no cursor of the list is refused as such, whatever it is."""
    with pytest.raises(ValueError, match="is not a cursor of this list"):
        parameters.decode("things", (int, str, str), made)


@pytest.mark.parametrize(
    "document",
    [
        '["things",1]',
        '["things",1,"a","b","c"]',
        '["things",true,"a","b"]',
        '["things",-1,"a","b"]',
        f'["things",{2**63},"a","b"]',
        "{}",
        "[" * 9999,
    ],
)
def test_forged_cursors(document: str) -> None:
    """A cursor that somebody built by hand can hold nothing that a database or a date would choke on."""
    import base64

    with pytest.raises(ValueError, match="is not a cursor of this list"):
        parameters.decode("things", (int, str, str), base64.urlsafe_b64encode(document.encode()).decode().rstrip("="))


class Everything(parameters.Query):
    """A parameter of each kind."""

    q: Annotated[str, StringConstraints(max_length=10)] | None = None
    word: parameters.Text | None = None
    topic: Topic | None = None
    sort: Literal["id", "worst"] = "id"
    health: parameters.Several[Health] = ()
    display_status: parameters.Several[parameters.Status] = ()
    open: parameters.Flag = False
    limit: parameters.Number = Field(100, ge=1, le=1000)
    since: parameters.Span | None = None
    label: parameters.Several[parameters.Text] = ()
    cursor: Annotated[parameters.Place | None, parameters.Cursor("things", (int,))] = None


def _parsed(query: str) -> Everything:
    return parse(Everything, {}, [tuple(pair.split("=", 1)) for pair in query.split("&") if pair])  # type: ignore[misc]


def test_defaults() -> None:
    """Every parameter has a value, given or not."""
    given = _parsed("open=true&limit=7&since=36h&label=a=b&label=c&health=ok&displayStatus=trouble&topic=expiry")

    assert _parsed("") == Everything()
    changed = {"open": True, "limit": 7, "since": timedelta(hours=36), "label": ("a=b", "c"), "health": (Health.OK,), "topic": Topic.EXPIRY}
    assert dict(given) == dict(Everything()) | changed | {"display_status": ("trouble",)}


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("nonsense=1", "there is no parameter nonsense here; there are q, word, topic, sort, health, displayStatus, open, limit"),
        ("word=", "word is empty; leave it out instead"),
        ("q=12345678901", "q is longer than 10 characters"),
        ("word=a\x00b", "word holds characters that cannot be printed"),
        ("word=a%0a\n", "word holds characters that cannot be printed"),
        ("word=\ud800", "word holds characters that cannot be printed"),
        ("health=OK", "health must be one of unknown, ok, error, unsupported, missing, misconfigured"),
        (
            "displayStatus=OK",
            "displayStatus must be one of error, missing, misconfigured, attention, expiring, unknown, ok, unsupported, trouble",
        ),
        ("sort=best", "sort must be one of id, worst"),
        ("open=1", "open must be true or false"),
        ("limit=+5", "limit must be a whole number"),
        ("limit=5.0", "limit must be a whole number"),
        ("limit=0", "limit must be at least 1"),
        ("limit=1001", "limit must be at most 1000"),
        ("limit=-1", "limit must be at least 1"),
        ("limit=99999999999999999999", "limit has too many digits"),
        ("limit=٣", "limit must be a whole number"),
        ("since=1y", "since must be a duration in one unit"),
        ("since=1h30m", "since must be a duration in one unit"),
        ("cursor=nonsense", "cursor is not a cursor of this list"),
        ("limit=1&limit=1", "limit may be given once"),
        ("&".join(["label=a"] * 101), "label may be given at most 100 times"),
        ("\ud800\n=1", "there is no parameter ?? here"),
    ],
)
def test_refused_parameters(query: str, detail: str) -> None:
    """What is malformed is refused with what is wrong, and never guessed."""
    with pytest.raises(ApiProblem) as refused:
        _parsed(query)

    assert detail in refused.value.detail
    assert refused.value.status == 400
    assert refused.value.response().status == 400


SAMPLES = st.one_of(
    st.text(),
    st.integers().map(str),
    st.sampled_from(["true", "false", "True", "1", *Health]),
    st.from_regex(r"[0-9]{1,5}[a-z]", fullmatch=True),
)


PUBLISHED = {
    f"{route.query.__name__}.{each['name']}": (route, each)
    for route in ROUTES
    for each in openapi.description()["paths"][route.path]["get"].get("parameters", ())
    if each["name"] != "cursor"
}


@pytest.mark.parametrize(("route", "parameter"), sampled(PUBLISHED.values(), first=20), ids=PUBLISHED)
@given(text=SAMPLES)
def test_schema_and_reading_agree(route: ApiRoute, parameter: dict[str, Any], text: str) -> None:
    """A text is accepted if and only if the published schema allows it."""
    name, schema = parameter["name"], parameter["schema"]
    path = {each["name"]: "1" for _, each in PUBLISHED.values() if each["in"] == "path" and f"{{{each['name']}}}" in route.path}
    query = {"ids": "x"} if "ids" in route.query.model_fields else {}
    (path if parameter["in"] == "path" else query)[name] = text
    try:
        parse(route.query, path, query.items())
        accepted = True
    except ApiProblem:
        accepted = False

    assert accepted == _allows(schema["items"] if schema["type"] == "array" else schema, text)


def _allows(schema: Any, text: str) -> bool:
    """Whether the schema of one value allows a text; half characters are in no schema's world."""
    match schema["type"]:
        case "integer":
            return bool(re.fullmatch(r"[0-9]{1,16}", text)) and schema["minimum"] <= int(text) <= schema["maximum"]
        case "boolean":
            return text in ("true", "false")
    if "enum" in schema:
        return bool(text in schema["enum"])
    if re.search(r"[\ud800-\udfff]", text) or not re.search(schema["pattern"], text) or text.endswith("\n"):
        return False
    return bool(schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", len(text)))


class Inner(TypedDict):
    """Something inside."""

    health: Health


class Outer(TypedDict):
    """
    Something outside, said
    in two lines.

    And more.
    """

    one: Inner
    many: list[Inner]
    maybe: Annotated[Inner | None, Field(description="perhaps")]
    number: float | None
    words: dict[str, str]


def test_shapes_as_schemas() -> None:
    """Each shape and each vocabulary is described once and referred to; whatever may be absent is null, and everything is required."""
    schemas, named = json_schemas({"outer": Outer}, "#/components/schemas/")

    assert schemas == {"outer": {"$ref": "#/components/schemas/Outer"}}
    assert named == {
        "Outer": {
            "type": "object",
            "description": "Something outside, said in two lines.",
            "properties": {
                "one": {"$ref": "#/components/schemas/Inner"},
                "many": {"type": "array", "items": {"$ref": "#/components/schemas/Inner"}},
                "maybe": {"anyOf": [{"$ref": "#/components/schemas/Inner"}, {"type": "null"}], "description": "perhaps"},
                "number": {"type": ["number", "null"]},
                "words": {"type": "object", "additionalProperties": {"type": "string"}},
            },
            "required": ["one", "many", "maybe", "number", "words"],
        },
        "Inner": {
            "type": "object",
            "description": "Something inside.",
            "properties": {"health": {"$ref": "#/components/schemas/Health"}},
            "required": ["health"],
        },
        "Health": {"type": "string", "description": "The debounced state of one connection.", "enum": [one.value for one in Health]},
    }


def _loose(schema: Any, where: str) -> Iterator[str]:
    """Places below *schema* that allow anything."""
    if isinstance(schema, dict) and "properties" in schema:
        for name, value in schema["properties"].items():
            yield from _loose(value, f"{where}.{name}")
    elif not schema or not schema.keys() & {"$ref", "anyOf", "enum", "type"}:
        yield where
    elif "array" in schema.get("type", ""):
        yield from _loose(schema.get("items"), f"{where}[]")
    elif "object" in schema.get("type", ""):
        yield from _loose(schema.get("additionalProperties"), f"{where}{{}}")


@pytest.mark.parametrize("schemas", [openapi.description()["components"]["schemas"], commands.json_schema()["$defs"]], ids=["api", "verbs"])
def test_no_loose_shapes(schemas: dict[str, Any]) -> None:
    """No published shape says less than its type, and no two types share a name: pydantic would qualify both."""
    assert [where for name, schema in schemas.items() for where in _loose(schema, name)] == []
    assert [name for name in schemas if "__" in name] == []


def test_description() -> None:
    """Every reference leads somewhere, every operation has its own name, and every parameter says what it is for."""
    document = openapi.description()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    references = set(re.findall(r'"\$ref": "#/components/([^"]+)"', openapi.text()))

    for reference in references:
        kind, name = reference.split("/")
        assert name in document["components"][kind]
    assert len({one["operationId"] for one in operations}) == len(operations) == len(ROUTES) + len(ACTION_ROUTES) + 2
    assert all(parameter["description"] for one in operations for parameter in one.get("parameters", ()))
    assert {f"schemas/{name}" for name in document["components"]["schemas"]} <= references


def test_page_has_every_route() -> None:
    """docs/reference/api.md names every route."""
    page = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8").replace("{id}", "{platformId}")

    assert [path for path in openapi.description()["paths"] if path not in page] == []


@given(st.text(), st.text())
def test_badges(label: str, says: str) -> None:
    """A badge is well-formed SVG of two texts and two areas, whatever is written on it, and as wide whatever it says."""
    root = ET.fromstring(drawn(Badge(label, says, Tone.BAD, f"{label}: {says}")))
    other = ET.fromstring(drawn(Badge(label, "another thing altogether", Tone.GOOD, "")))

    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {"svg", "title", "rect", "g", "text"}
    assert len(list(root.iter(f"{SVG}rect"))) == 2
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == root.findtext(f"{SVG}title")
    assert root.attrib["width"] == other.attrib["width"]
    assert all(int(element.attrib["textLength"]) >= 0 for element in root.iter(f"{SVG}text"))


@pytest.mark.parametrize("tone", Tone)
def test_badge_contrast(tone: Tone) -> None:
    """White on each colour can be read: 4.5 to 1 at least. Source: WCAG 2.1, 1.4.3."""
    drawing = drawn(Badge("a", "b", tone, "c")).decode()
    colours = re.findall(r'<rect [^>]*fill="#([0-9a-f]{6})"', drawing)

    for colour in colours:
        channels = [int(colour[place : place + 2], 16) / 255 for place in (0, 2, 4)]
        linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert 1.05 / (luminance + 0.05) >= 4.5


@given(st.text(), st.datetimes(timezones=st.just(UTC)))
def test_encoding(words: str, moment: datetime) -> None:
    """Any text, half characters included, and any moment make one line of valid JSON in UTF-8."""
    line = encode({"words": words, "at": iso_utc(moment)})

    assert line.count(b"\n") == 1
    assert json.loads(line)["words"] == words.encode(errors="replace").decode()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", json.loads(line)["at"])
