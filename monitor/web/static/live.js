// Shows the same page anew, in place: what did not change is not touched, so the scroll position, the focus, a selection,
// what somebody typed and what is unfolded all stay. Without this file every page works; it only grows old.
"use strict";

const PAUSE = 10000;
// A dead monitor shows within five seconds: silent for so long, found at the next pulse, and no answer while a pulse waits.
const SILENT = 2200;
const PULSE = 1000;
const PATIENCE = 1500;
const PARTS = ["header.top", "main", "footer"];
const OURS = new Set(["open", "value", "checked"]);

function sameThing(old, fresh) {
  return old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName && (old.id || "") === (fresh.id || "");
}

function updateAttributes(old, fresh) {
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !OURS.has(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value && !OURS.has(name)) old.setAttribute(name, value);
  }
}

// Makes *old* what *fresh* is with as few changes as can be; elements with an id are found again wherever they went.
function update(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  updateAttributes(old, fresh);
  const known = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
  const stays = new Map();
  for (const child of fresh.children) {
    const same = child.id && known.get(child.id);
    if (same && sameThing(same, child)) stays.set(child.id, same);
  }
  let place = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    while (place && place.id && stays.get(place.id) !== place) {
      const gone = place;
      place = place.nextSibling;
      gone.remove();
    }
    const stayed = wanted.id ? stays.get(wanted.id) : undefined;
    if (stayed && stayed !== place) {
      move(old, stayed, place);
      update(stayed, wanted);
    } else if (place && sameThing(place, wanted)) {
      const here = place;
      place = place.nextSibling;
      update(here, wanted);
    } else {
      old.insertBefore(document.adoptNode(wanted), place);
    }
  }
  while (place) {
    const gone = place;
    place = place.nextSibling;
    gone.remove();
  }
}

// Moving an element takes the focus from whatever is inside of it.
function move(parent, child, before) {
  const focused = child.contains(document.activeElement) ? document.activeElement : null;
  parent.insertBefore(child, before);
  if (focused) focused.focus({ preventScroll: true });
}

// The first thing with an id that can be seen; where it was before, it shall be afterwards.
function anchor() {
  const focused = document.activeElement.closest("main [id]");
  const all = focused ? [focused] : [...document.querySelectorAll("main [id]")];
  const seen = all.find((one) => one.getBoundingClientRect().bottom > 0 && one.getBoundingClientRect().top < innerHeight);
  return seen && scrollY > 0 ? { id: seen.id, top: seen.getBoundingClientRect().top } : null;
}

function hold(place) {
  const found = place && document.getElementById(place.id);
  if (found) scrollBy(0, found.getBoundingClientRect().top - place.top);
}

// Times are shown in the reader's zone, with UTC on hover; without JavaScript, and below the heading of a UTC day, they are in UTC.
const TIME = /^(\d{4}-\d\d-\d\d )?\d\d:\d\d(:\d\d)?( UTC)?$/;
const SHORT_DAY = /^\d\d? [A-Z][a-z]{2}$/;
const ZONE = new Intl.DateTimeFormat("en", { timeZoneName: "short" }).formatToParts().find((part) => part.type === "timeZoneName").value;

