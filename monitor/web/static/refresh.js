// Shows the same page anew every 15 seconds, in place: the scroll position stays, and so does what somebody is busy with.
"use strict";

const PAUSE = 15000;

async function refresh() {
  const busy = document.hidden || document.activeElement !== document.body || !document.getSelection().isCollapsed;
  if (!busy) {
    try {
      const response = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(PAUSE) });
      if (!response.ok) throw new Error(response.statusText);
      const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
      for (const part of ["header", "main", "footer"]) {
        document.querySelector(part).replaceWith(fresh.querySelector(part));
      }
      document.title = fresh.title;
      document.querySelector("link[rel=icon]").href = fresh.querySelector("link[rel=icon]").getAttribute("href");
      document.body.classList.remove("lost");
    } catch {
      // The monitor is restarting, or gone: what is shown grows old, and must not look fresh.
      document.body.classList.add("lost");
    }
  }
  setTimeout(refresh, PAUSE);
}

setTimeout(refresh, PAUSE);
