// What buttons and keys do. Every action has a name; the page's buttons say theirs in data-do.

import { copyLink } from "./link.js";
import { look, upTo360 } from "./view.js";

const BUTTON_ZOOM = 2;
const KEY_ZOOM = Math.SQRT2;
const FINE_DEGREES = 5;
const STEP = 0.15; // of the screen
const SCREEN = 0.9;

const $ = (id) => document.getElementById(id);

const KEYS = {
  "+": "closer", "=": "closer", "-": "farther", _: "farther",
  0: "home", 1: "full", r: "turnRight", R: "turnLeft", ".": "turnFineRight", ",": "turnFineLeft", u: "upright",
  x: "flip", m: "map", f: "screen", c: "link", "?": "help",
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export function connect(viewer, address) {
  const actions = actionsOf(viewer, address);
  document.addEventListener("click", (event) => actions[event.target.closest?.("[data-do]")?.dataset.do]?.());
  document.addEventListener("keydown", (event) => pressed(viewer, actions, event));
  followState(viewer);
  turnByAngle(viewer);
  $("tools").hidden = false;
}

function actionsOf(viewer, address) {
  const zoom = (factor) => () => {
    viewer.viewport.zoomBy(factor);
    viewer.viewport.applyConstraints();
  };
  // Flipped, the slide turns the other way round; the buttons mean what is seen.
  const turn = (degrees) => () => {
    const { viewport } = viewer;
    viewport.setRotation(viewport.getRotation() + (viewport.getFlip() ? -degrees : degrees));
  };
  return {
    zoomIn: zoom(BUTTON_ZOOM),
    zoomOut: zoom(1 / BUTTON_ZOOM),
    closer: zoom(KEY_ZOOM),
    farther: zoom(1 / KEY_ZOOM),
    home: () => viewer.viewport.goHome(),
    full: () => oneToOne(viewer),
    turnLeft: turn(-90),
    turnRight: turn(90),
    turnFineLeft: turn(-FINE_DEGREES),
    turnFineRight: turn(FINE_DEGREES),
    upright: () => viewer.viewport.setRotation(Math.round(viewer.viewport.getRotation() / 360) * 360),
    flip: () => viewer.viewport.toggleFlip(),
    map: () => { $("map").hidden = !$("map").hidden; },
    screen: () => (document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen?.()),
    link: () => copyLink(address),
    help: () => ($("help").open ? $("help").close() : $("help").showModal()),
  };
}

// One slide pixel is one pixel of the device.
function oneToOne(viewer) {
  const image = viewer.world.getItemAt(0);
  if (image) viewer.viewport.zoomTo(image.imageToViewportZoom(1 / devicePixelRatio));
}

function pressed(viewer, actions, event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, dialog")) return;
  const arrow = ARROWS[event.key];
  if (arrow) move(viewer, arrow, event.shiftKey ? SCREEN : STEP);
  else if (Object.hasOwn(KEYS, event.key)) actions[KEYS[event.key]]();
  else return;
  event.preventDefault();
}

// By a share of the screen, towards where the arrow points on the screen, however the slide is turned.
function move(viewer, [x, y], share) {
  const { viewport } = viewer;
  const size = viewport.getContainerSize();
  const pixels = new OpenSeadragon.Point(x * size.x * share, y * size.y * share);
  if (viewport.getFlip()) pixels.x = -pixels.x;
  viewport.panBy(viewport.deltaPointsFromPixels(pixels));
  viewport.applyConstraints();
}

function followState(viewer) {
  const button = (action) => document.querySelector(`[data-do="${action}"]`);
  viewer.addHandler("flip", ({ flipped }) => button("flip").setAttribute("aria-pressed", flipped));
  document.addEventListener("fullscreenchange", () => {
    button("screen").setAttribute("aria-pressed", document.fullscreenElement !== null);
  });
  button("screen").hidden = !document.fullscreenEnabled; // phones of Apple have no full screen for pages
}

function turnByAngle(viewer) {
  const range = $("angle-range");
  const show = () => {
    const turn = Math.round(look(viewer)?.turn ?? 0) % 360;
    $("angle").textContent = `${turn}°`;
    if (document.activeElement !== range) range.value = turn > 180 ? turn - 360 : turn;
  };
  $("angle").addEventListener("click", () => {
    $("turning").hidden = !$("turning").hidden;
    $("angle").setAttribute("aria-expanded", !$("turning").hidden);
    show();
  });
  range.addEventListener("input", () => viewer.viewport.setRotation(upTo360(range.valueAsNumber), true));
  viewer.addHandler("rotate", show);
  viewer.addHandler("open", show);
}
