// The gallery: searching, loading on, keeping in step with the server. What one card looks like is card.js's business.

import { Failure, slides } from "./api.js";
import { card } from "./card.js";
import { poll } from "./poll.js";
import { count } from "./words.js";

const PAGE = 60;
const LARGEST_PAGE = 1000;
const SECONDS = 3;
const TYPING_MS = 200;

const $ = (id) => document.getElementById(id);
const list = $("slides");
const more = $("more").querySelector("button");
const barcodes = $("barcodes").querySelector("input");

const cards = new Map(); // id -> {element, stamp}
const state = { q: new URLSearchParams(location.search).get("q") ?? "", shown: [], next: null, loaded: false };
let asking = new AbortController(); // replaced at each search: what was asked for the old one is not shown
let loading = false; // a page is being added: the poll keeps away

function draw() {
  const wanted = new Set(state.shown.map((slide) => slide.id));
  for (const [id, { element }] of cards) {
    if (!wanted.has(id)) {
      element.remove();
      cards.delete(id);
    }
  }
  let place = list.firstElementChild;
  for (const slide of state.shown) {
    const element = elementOf(slide);
    if (element === place) place = place.nextElementSibling;
    else list.insertBefore(element, place);
  }
  more.hidden = state.next === null;
  $("empty").hidden = !state.loaded || state.shown.length > 0 || state.q !== "";
  $("nothing").hidden = !state.loaded || state.shown.length > 0 || state.q === "";
  $("count").textContent = state.shown.length ? count(state.shown.length, "slide", "slides") + (state.next ? " so far" : "") : "";
  $("barcodes").hidden = !state.shown.some((slide) => "barcode" in slide);
}

// The card on the page where nothing of the slide changed, else a new one in its place.
function elementOf(slide) {
  const stamp = JSON.stringify(slide);
  const known = cards.get(slide.id);
  if (known?.stamp === stamp) return known.element;
  const element = card(slide);
  if (known) {
    if (known.element.contains(document.activeElement)) queueMicrotask(() => element.querySelector("a")?.focus());
    known.element.replaceWith(element);
  }
  cards.set(slide.id, { element, stamp });
  return element;
}

async function guarded(task) {
  const { signal } = asking;
  try {
    await task(signal);
    $("trouble").hidden = true;
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof Failure)) throw error;
    $("trouble").textContent = `${error.message} The list may be out of date; trying again.`;
    $("trouble").hidden = false;
  }
}

// Everything that is shown, asked for anew, and one page beyond where the end was reached.
async function refresh(signal) {
  const want = state.shown.length + (state.next === null ? PAGE : 0);
  let found = [];
  let next = null;
  do {
    const limit = Math.min(want - found.length, LARGEST_PAGE);
    const page = await slides({ q: state.q, after: next ?? "", limit }, signal);
    found = found.concat(page.slides);
    next = page.next;
  } while (next !== null && found.length < want);
  if (signal.aborted) return;
  Object.assign(state, { shown: found, next, loaded: true });
  draw();
}

async function loadOn() {
  if (loading || state.next === null) return;
  loading = true;
  await guarded(async (signal) => {
    const page = await slides({ q: state.q, after: state.next, limit: PAGE }, signal);
    if (signal.aborted) return;
    Object.assign(state, { shown: state.shown.concat(page.slides), next: page.next });
    draw();
  });
  loading = false;
  if (nearEnd) loadOn();
}

async function search(q) {
  asking.abort();
  asking = new AbortController();
  Object.assign(state, { q, shown: [], next: null, loaded: false });
  history.replaceState(null, "", q ? `?q=${encodeURIComponent(q)}` : location.pathname);
  await guarded(refresh);
}

let nearEnd = false;
new IntersectionObserver((entries) => {
  nearEnd = entries.at(-1).isIntersecting;
  if (nearEnd) loadOn();
}, { rootMargin: "600px" }).observe($("more"));

let typing = 0;
$("q").value = state.q;
$("q").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => search($("q").value.trim()), TYPING_MS);
});
$("search").addEventListener("submit", (event) => event.preventDefault());
$("clear").addEventListener("click", () => {
  $("q").value = "";
  $("q").focus();
  search("");
});
more.addEventListener("click", loadOn);
barcodes.checked = false;
barcodes.addEventListener("change", () => list.classList.toggle("with-barcodes", barcodes.checked));
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target === $("q") || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  $("q").focus();
});

await guarded(refresh);
poll(SECONDS, () => (loading ? undefined : guarded(refresh)));
