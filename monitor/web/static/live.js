// Shows the same page anew, in place: what did not change is not touched, so the scroll position, the focus, a selection,
// what somebody typed and what is unfolded all stay. Without this file every page works; it only grows old.
"use strict";

const PAUSE = 10000;
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

function show(fresh) {
  const place = anchor();
  for (const part of PARTS) update(document.querySelector(part), fresh.querySelector(part));
  hold(place);
  const icon = fresh.querySelector("link[rel=icon]").getAttribute("href");
  if (document.querySelector("link[rel=icon]").getAttribute("href") !== icon) document.querySelector("link[rel=icon]").href = icon;
  if (document.title !== fresh.title) {
    document.title = fresh.title;
    document.getElementById("news").textContent = fresh.querySelector("h1").textContent;
  }
}

let next = 0;

async function refresh() {
  clearTimeout(next);
  if (!document.hidden) {
    try {
      const response = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout?.(PAUSE) });
      if (!response.ok && response.status !== 404) throw new Error(response.statusText);
      show(new DOMParser().parseFromString(await response.text(), "text/html"));
      document.body.classList.remove("lost");
    } catch {
      // The monitor is restarting, or gone: what is shown grows old, and must not look fresh.
      document.body.classList.add("lost");
    }
  }
  clearTimeout(next);
  next = setTimeout(refresh, PAUSE);
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

document.documentElement.classList.add("live");
document.addEventListener("click", (event) => {
  const button = event.target.closest("button.copy");
  if (button) copy(button);
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
next = setTimeout(refresh, PAUSE);
