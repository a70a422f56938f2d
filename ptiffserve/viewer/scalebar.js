// The scale bar and the numbers beside it.

import { look } from "./view.js";
import { significant } from "./words.js";

const LONGEST = 150;
const $ = (id) => document.getElementById(id);

// The longest of 1, 2, 5, 10, … units that is no longer than `most`.
export function nice(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  return power * ([5, 2].find((step) => step * power <= most) ?? 1);
}

function named(micrometres) {
  if (micrometres >= 1000) return `${significant(micrometres / 1000)} mm`;
  if (micrometres >= 1) return `${significant(micrometres)} µm`;
  return `${significant(micrometres * 1000)} nm`;
}

// Micrometres of one slide pixel's length along the screen's horizontal: pixels need not be square.
function across([x, y], turn) {
  const angle = (turn * Math.PI) / 180;
  return Math.hypot(x * Math.cos(angle), y * Math.sin(angle));
}

// {length in screen pixels, text}: micrometres where they are known, slide pixels where not.
export function measure(mpp, { zoom, turn }) {
  const unit = mpp ? across(mpp, turn) / zoom : 1 / zoom;
  const most = unit * LONGEST;
  const amount = mpp ? nice(most) : Math.max(1, nice(most));
  return { length: amount / unit, text: mpp ? named(amount) : `${significant(amount)} px` };
}

function percent(zoom) {
  return `${significant(zoom * 100)} %`;
}

// By the convention that 10x is 1 µm a pixel.
function magnification(mpp, zoom) {
  return `${significant((10 / mpp[0]) * zoom)}×`;
}

export function showScale(viewer, mpp) {
  let drawn = "";

  function draw() {
    const view = look(viewer, true);
    if (!view) return;
    const { length, text } = measure(mpp, view);
    const stamp = `${length} ${text} ${view.turn}`;
    if (stamp === drawn) return;
    drawn = stamp;
    $("scalebar-bar").style.width = `${length}px`;
    $("scalebar-text").textContent = text;
    $("scalebar").setAttribute("aria-label", `Scale bar: ${text}`);
    $("zoom").textContent = percent(view.zoom);
    $("magnification").textContent = mpp ? magnification(mpp, view.zoom) : "";
  }

  $("magnification").hidden = !mpp;
  viewer.addHandler("open", draw);
  viewer.addHandler("update-viewport", draw);
  viewer.addHandler("resize", () => requestAnimationFrame(draw));
  $("scale").hidden = false;
}