function localise(root) {
  if (new Date().getTimezoneOffset() === 0) return;
  for (const time of root.querySelectorAll("time[datetime]:not(.utc)")) {
    const at = new Date(time.dateTime);
    if (SHORT_DAY.test(time.textContent) && !isNaN(at)) {
      time.textContent = `${at.getDate()} ${at.toLocaleString("en", { month: "short" })}`;
      continue;
    }
    const parts = time.textContent.match(TIME);
    if (!parts || isNaN(at)) continue;
    const two = (number) => String(number).padStart(2, "0");
    const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} `;
    const seconds = parts[2] ? `:${two(at.getSeconds())}` : "";
    time.title = parts[1] ? `${parts[0].replace(/ UTC$/, "")} UTC` : time.title || `${parts[0]} UTC`;
    time.textContent = `${parts[1] ? day : ""}${two(at.getHours())}:${two(at.getMinutes())}${seconds}`;
  }
  for (const zone of root.querySelectorAll(".zone")) zone.textContent = ZONE;
}

function show(fresh) {
  localise(fresh);
  const place = anchor();
  for (const part of PARTS) update(document.querySelector(part), fresh.querySelector(part));
  hold(place);
  if (lost) return;
  head(fresh.title, fresh.querySelector("link[rel=icon]").getAttribute("href"));
}

function head(title, icon) {
  const link = document.querySelector("link[rel=icon]");
  if (link.getAttribute("href") !== icon) link.href = icon;
  if (document.title !== title) {
    document.title = title;
    document.getElementById("news").textContent = document.querySelector("h1").textContent;
  }
}

let next = 0;
let pulse = 0;
let lost = null;
let stream = null;
let heard = -Infinity;
let asking = false;
let again = false;

// The monitor is restarting, or gone: what is shown grows old, and must not look fresh.
function setLost(is) {
  const link = document.querySelector("link[rel=icon]");
  document.body.classList.toggle("lost", is);
  document.querySelector(".alarm").hidden = !is;
  if (is && !lost) {
    lost = { title: document.title, icon: link.getAttribute("href") };
    document.title = `The monitor does not answer - ${lost.title}`;
    link.href = lost.icon.replace(/(bad|warn|idle|good)\.svg/, "idle.svg");
  } else if (!is && lost) {
    const before = lost;
    lost = null;
    head(before.title, before.icon);
  }
}

// Asks for next to nothing, often: a monitor that is gone is noticed within seconds. Not while the stream says the same.
async function beat() {
  clearTimeout(pulse);
  if (!document.hidden && performance.now() - heard > SILENT) {
    try {
      const root = new URL("../-/healthy", document.querySelector("link[rel=icon]").href);
      const response = await fetch(root, { cache: "no-store", signal: AbortSignal.timeout?.(PATIENCE) });
      if (!response.ok) throw new Error(response.statusText);
      if (lost) await refresh();
    } catch {
      setLost(true);
    }
  }
  clearTimeout(pulse);
  pulse = setTimeout(beat, PULSE);
}

// One question at a time: an older answer must not replace a newer one.
async function refresh() {
  if (asking) {
    again = true;
    return;
  }
  asking = true;
  clearTimeout(next);
  do {
    again = false;
    if (!document.hidden) await ask();
  } while (again);
  asking = false;
  clearTimeout(next);
  next = setTimeout(refresh, PAUSE);
}

async function ask() {
  try {
    const response = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout?.(PAUSE) });
    if (!response.ok && ![400, 404].includes(response.status)) throw new Error(response.statusText);
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    // What was typed meanwhile changed the address: its own answer follows.
    if (again) return;
    setLost(false);
    show(fresh);
  } catch {
    setLost(true);
  }
}

// The monitor says when something changes. Where it cannot, because of a proxy or too many readers, the page asks every ten seconds.
function listen() {
  stream?.close();
  stream = null;
  if (document.hidden) return;
  stream = new EventSource(new URL("../changes", document.querySelector("link[rel=icon]").href));
  stream.addEventListener("beat", () => {
    heard = performance.now();
    if (lost) refresh();
  });
  stream.addEventListener("change", () => {
    heard = performance.now();
    refresh();
  });
  // Not a word for seconds, though it was there: the pulse asks at once.
  stream.onerror = () => {
    heard = -Infinity;
    beat();
  };
}

async function copy(button) {
  const code = button.parentElement.querySelector("code");
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  } catch {
    // Browsers give the clipboard to secure pages only; what is selected can be copied by hand.
    getSelection().selectAllChildren(code);
  }
}

let typed = 0;

// The list follows what is typed, and its address with it, so that it can be bookmarked at any moment.
function search(form) {
  const query = [...new FormData(form)].filter(([, value]) => value !== "");
  history.replaceState(null, "", `?${new URLSearchParams(query)}`);
  refresh();
}

document.documentElement.classList.add("live");
localise(document);
// So that the icon is there when the monitor is not.
new Image().src = document.querySelector("link[rel=icon]").href.replace(/(bad|warn|idle|good)\.svg/, "idle.svg");
document.addEventListener("input", (event) => {
  const form = event.target.closest("form.search");
  if (!form) return;
  clearTimeout(typed);
  typed = setTimeout(search, event.target.type === "search" ? 250 : 0, form);
});
document.addEventListener("click", (event) => {
  const button = event.target.closest("button.copy");
  if (button) copy(button);
});
// A page of the past does not change.
if (!document.querySelector(".past")) {
  document.addEventListener("visibilitychange", () => {
    listen();
    if (!document.hidden) refresh();
  });
  pulse = setTimeout(beat, PULSE);
  next = setTimeout(refresh, PAUSE);
  listen();
}
