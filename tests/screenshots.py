"""
Takes the pictures of the pages in docs/images/ anew: `make pictures`.

The real daemon, a simulated PostPost with a broken connection and a token that nears its end, a real browser. Each picture is
reduced to a palette by pngquant, which the tests do not need.
"""

import asyncio
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from playwright.async_api import Browser, Page, async_playwright

from monitor.domain.reasons import Health
from monitor.simulator.state import SimulatedApi
from tests.builders import DAY, HOUR
from tests.running_daemon import AGEING, BROKEN, RunningDaemon, running_daemon
from tests.tools import CHROMIUM_ARGUMENTS, require_tool
from tests.waiting import eventually

DOCS = Path(__file__).parent.parent / "docs" / "images"
LARGEST_BYTES = 150_000


@dataclass(frozen=True)
class Picture:
    """One picture: its file, the page, the size of the window, the colour scheme, and what is clicked first."""

    file: str
    path: str
    width: int = 1280
    height: int = 900
    scheme: str = "light"
    click: str = ""
    scale: float = 1


PICTURES = (
    Picture("status-page.png", ""),
    Picture("status-page-dark.png", "", scheme="dark"),
    Picture("status-page-phone.png", "?displayStatus=trouble", 320, 720, scale=2),
    Picture("connection-page.png", f"connections/main/-/{BROKEN}", height=1100),
    Picture("incidents-page.png", "incidents", height=760, click="summary"),
    Picture("calendar-page.png", "calendar", height=800),
    Picture("forecast-page.png", "forecast", height=800),
    Picture("preflight-page.png", f"preflight?ids={AGEING}&ids={BROKEN}", height=620),
)


def _prepare(world: SimulatedApi) -> None:
    world.latency = (timedelta(milliseconds=60), timedelta(milliseconds=240))
    world.connection(BROKEN).fail()
    world.connection(AGEING).expire_in(5 * DAY + 20 * HOUR)


async def _take(browser: Browser, house: RunningDaemon, picture: Picture) -> None:
    page = await browser.new_page(
        viewport={"width": picture.width, "height": picture.height},
        color_scheme="dark" if picture.scheme == "dark" else "light",
        device_scale_factor=picture.scale,
    )
    await page.goto(f"{house.url}/{picture.path}")
    if picture.click:
        await page.locator(picture.click).first.click()
        await page.mouse.move(0, 0)
    await page.screenshot(path=DOCS / picture.file)
    await page.close()


def _shrink(path: Path) -> None:
    subprocess.run(["pngquant", "--force", "--speed", "1", "--output", path, "64", path], check=True)
    size = path.stat().st_size
    print(f"docs/images/{path.name}: {size // 1000} kB")
    if size > LARGEST_BYTES:
        sys.exit(f"{path} is larger than {LARGEST_BYTES // 1000} kB")


def _is_settled(house: RunningDaemon) -> bool:
    """Whether everything was checked, the token's end is an incident, and somebody was told of both."""
    snapshot = house.app.snapshot()
    checked = all(view.state.health is not Health.UNKNOWN for view in snapshot.connections)
    return checked and len(snapshot.incidents) == 2 and len(house.receiver.received) >= 2


async def _has_history(page: Page, house: RunningDaemon) -> bool:
    """Whether the list shows the days that were written beforehand: on a busy machine the first reads may take too long."""
    await page.goto(house.url)
    return await page.locator("svg.days").count() > 0


async def _main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with running_daemon(Path(folder), interval="20s", past=90 * DAY, prepare=_prepare) as house:
            await eventually(lambda: _is_settled(house))
            async with async_playwright() as driver:
                browser = await driver.chromium.launch(executable_path=require_tool("chromium"), args=CHROMIUM_ARGUMENTS)
                page = await browser.new_page()
                await eventually(partial(_has_history, page, house), what="the list shows its history")
                for picture in PICTURES:
                    await _take(browser, house, picture)
                await browser.close()


if __name__ == "__main__":
    if shutil.which("pngquant") is None:
        sys.exit("pngquant is missing: apt-get install pngquant")
    asyncio.run(_main())
    for one in PICTURES:
        _shrink(DOCS / one.file)
