"""The pages of the real daemon in a real browser."""

import asyncio
import re
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Browser, BrowserContext, Page, expect

from monitor.clock import SystemClock
from monitor.domain.reasons import Health
from monitor.simulator.state import SimulatedApi
from tests.running_daemon import AGEING, BROKEN, QUIET, RunningDaemon, running_daemon
from tests.waiting import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e, pytest.mark.slow]

REFRESH = 10_500
"""After so many milliseconds every open page has asked again."""

PAGES = (
    "",
    "incidents",
    "calendar",
    f"connections/main/-/{BROKEN}",
    f"connections/main/-/{BROKEN}?response=30d",
    "connections/main/-/linkedin-nobody",
    f"preflight?ids={BROKEN}",
    "forecast",
    "wall",
    "?at=2026-01-01T00:00Z",
)
LONG, RIGHT_TO_LEFT = "W" * 190, "شركة الأمثلة " * 9
HOSTILE = "<script>document.title='taken'</script>"


def _awkward(world: SimulatedApi) -> None:
    """Names as no designer expects them, a connection that is broken, and a token that nears its end."""
    world.connection(BROKEN).fail()
    world.connection(AGEING).expire_in(timedelta(hours=20))
    for platform_id, name in (
        ("twitter-783214", LONG),
        ("facebook-104857600123", RIGHT_TO_LEFT),
        ("youtube-UCa-1_b2C3d4E5f6G7h8I9jK", HOSTILE),
    ):
        world.connection(platform_id).display_name = name


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningDaemon]:
    """The daemon with a broken connection and a token that nears its end; what a test does to it, it undoes."""
    async with running_daemon(tmp_path_factory.mktemp("house"), interval="1s", past=timedelta(days=90), prepare=_awkward) as running:
        await running.until(BROKEN, Health.ERROR)
        await eventually(lambda: len(running.app.snapshot().incidents) == 2, what="the token's end is an incident")
        assert await eventually(partial(_added_up, running), what="the days are added up")
        yield running


