// One slide in the gallery, as an element. Names come from files: they enter the page as text only.

import { page, thumbnail } from "./api.js";
import { extent, pixels, resolution } from "./words.js";

// Thumbnails are drawn at most 2x this size, which is sharp on dense screens too.
const WIDTH = 480;
const HEIGHT = 360;
const RETRY_MS = 3000;

function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function picture(slide) {
  const image = element("img");
  image.alt = "";
  image.loading = "lazy";
  image.decoding = "async";
  image.addEventListener("error", () => retry(image, slide), { once: true });
  image.src = thumbnail(slide, WIDTH, HEIGHT);
  return image;
}

// A busy server says 503 to a burst of thumbnails: worth one more try.
function retry(image, slide) {
  image.addEventListener("error", () => image.replaceWith(element("span", "blank", "No preview")), { once: true });
  setTimeout(() => { image.src = `${thumbnail(slide, WIDTH, HEIGHT)}&again=1`; }, RETRY_MS);
}

function name(slide) {
  const cut = slide.path.lastIndexOf("/") + 1;
  const bidi = element("bdi", "", slide.path.slice(cut));
  const folder = element("bdi", "", `${slide.store}/${slide.path.slice(0, cut)}`);
  return [element("span", "folder", folder), element("span", "name", bidi)];
}

function facts(slide) {
  const said = [pixels(slide), extent(slide), resolution(slide)].filter(Boolean);
  return said.map((fact) => element("span", "fact", fact));
}

const STATES = { unreadable: "Cannot be read", missing: "File is gone" };

function trouble(slide) {
  const parts = [];
  if (slide.state !== "ready") parts.push(element("strong", "state", STATES[slide.state] ?? slide.state));
  if (slide.reason) parts.push(element("span", "reason", slide.reason));
  return parts.length ? [element("span", "why", ...parts)] : [];
}

export function card(slide) {
  const ready = slide.state === "ready";
  const preview = element("span", "preview", ready ? picture(slide) : element("span", "blank", "No preview"));
  const text = element("span", "text", ...name(slide));
  if (slide.width) text.append(element("span", "facts", ...facts(slide)));
  if (slide.barcode) text.append(element("span", "barcode", slide.barcode));
  text.append(...trouble(slide));
  const body = element(ready ? "a" : "div", "body", preview, text);
  if (ready) body.href = page(slide);
  const item = element("li", `card ${slide.state}`, body);
  item.title = slide.path;
  return item;
}
