// The view in the address, after the #, so that a link shows what its sender saw: #x=5120&y=3900&z=0.5&r=90&f=1

import { goto, look } from "./view.js";

// Safari refuses more than 100 changes of the address in 30 seconds.
const PAUSE_MS = 400;

const short = (number, digits) => String(Number(number.toPrecision(digits)));

export function format({ x, y, zoom, turn, flip }) {
  const parts = [`x=${x.toFixed(1)}`, `y=${y.toFixed(1)}`, `z=${short(zoom, 6)}`];
  if (turn) parts.push(`r=${short(turn, 5)}`);
  if (flip) parts.push("f=1");
  return `#${parts.join("&")}`;
}

// null where the text is no view: x, y and z must be numbers, z above 0.
export function parse(hash) {
  const said = new URLSearchParams(hash.replace(/^#/, ""));
  const number = (key) => (said.get(key)?.trim() ? Number(said.get(key)) : NaN);
  const view = { x: number("x"), y: number("y"), zoom: number("z"), turn: number("r") || 0, flip: said.get("f") === "1" };
  const good = [view.x, view.y, view.zoom, view.turn].every(Number.isFinite) && view.zoom > 0;
  return good ? view : null;
}

// Follows the viewer into the address and the address into the viewer. Gives {write}: the address, now.
export function keepAddress(viewer) {
  let timer = 0;

  function write() {
    clearTimeout(timer);
    timer = 0;
    const view = look(viewer);
    if (view) history.replaceState(history.state, "", format(view));
  }

  function read() {
    const view = parse(location.hash);
    if (view) goto(viewer, view);
  }

  function moved() {
    timer ||= setTimeout(write, PAUSE_MS);
  }

  viewer.addHandler("open", () => {
    read();
    for (const event of ["pan", "zoom", "rotate", "flip"]) {
      viewer.removeHandler(event, moved);
      viewer.addHandler(event, moved);
    }
  });
  addEventListener("hashchange", read);
  addEventListener("pagehide", () => timer && write());
  return { write };
}