async def _added_up(house: RunningDaemon) -> bool:
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(*house.address)
        writer.write(b"GET /connections/main/-/" + BROKEN.encode() + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        page = await reader.read(-1)
        writer.close()
        return b'name="day"' in page


@asynccontextmanager
async def _visit(browser: Browser, address: str, **options: Any) -> AsyncIterator[Page]:
    """A page in a window of its own; fails when the page complained of anything."""
    context: BrowserContext = await browser.new_context(**options)
    page = await context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
    await page.clock.install()
    await page.goto(address)
    yield page
    await context.close()
    assert [one for one in complaints if not one.startswith("Failed to load resource")] == []


async def _refreshed(page: Page) -> None:
    """Let the time pass until the page has asked again and shows what is so from now on."""
    # The page shows milliseconds.
    now = SystemClock().now() - timedelta(milliseconds=1)

    async def _newer() -> bool:
        await page.clock.fast_forward(REFRESH)
        return datetime.fromisoformat(await page.locator(".fresh time").get_attribute("datetime") or "") >= now

    # The monitor makes a new picture at most once a second.
    assert await eventually(_newer, what="the page shows a newer picture")


@asynccontextmanager
async def _broken(house: RunningDaemon) -> AsyncIterator[None]:
    """While this lasts, one more connection is broken."""
    house.world.connection(QUIET).fail()
    try:
        await house.until(QUIET, Health.ERROR)
        yield
    finally:
        house.world.connection(QUIET).heal()
        await house.until(QUIET, Health.OK)


async def test_turns_red(browser: Browser, house: RunningDaemon) -> None:
    """A connection that breaks turns red in an open page without a reload, goes to the top, is announced, and turns back."""
    async with _visit(browser, house.url) as page:
        await page.evaluate("window.loadedOnce = true")
        row = page.locator("tbody", has_text=QUIET)
        await expect(row.locator(".pill")).to_have_text("Working")
        async with _broken(house):
            await _refreshed(page)

            await expect(row.locator(".pill")).to_have_text("Broken")
            await expect(row).to_contain_text("Reconnect the account on the PostPost dashboard.")
            await expect(page.locator("tbody.row.bad")).to_have_count(3)
            await expect(page).to_have_title("2 of 12 connections are broken. - PostPost Monitor")
            await expect(page.locator("#news")).to_have_text("2 of 12 connections are broken.")
            assert "bad.svg" in (await page.locator("link[rel=icon]").get_attribute("href") or "")
        await _refreshed(page)
        await expect(row.locator(".pill")).to_have_text("Working")
        assert await page.evaluate("window.loadedOnce")


async def test_keeps_the_place(browser: Browser, house: RunningDaemon) -> None:
    """What somebody is busy with survives a refresh: focus, half-typed text, the scroll position, what is unfolded or selected."""
    async with _visit(browser, f"{house.url}/?displayStatus=ok", viewport={"width": 800, "height": 400}) as page:
        field = page.get_by_role("searchbox")
        await field.press_sequentially("half ty")
        await _refreshed(page)
        await expect(field).to_be_focused()
        await expect(field).to_have_value("half ty")
        await field.fill("")
        await page.clock.fast_forward(300)
        await expect(page.locator("a.name").nth(1)).to_be_visible()
        link = page.locator("a.name").last
        await link.focus()
        top = await link.evaluate("one => one.getBoundingClientRect().top")
        async with _broken(house):
            await _refreshed(page)
            await expect(page.locator("tbody", has_text=QUIET)).to_have_count(0)
        await expect(link).to_be_focused()
        assert abs(await link.evaluate("one => one.getBoundingClientRect().top") - top) < 2
        assert page.url.endswith("?displayStatus=ok")

    async with _visit(browser, f"{house.url}/incidents") as page:
        details = page.locator("details").first
        await details.locator("summary").press("Enter")
        await page.evaluate("getSelection().selectAllChildren(document.querySelector('code'))")
        selected = await page.evaluate("getSelection().toString()")
        await _refreshed(page)
        assert await page.evaluate("getSelection().toString()") == selected != ""
        await expect(details).to_have_attribute("open", "")


async def test_update_is_exact(browser: Browser, house: RunningDaemon) -> None:
    """Whatever two pages are, updating the one in place makes it equal to the other, and keeps every element with an id that stays."""
    async with _visit(browser, house.url) as page:
        assert await page.evaluate(_UPDATE_ANYTHING) == []


_UPDATE_ANYTHING = """() => {
  let seed = 7;
  const dice = (sides) => (seed = (seed * 48271) % 2147483647) % sides;
  function tree(depth) {
    const node = document.createElement(["div", "p", "ul"][dice(3)]);
    for (let n = dice(3); n > 0; n--) node.setAttribute("data-" + dice(4), dice(3));
    const ids = [...Array(6).keys()].sort(() => dice(3) - 1);
    for (let n = dice(7); n > 0; n--) {
      if (depth === 0 || dice(3) === 0) node.append(document.createTextNode("text " + dice(4)), document.createElement("br"));
      else {
        const child = tree(depth - 1);
        if (dice(2)) child.id = "d" + depth + "-" + ids.pop();
        node.append(child);
      }
    }
    return node;
  }
  const wrong = [];
  for (let turn = 0; turn < 400; turn++) {
    const old = document.createElement("main"), fresh = document.createElement("main");
    old.append(tree(3));
    fresh.append(tree(3));
    const [was, will] = [old.firstChild, fresh.firstChild];
    const kept = [...was.children].filter((one) => one.id && [...will.children].some((other) => other.id === one.id));
    if (was.nodeName !== will.nodeName) continue;
    const wanted = will.cloneNode(true);
    update(was, will);
    if (!was.isEqualNode(wanted)) wrong.push(wanted.outerHTML);
    wrong.push(...kept.filter((one) => one.parentNode !== was && one.nodeName === wanted.querySelector("#" + one.id).nodeName).map((one) => one.id));
  }
  return wrong.slice(0, 3);
}"""


async def test_silent_monitor(browser: Browser, house: RunningDaemon) -> None:
    """A monitor that hangs without a word is found at the second pulse, and the longest way to that takes less than five seconds."""
    async with _visit(browser, house.url) as page:
        assert await page.evaluate("SILENT + PULSE + PATIENCE") < 5_000
        await page.route("**/*", lambda _: asyncio.sleep(0))
        await page.evaluate("stream.close()")
        await page.clock.run_for(await page.evaluate("SILENT + PULSE"))
        await expect(page.locator("body.lost")).to_have_count(1)
        await expect(page).to_have_title(re.compile("^The monitor does not answer - "))
        await page.unroute_all(behavior="ignoreErrors")


async def test_polls_without_a_stream(browser: Browser, house: RunningDaemon) -> None:
    """A page whose stream a proxy refuses asks again every ten seconds: it shows what changed, and does not look lost meanwhile."""
    context = await browser.new_context()
    page = await context.new_page()
    asked: list[str] = []
    await page.route("**/changes", lambda route: route.abort())
    page.on("request", lambda request: asked.append(request.url) if request.url == f"{house.url}/" else None)
    await page.clock.install()
    await page.goto(house.url)
    row = page.locator("tbody", has_text=QUIET)
    async with _broken(house):
        assert await page.evaluate("heard < 0")
        assert len(asked) == 1
        await _refreshed(page)
        await expect(row.locator(".pill")).to_have_text(re.compile("Broken|Flapping"))
        assert len(asked) > 1
        await expect(page.locator("body.lost")).to_have_count(0)
    await context.close()


async def test_says_when_it_is_lost(browser: Browser, house: RunningDaemon) -> None:
    """A page whose monitor does not answer says so within five seconds in title, icon and a line, and recovers by itself."""
    async with _visit(browser, house.url) as page:
        title = await page.title()
        await page.route("**/*", lambda route: route.fulfill(status=502, body=""))
        await page.clock.fast_forward(5_000)
        await expect(page.locator("body.lost")).to_have_count(1)
        await expect(page).to_have_title(f"The monitor does not answer - {title}")
        await expect(page.get_by_role("alert")).to_contain_text("does not answer")
        assert "idle.svg" in (await page.locator("link[rel=icon]").get_attribute("href") or "")
        await page.unroute("**/*")
        await _refreshed(page)
        await expect(page.locator("body.lost")).to_have_count(0)
        await expect(page).to_have_title(title)


# Nothing but the colours differs in the dark.
@pytest.mark.parametrize(("scheme", "options"), [("light", {}), ("dark", {"runOnly": ["color-contrast"]})])
async def test_accessible(browser: Browser, house: RunningDaemon, scheme: str, options: dict[str, Any]) -> None:
    """Axe finds no violation on any page, in either colour scheme, with everything unfolded."""
    async with _visit(browser, house.url, color_scheme=scheme) as page:
        found = {}
        for path in PAGES:
            await page.goto(f"{house.url}/{path}")
            await page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
            results = await Axe().run(page, options=options)
            found[path] = [f"{one['id']}: {one['nodes'][0]['html']}" for one in results.response["violations"]]
        assert found == {path: [] for path in PAGES}


async def test_colour_schemes_differ(browser: Browser, house: RunningDaemon) -> None:
    """The page follows the wish for a dark or a light one."""
    async with _visit(browser, house.url, color_scheme="light") as page:
        light = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        await page.emulate_media(color_scheme="dark")
        dark = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(_rgb(light)) > 600, sum(_rgb(dark)) < 120) == (True, True)


