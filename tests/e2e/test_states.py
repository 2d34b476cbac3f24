"""
What the pages say in each state of the monitor, in a real browser: never untrue, and readable wherever it is read.

The port is the real one; the snapshots are made here, so that each state lasts as long as it is looked at.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Browser, BrowserContext, Page, expect

from monitor.config import WebSettings
from monitor.db import CheckRow, Database, Store
from monitor.domain.connections import ConnectionSpec
from monitor.domain.events import IncidentRef, Severity, Topic
from monitor.domain.reasons import Health, Scope
from monitor.domain.silencing.acks import Ack
from monitor.domain.silencing.controls import NO_CONTROLS
from monitor.domain.states import ConnectionState, TopicState
from monitor.domain.views.snapshot import ConnectionView, IncidentView, OutboxView, Snapshot, StorageFailure, SuspectedScope
from monitor.errors import Reason
from monitor.metrics import Metrics
from monitor.web.pages.actions import ActionForm
from monitor.web.pages.templates import Pages
from monitor.web.server import WebServer
from monitor.web.status.board import StatusBoard
from tests.builders import DAY, HOUR, MINUTE, SECOND, START, a_connection, a_silence, a_state, a_token_belief
from tests.clock import StoppedClock
from tests.databases import migrated_sqlite

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e, pytest.mark.slow]

NOW = START + DAY
PAGE = "connections/main/-/linkedin-page{}"
RECEIVERS = {"on-call": OutboxView()}


def _view(number: int, health: Health = Health.OK, *, covered: str | None = None, **values: object) -> ConnectionView:
    """A connection that was looked at three minutes ago."""
    seen = {"last_check_at": NOW - 3 * MINUTE, "last_evidence_at": NOW - 3 * MINUTE, "since": NOW - HOUR}
    platform = ("linkedin", "threads", "mastodon")[number % 3]
    platform_id = f"linkedin-page{number}" if number < 5 else f"{platform}-page{number}"
    return ConnectionView(a_connection(number, platform_id=platform_id), a_state(health, **(seen | values)), covered)


def _broken(number: int, since: timedelta = HOUR) -> ConnectionView:
    opened_at = NOW - since
    return _view(number, Health.ERROR, since=opened_at, topics={Topic.CONNECTION: TopicState("error", opened_at, 1, opened_at)})


def _incident(number: int, topic: Topic = Topic.CONNECTION, level: str = "error", severity: Severity = Severity.CRITICAL) -> IncidentView:
    ref = IncidentRef(topic, str(number), 1, NOW - HOUR)
    return IncidentView(ref, Scope.CONNECTION, number, level, severity, Reason.CREDENTIAL_REJECTED, "Session has expired")


def _above(scope: Scope, subject: str) -> IncidentView:
    return IncidentView(IncidentRef(Topic.SCOPE, subject, 1, NOW - HOUR), scope, None, "failed", Severity.CRITICAL, Reason.API_TIMEOUT, "")


def _snapshot(*views: ConnectionView, **values: object) -> Snapshot:
    return replace(Snapshot(NOW, views, accounts={"main": True}, api_up=True, outbox=RECEIVERS), **values)  # type: ignore[arg-type]


def _not_known(scope: Scope, subject: str, **values: object) -> Snapshot:
    return _snapshot(_view(1, covered=subject), _view(2, Health.ERROR, covered=subject), incidents=(_above(scope, subject),), **values)


HANDLED = NO_CONTROLS.with_requests(
    [a_silence(7, match={"connection": "linkedin-page3"}, ends_at=NOW + HOUR, author="bob")],
    [Ack(Topic.CONNECTION, "2", 1, "error", NOW - MINUTE, "anna", "waiting for the customer")],
)
SUSPECTED = SuspectedScope(Scope.API, "api:api.example", NOW - 70 * SECOND)
FULL = StorageFailure(NOW - MINUTE, "database or disk is full (SQLITE_FULL)")
NAMES = ("👩‍👩‍👧‍👦 Family", "نمی‌دانم", "Page 3")


@dataclass(frozen=True)
class State:
    """
    One state of the monitor.

    Attributes:
        says, never: what the list says, and what it never does.
        icon: the icon of the page.
        page, page_says: a page of a connection, and what it says.
    """

    snapshot: Snapshot
    says: tuple[str, ...]
    never: tuple[str, ...] = ()
    icon: str = "bad"
    page: str = PAGE.format(1)
    page_says: tuple[str, ...] = ()


STATES: Mapping[str, State] = {
    "suspected": State(
        _snapshot(_view(1), _view(2), suspected=(SUSPECTED,)),
        (
            "Suspected: the PostPost API has not answered for 70s; below is what was known then.",
            "Of 2 connections, 2 worked when last checked.",
        ),
        ("All 2 connections work.",),
        "warn",
    ),
    "api-down": State(
        _not_known(Scope.API, "api:api.example", api_up=False),
        ("The PostPost API does not respond", "Was working 3m ago", "Was broken 3m ago"),
        ("Broken for", "Working for"),
        page_says=("Was working 3m ago",),
    ),
    "key-refused": State(
        _not_known(Scope.ACCOUNT, "account:main", accounts={"main": False}),
        ("The API rejects the account main", "Was working 3m ago", "Was broken 3m ago"),
        page_says=("Was working 3m ago", "The API rejects the account main"),
    ),
    "user-detached": State(
        _not_known(Scope.USER, "user:main/66f0"),
        ("2 connections cannot be checked", "Was working 3m ago"),
        page_says=("Was working 3m ago",),
    ),
    "not-checked-yet": State(
        _snapshot(_view(1), _view(2), _view(3), *(ConnectionView(a_connection(one), ConnectionState()) for one in range(4, 13))),
        ("3 of 12 connections checked so far", "not known yet"),
        ("All 3 tested connections work", "0 %"),
        "idle",
        PAGE.format(9),
        ("not known yet",),
    ),
    "database-full": State(
        _snapshot(_view(1), _view(2), storage_up=False, storage_failure=FULL),
        ("nothing can be notified", "database or disk is full (SQLITE_FULL)", "Free space on its disk"),
        page_says=("nothing can be notified", "database or disk is full (SQLITE_FULL)"),
    ),
    "handled": State(
        _snapshot(_broken(1), _broken(2), _broken(3), _broken(4, MINUTE), incidents=tuple(map(_incident, (1, 2, 3, 4))), controls=HANDLED),
        (
            "Acknowledged by anna 1m ago: waiting for the customer",
            "Silenced until 2030-01-02 01:00 UTC by bob: maintenance",
            "Acknowledged or silenced: 2 of 4 connections.",
        ),
        page=PAGE.format(2),
        page_says=("Acknowledged by anna 1m ago: waiting for the customer",),
    ),
    "no-receiver": State(_snapshot(_view(1), _view(2), outbox={}), ("No receiver is configured",), icon="good"),
    "receiver-fails": State(
        _snapshot(_view(1), _view(2), outbox={"on-call": OutboxView(3, NOW - HOUR, failing_since=NOW - HOUR, in_trouble=True)}),
        ("The receiver on-call accepts no messages.", "3"),
    ),
    "tokens-end": State(
        _snapshot(
            _broken(1),
            _view(2, token=a_token_belief(NOW + 20 * HOUR)),
            _view(3),
            incidents=(_incident(1), _incident(2, Topic.EXPIRY, "1d", Severity.CRITICAL)),
        ),
        ("1 of 3 connections is broken.", "1 token expires soon.", "Token expires"),
        page=PAGE.format(2),
        page_says=("20h",),
    ),
    "names": State(
        _snapshot(*(replace(_view(one), connection=a_connection(one, name=name)) for one, name in enumerate(NAMES, start=1))),
        (*NAMES, "All 3 connections work."),
        icon="good",
        page_says=NAMES[:1],
    ),
}
"""Each state of the monitor in which a page could say what is not so."""


@dataclass
class _Port:
    """A port that shows one snapshot after the other."""

    url: str = ""
    snapshot: Snapshot = field(default_factory=lambda: Snapshot(NOW))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def port(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[_Port]:
    """The pages at a moment that lasts, over a database with a connection that is no longer watched."""
    path = tmp_path_factory.mktemp("states") / "monitor.db"
    migrated_sqlite(path)
    clock, shown = StoppedClock(NOW), _Port()
    database = Database(f"sqlite:///{path}", clock=clock, owner="test")
    await database.start()
    await database.write(_retire)
    settings = WebSettings(listen="127.0.0.1:0")
    server = WebServer(settings, Metrics(), lambda: shown.snapshot, clock, lambda: (True, ""), read=database.read, fresh_seconds=0.0)
    shown.url = await server.start()
    yield shown
    await server.close()
    await database.close()


def _retire(store: Store) -> None:
    """A connection that failed when it was checked last, an hour before it was removed."""
    key = ("main", "", "linkedin-gone")
    number = store.ensure_connections([ConnectionSpec(*key, "linkedin", name="Old page")])[key]
    checks = [(2 * HOUR, Reason.OK), (HOUR, Reason.CREDENTIAL_REJECTED)]
    store.record_checks([CheckRow(number, NOW - ago, reason, 100, 200, detail="") for ago, reason in checks])
    store.retire([number], NOW)


@asynccontextmanager
async def _window(browser: Browser, width: int = 1440, height: int = 900, **options: object) -> AsyncIterator[Page]:
    context: BrowserContext = await browser.new_context(viewport={"width": width, "height": height}, **options)  # type: ignore[arg-type]
    yield await context.new_page()
    await context.close()


async def _text(page: Page) -> str:
    return " ".join((await page.locator("body").inner_text()).split())


@pytest.mark.parametrize("name", STATES)
async def test_says_what_is_so(browser: Browser, port: _Port, name: str) -> None:
    """Each state in its own words, in title, icon and text alike, with and without JavaScript, and on the page of a connection."""
    state = STATES[name]
    port.snapshot = state.snapshot
    for scripts in (True, False):
        async with _window(browser, java_script_enabled=scripts, timezone_id="UTC") as page:
            await page.goto(port.url)
            text = await _text(page)
            assert [said for said in state.says if said not in text] == []
            assert [said for said in state.never if said in text] == []
            assert await page.title() == f"{await page.locator('h1').inner_text()} - PostPost Monitor"
            assert f"static/{state.icon}.svg" in (await page.locator("link[rel=icon]").get_attribute("href") or "")
            await page.goto(f"{port.url}/{state.page}")
            text = await _text(page)
            assert [said for said in state.page_says if said not in text] == []


@pytest.mark.parametrize("name", STATES)
async def test_is_readable(browser: Browser, port: _Port, name: str) -> None:
    """
    In each state the list and the page of a connection keep within 320, 768 and 1440 pixels and 200 % zoom, in light and dark.

    The first sentence is there in forced colours and on paper, and axe finds nothing.
    """
    state = STATES[name]
    port.snapshot = state.snapshot
    found: dict[str, object] = {}
    async with _window(browser) as page:
        for address in ("", state.page):
            await page.goto(f"{port.url}/{address}")
            for scheme in ("light", "dark"):
                await page.emulate_media(color_scheme=scheme)
                results = await Axe().run(page, options={"runOnly": ["color-contrast"]} if scheme == "dark" else {})
                found |= {f"{address} {scheme} {one['id']}": one["nodes"][0]["html"] for one in results.response["violations"]}
                for width in (320, 720, 768, 1440):
                    await page.set_viewport_size({"width": width, "height": 800})
                    beyond = await page.evaluate("document.documentElement.scrollWidth")
                    found |= {f"{address} {scheme} {width}": beyond} if beyond > width else {}
            await page.emulate_media(forced_colors="active")
            await expect(page.locator("h1")).to_be_visible()
            await page.emulate_media(media="print", forced_colors="none")
            await expect(page.locator("h1")).to_be_visible()
            await page.emulate_media(media="screen")
    assert found == {}


async def test_no_longer_watched(browser: Browser, port: _Port) -> None:
    """A connection that is no longer watched shows its name, when it was checked last and what was found then."""
    port.snapshot = _snapshot(_view(1))
    for width in (320, 1440):
        async with _window(browser, width) as page:
            await page.goto(f"{port.url}/connections/main/-/linkedin-gone")
            await expect(page.get_by_role("heading", level=1)).to_have_text("Old page")
            text = await _text(page)
            assert "No longer watched" in text
            assert "Last check 1h ago" in text
            assert "never" not in text
            assert await page.locator("table.checks tbody tr").count() == 2
            assert await page.evaluate("document.documentElement.scrollWidth") == width


async def test_one_notice_for_an_outage(browser: Browser, port: _Port) -> None:
    """While the API is down that is said once, at the top, and not in every row."""
    port.snapshot = STATES["api-down"].snapshot
    async with _window(browser) as page:
        await page.goto(port.url)
        assert (await _text(page)).count("API does not respond") == 1
        assert not await page.locator("tr.notes", has_text="API").count()
        top = await page.locator("h1").evaluate("one => one.getBoundingClientRect().top")
        assert top < await page.locator("table.connections").evaluate("one => one.getBoundingClientRect().top")


async def test_numbers_add_up(browser: Browser, port: _Port) -> None:
    """The chips add up to all connections, each to its list; the number in the head is that of the open incidents on their page."""
    port.snapshot = replace(STATES["tokens-end"].snapshot)
    async with _window(browser) as page:
        await page.goto(port.url)
        chips = {}
        for chip in await page.locator("a.choice").all():
            label = " ".join((await chip.inner_text()).split())
            chips[label.rpartition(" ")[0]] = (int(label.rpartition(" ")[2]), await chip.get_attribute("href"))
        total, _ = chips.pop("All connections")
        assert sum(number for number, _ in chips.values()) == total == 3
        assert list(chips)[:2] == ["Broken", "Token expires soon"]
        for number, address in chips.values():
            await page.goto(f"{port.url}/{address}")
            assert await page.locator("tbody.row").count() == number
        await page.get_by_role("link", name="Incidents").click()
        assert await page.locator("article.incident").count() == int((await page.locator(".places b").inner_text()).split()[0]) == 2


async def test_one_tone_for_one_fact(browser: Browser, port: _Port) -> None:
    """A token that ends soon has one tone in the list, on its page, among the incidents and in the calendar."""
    port.snapshot = STATES["tokens-end"].snapshot
    places = {
        "?displayStatus=expiring": "tbody.row",
        PAGE.format(2): "section.overall",
        "incidents": "article.incident:has-text('page2')",
        "calendar": ".agenda li:has-text('page2')",
    }
    async with _window(browser) as page:
        tones = set()
        for address, place in places.items():
            await page.goto(f"{port.url}/{address}")
            tones.add((await page.locator(place).first.get_attribute("class") or "").split()[-1])
        assert tones == {"bad"}


@pytest.mark.parametrize("name", ["api-down", "key-refused", "user-detached", "database-full"])
async def test_an_outage_on_a_phone(browser: Browser, port: _Port, name: str) -> None:
    """What fails above the connections is said once, the first name is within 640 pixels, and no chip is cut."""
    port.snapshot = STATES[name].snapshot
    async with _window(browser, 320, 720) as page:
        await page.goto(port.url)
        said = await page.locator("h1").inner_text()
        titles = await page.locator("article.scope h2").all_inner_texts()
        assert [title for title in titles if said.startswith(title) or name == "database-full"] == []
        first = await page.locator("a.name").first.bounding_box()
        assert first is not None
        assert first["y"] + first["height"] <= 640
        rights = await page.locator("a.choice").evaluate_all("all => all.map((one) => one.getBoundingClientRect().right)")
        assert max(rights) <= 320


async def test_forms_and_places_on_a_phone(browser: Browser, port: _Port) -> None:
    """On 320 pixels the form of a silence, the places with their number, and the names of filters are whole."""
    port.snapshot = _snapshot(_view(1), replace(_view(2), connection=a_connection(2, account="other")))
    form = ActionForm("Silence it?", "For two hours.", "Silence 2 h", "", True, _nothing)
    page_of_form = Pages().render(
        "action.html", StatusBoard(port.snapshot), NOW, form=form, token="x", problem="", field="", done="", undo=""
    )
    async with _window(browser, 320, 720) as page:
        await page.goto(port.url)
        await page.evaluate("document.querySelectorAll('.places a')[1].append(' 12,345')")
        await page.locator("details.filters").evaluate("one => one.open = true")
        rights = await page.locator(".places a").evaluate_all("all => all.map((one) => one.getBoundingClientRect().right)")
        lines = await page.locator(".filters label > bdi").evaluate_all("all => all.map((one) => one.getClientRects().length)")
        assert max(rights) <= 320
        assert lines
        assert set(lines) == {1}
        await page.evaluate(_SHOW_MAIN_OF, page_of_form.decode())
        await expect(page.get_by_label("Reason")).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") == 320


_SHOW_MAIN_OF = (
    "html => document.querySelector('main').replaceWith(new DOMParser().parseFromString(html, 'text/html').querySelector('main'))"
)


async def _nothing(_author: str, _reason: str) -> tuple[str, str]:
    return "", ""


@pytest.mark.parametrize("colours", ["none", "active"])
async def test_a_token_that_ends_soon_on_a_phone(browser: Browser, port: _Port, colours: str) -> None:
    """The name of the connection has its line, no state beside it, in forced colours too."""
    port.snapshot = STATES["tokens-end"].snapshot
    async with _window(browser, 320, 720, forced_colors=colours) as page:
        await page.goto(f"{port.url}/?displayStatus=expiring")
        name, state = [await page.locator(f"tbody.row {part}").bounding_box() for part in ("a.name", "td.state")]
        assert name is not None
        assert state is not None
        assert name["width"] > 200
        assert name["y"] + name["height"] <= state["y"]


async def test_wall_on_a_phone(browser: Browser, port: _Port) -> None:
    """A working connection whose token ends soon is not among the broken; the choice of groups can be read, the drawing reached by key."""
    port.snapshot = STATES["tokens-end"].snapshot
    async with _window(browser, 320, 720) as page:
        await page.goto(f"{port.url}/wall")
        kinds = await page.locator(".wall rect").evaluate_all("all => all.map((one) => one.getAttribute('class'))")
        assert sorted(kinds) == ["bad", "expiring critical", "good"]
        await expect(page.locator(".groups")).to_contain_text("1 in trouble")
        await expect(page.locator(".key")).to_contain_text("token expires soon")
        select = page.get_by_label("Group by")
        assert (await select.bounding_box() or {"width": 0})["width"] > 80
        label = page.locator("label[for=group]")
        assert await label.evaluate("one => parseFloat(getComputedStyle(one).fontSize)") > 12
        await page.get_by_role("region", name="The wall").focus()
        assert await page.evaluate("document.activeElement.className") == "wall"
        results = await Axe().run(page)
        assert [one["id"] for one in results.response["violations"]] == []


async def test_many_on_a_phone(browser: Browser, port: _Port) -> None:
    """A page of fifty connections takes 6,000 pixels at most on a small phone; grouping, sorting and pages are links and forms."""
    port.snapshot = _snapshot(_broken(1), *map(_view, range(2, 120)), incidents=(_incident(1),))
    async with _window(browser, 320, 720, java_script_enabled=False) as page:
        await page.goto(port.url)
        assert await page.locator("tbody.row").count() == 50
        assert await page.locator("table.connections").evaluate("one => one.getBoundingClientRect().height") <= 6_000
        assert not await page.get_by_label("Platform").is_visible()
        await page.locator("#filters summary").click()
        await page.get_by_label("Group by").select_option("platform")
        await page.locator("form.search").get_by_role("button", name="Show").click()
        assert "group=platform" in page.url
        heads = page.locator("tbody.group")
        await expect(heads.first).to_contain_text("LinkedIn")
        await expect(heads.first).to_contain_text("1 in trouble")
        await page.get_by_label("Page 3", exact=True).click()
        assert await page.locator("tbody.row").count() == 19
    async with _window(browser, 705) as page:
        await page.goto(port.url)
        assert await page.locator("table.connections tbody.row tr").first.evaluate("one => getComputedStyle(one).display") == "table-row"
        await page.get_by_role("link", name="Token left").click()
        assert page.url.endswith("?sort=token")
        await expect(page.locator("th[aria-sort=ascending]")).to_have_text("Token left")