def _rgb(colour: str) -> list[int]:
    return [int(part) for part in colour.strip("rgb()").split(",")]


@pytest.mark.parametrize("width", [320, 1440])
async def test_widths(browser: Browser, house: RunningDaemon, width: int) -> None:
    """No page scrolls sideways on a small phone or a large desk, whatever connections are called."""
    async with _visit(browser, house.url, viewport={"width": width, "height": 800}, is_mobile=width < 400) as page:
        beyond = {}
        for path in PAGES:
            await page.goto(f"{house.url}/{path}")
            await page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
            beyond[path] = await page.evaluate("[innerWidth, document.documentElement.scrollWidth]")
        assert beyond == {path: [width, width] for path in PAGES}


async def test_keyboard(browser: Browser, house: RunningDaemon) -> None:
    """The first stop leads past the head of the page; then come its places, the filters and the connections, as they are seen."""
    async with _visit(browser, house.url) as page:
        stops = []
        for _ in range(30):
            await page.keyboard.press("Tab")
            stops.append(await page.evaluate("document.activeElement.className.split(' ')[0] || document.activeElement.textContent.trim()"))
            assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", stops
        assert [stop.split()[0] for stop in stops[:5]] == ["skip", "brand", "Connections", "Incidents", "Calendar"]
        assert stops.index("choice") < stops.index("Filters") < stops.index("Show") < stops.index("name")

        await page.goto(house.url)
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.closest('main') !== null")


async def test_click_through(browser: Browser, house: RunningDaemon) -> None:
    """From the list to a connection, by its label back to a filtered list, to the calendar, and from there to a connection again."""
    async with _visit(browser, house.url) as page:
        await page.get_by_role("link", name="Company page").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Company page")
        await expect(page.locator("#notifications + article")).to_contain_text("on-call accepted")
        await page.get_by_role("link", name="market=de").click()
        await expect(page.locator("tbody.row")).to_have_count(1)
        await expect(page.get_by_label("market")).to_have_value("market=de")
        await page.get_by_role("link", name="clear").click()
        await expect(page.locator("tbody.row")).to_have_count(12)
        await page.get_by_role("link", name="Incidents").click()
        await page.get_by_role("link", name="Connections", exact=True).click()
        await expect(page).to_have_url(f"{house.url}/")
        await page.get_by_role("link", name="Calendar", exact=True).click()
        await page.locator(".month .ends a").first.click()
        await page.locator(".agenda a", has_text="Company page").click()
        await expect(page).to_have_url(f"{house.url}/connections/main/-/{AGEING}")


async def test_days_by_mouse_and_keyboard(browser: Browser, house: RunningDaemon) -> None:
    """
    In the list, a day with trouble is told by hovering and by unfolding, and leads to its checks.

    On the connection's page the days are one stop of the keyboard, the arrows go from day to day, and Enter shows the checks of one.
    """
    async with _visit(browser, house.url) as page:
        row = page.locator("tbody.row", has_text=BROKEN)
        hints = await row.locator("svg.days title").all_text_contents()
        assert [hint for hint in hints if ": down for " in hint]
        await row.locator("summary").press("Enter")
        await expect(row.locator("li a").nth(1)).to_be_visible()
        await row.locator("li a").nth(1).click()
        await expect(page.locator("table.checks")).to_contain_text("Session has expired")
        day = page.url.partition("day=")[2].partition("#")[0]
        chosen = page.locator("input[name=day]:checked")
        await expect(chosen).to_have_value(day)
        await chosen.focus()
        await page.keyboard.press("ArrowLeft")
        before = await page.locator("input[name=day]:checked").get_attribute("value") or ""
        assert before < day
        words = page.locator(f"label[for=d{before}] span")
        await expect(words).to_have_css("opacity", "1")
        await _refreshed(page)
        await expect(page.locator("input[name=day]:checked")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page).to_have_url(f"{house.url}/connections/main/-/{BROKEN}?day={before}#checks")
        await page.locator("label[for]").last.hover()
        words = page.locator("label[for] span").last
        await expect(words).to_have_css("opacity", "1")
        assert (await words.bounding_box() or {"width": 0})["width"] > 200
        await page.locator("label[for]").nth(40).click()
        chosen = page.locator("input:checked + label span")
        assert (await chosen.bounding_box() or {"width": 0})["width"] > 200


async def test_without_javascript(browser: Browser, house: RunningDaemon) -> None:
    """Filters, paging and details work in a browser without JavaScript."""
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(house.url)
    await page.get_by_role("searchbox").fill("yourthreads")
    await page.locator("#filters summary").click()
    await page.get_by_label("team").select_option("social")
    await page.locator("form.search").get_by_role("button", name="Show").click()
    assert "q=yourthreads" in page.url
    await expect(page.locator("tbody.row")).to_have_count(1)
    await page.goto(f"{house.url}/incidents")
    await page.locator("summary").first.click()
    await expect(page.locator("code").first).to_be_visible()
    await expect(page.locator(".copy").first).to_be_hidden()
    await context.close()


async def test_response_windows(browser: Browser, house: RunningDaemon) -> None:
    """Each window of response times is a plain link away, on a phone without JavaScript too, and its chart is there in forced colours."""
    context = await browser.new_context(java_script_enabled=False, forced_colors="active", viewport={"width": 320, "height": 720})
    page = await context.new_page()
    await page.goto(f"{house.url}/connections/main/-/{BROKEN}")
    links, chart = page.get_by_label("Response time of", exact=True), page.locator("svg.spark")
    for name in ("24 hours", "7 days", "30 days"):
        await links.get_by_role("link", name=name).click()
        await expect(links.locator("[aria-current]")).to_have_text(name)
        await expect(chart).to_have_attribute("aria-label", re.compile(f"in the last {name}: "))
        await expect(page.locator(".ago")).to_contain_text("now")
    line, grid = [await chart.locator(part).evaluate("one => getComputedStyle(one).stroke") for part in (".line", ".grid")]
    assert line != grid
    assert await chart.locator(".failed").count() > 0
    await context.close()


async def test_outage_counts_at_once(browser: Browser, house: RunningDaemon) -> None:
    """A connection that breaks has downtime today and in every percentage the moment its incident opens."""
    async with _broken(house), _visit(browser, f"{house.url}/connections/main/-/{QUIET}") as page:
        shares = page.locator(".windows dd")
        await expect(shares.first).not_to_have_text("100 %")
        assert not [share for share in await shares.all_text_contents() if share.startswith("100 %")]
        await expect(page.locator(".slots label span").last).to_contain_text("down for")


async def test_axis_of_response_times(browser: Browser, house: RunningDaemon) -> None:
    """The time axis has dates and times as text in the reader's zone, in UTC without JavaScript, and no two of them overlap."""
    for scripts, width, zone in ((True, 1440, "Asia/Kolkata"), (True, 320, "UTC"), (False, 320, "Asia/Kolkata")):
        context = await browser.new_context(java_script_enabled=scripts, timezone_id=zone, viewport={"width": width, "height": 720})
        page = await context.new_page()
        for name in ("24h", "7d", "30d"):
            await page.goto(f"{house.url}/connections/main/-/{BROKEN}?response={name}")
            first = page.locator(".ago time").first
            at = datetime.fromisoformat(await first.get_attribute("datetime") or "")
            shown = at.astimezone(timezone(timedelta(hours=5, minutes=30))) if scripts and width > 320 else at.astimezone(UTC)
            assert await first.text_content() == (f"{shown:%H:%M}" if name == "24h" else f"{shown.day} {shown:%b}")
            assert await first.get_attribute("title") == f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
            boxes = await page.evaluate(_VISIBLE_TICKS)
            assert all(left[1] <= right[0] for left, right in pairwise(boxes)), (name, width, boxes)
        await context.close()


_VISIBLE_TICKS = """() => [...document.querySelectorAll(".ago time")].filter((one) => getComputedStyle(one).visibility === "visible")
  .map((one) => [one.getBoundingClientRect().left, one.getBoundingClientRect().right])"""


async def test_acknowledge_by_copying(browser: Browser, house: RunningDaemon) -> None:
    """The command that a click copies acknowledges the incident, and the open page shows by whom."""
    async with _visit(browser, f"{house.url}/incidents", permissions=["clipboard-read", "clipboard-write"]) as page:
        story = page.locator(".incident", has_text="Threads").first
        await story.locator("summary").click()
        await story.locator(".copy").first.click()
        await expect(story.locator(".copy").first).to_have_text("Copied")
        _, *words = shlex.split(await page.evaluate("navigator.clipboard.readText()"))

        command = (sys.executable, "-m", "monitor", *words, "--author", "anna", "--config", house.config.source)
        acknowledging = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
        assert await acknowledging.wait() == 0
        await _refreshed(page)
        await expect(story.locator(".handled")).to_contain_text("Acknowledged by anna")
        await expect(story.locator("details")).to_have_attribute("open", "")


async def test_hostile_name(browser: Browser, house: RunningDaemon) -> None:
    """A name that is a script is shown as text and never runs."""
    async with _visit(browser, f"{house.url}/?platform=youtube") as page:
        await expect(page.locator("a.name")).to_have_text(HOSTILE)
        await _refreshed(page)
        assert "taken" not in await page.title()


async def test_phone(browser: Browser, house: RunningDaemon) -> None:
    """On a small phone the first broken connection is on the first screen, and a healthy one takes 90 pixels at most."""
    async with _visit(browser, house.url, viewport={"width": 320, "height": 720}, is_mobile=True) as page:
        name = await page.locator("tbody.row.bad a.name").first.bounding_box()
        assert name is not None
        assert name["y"] + name["height"] < 720
        tops = await page.evaluate("[...document.querySelectorAll('.places a')].map((link) => link.getBoundingClientRect().top)")
        assert (len(tops), len(set(tops))) == (4, 1)
        heights = await page.evaluate("[...document.querySelectorAll('tbody.row.good')].map((row) => row.getBoundingClientRect().height)")
        assert heights
        assert max(heights) <= 90
        await page.set_viewport_size({"width": 768, "height": 900})
        await expect(page.locator("table.connections thead")).to_be_visible()


async def test_bar_without_colours(browser: Browser, house: RunningDaemon) -> None:
    """The bar of days is there in forced colours, and bad days differ from good ones by more than their colour."""
    async with _visit(browser, house.url, forced_colors="active") as page:
        bar = page.locator("tbody.row.bad svg.days").first
        fills = await bar.evaluate(
            "bar => [...bar.querySelectorAll('rect')].map(rect => [rect.getAttribute('class'), getComputedStyle(rect).fill, rect.getAttribute('height')])"
        )
        shown = {kind: (fill, height) for kind, fill, height in fills}
        assert shown["good"][0] != shown["bad"][0]
        assert int(shown["good"][1]) < int(shown["bad"][1])
        await page.goto(f"{house.url}/connections/main/-/{BROKEN}")
        good, bad = (page.locator(f".slots label.{kind}").first for kind in ("good", "bad"))
        assert await good.evaluate("one => getComputedStyle(one).backgroundColor") != await bad.evaluate(
            "one => getComputedStyle(one).backgroundColor"
        )
        assert await good.evaluate(_HEIGHT) < await bad.evaluate(_HEIGHT)


_HEIGHT = "one => one.getBoundingClientRect().height"


async def test_local_time(browser: Browser, house: RunningDaemon) -> None:
    """Times are in the reader's zone, with UTC on hover, also after a refresh."""
    async with _visit(browser, f"{house.url}/connections/main/-/{BROKEN}", timezone_id="Asia/Kolkata") as page:
        for _ in range(2):
            first = page.locator("table.checks time").first
            shown, hint, at = await first.text_content(), await first.get_attribute("title"), await first.get_attribute("datetime")
            local = datetime.fromisoformat(at or "").astimezone(timezone(timedelta(hours=5, minutes=30)))
            assert shown == f"{local:%Y-%m-%d %H:%M:%S}"
            assert hint == f"{local.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
            await _refreshed(page)


async def test_instant_search(browser: Browser, house: RunningDaemon) -> None:
    """The list follows what is typed without a click, and the address with it."""
    async with _visit(browser, house.url) as page:
        await page.get_by_role("searchbox").press_sequentially("yourthreads")
        await page.clock.fast_forward(300)
        await expect(page.locator("tbody.row")).to_have_count(1)
        assert page.url.endswith("?q=yourthreads")
        await expect(page.get_by_role("searchbox")).to_be_focused()


async def test_address_that_leads_nowhere(browser: Browser, house: RunningDaemon) -> None:
    """An unknown address has the frame of the site, and leads back."""
    async with _visit(browser, f"{house.url}/no/such/page") as page:
        await expect(page.get_by_role("heading", level=1)).to_have_text("There is no page at this address.")
        await page.get_by_role("link", name="All connections").click()
        await expect(page).to_have_url(f"{house.url}/")


async def test_print(browser: Browser, house: RunningDaemon) -> None:
    """On paper the list is there in dark ink, and what can only be clicked is not."""
    async with _visit(browser, house.url, color_scheme="dark") as page:
        await page.emulate_media(media="print")
        await expect(page.locator("tbody.row").first).to_be_visible()
        await expect(page.locator("form.search")).to_be_hidden()
        await page.set_viewport_size({"width": 700, "height": 900})
        assert await page.evaluate("getComputedStyle(document.querySelector('.row > tr')).display") == "table-row"
        assert await page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
