// OpenSeadragon, set up for tissue: which options, and why.

import { deepzoom } from "./api.js";
import { exactDrawer } from "./drawer.js";
import { notice } from "./notices.js";

const CACHE_BYTES = 320 * 2 ** 20;
const MAP_SIDE = 168;
const PHONE_MAP_SIDE = 96;

// Decoded tiles are kept up to a fixed amount of memory, whatever their size.
function tilesKept({ tile_width: width, tile_height: height }) {
  return Math.min(1000, Math.max(80, Math.round(CACHE_BYTES / (4 * width * height))));
}

function shapeMap(slide) {
  const map = document.getElementById("map");
  const side = matchMedia("(max-width: 40rem), (max-height: 30rem)").matches ? PHONE_MAP_SIDE : MAP_SIDE;
  const ratio = Math.min(4, Math.max(0.25, slide.width / slide.height));
  map.style.width = `${Math.round(side * Math.min(1, ratio))}px`;
  map.style.height = `${Math.round(side * Math.min(1, 1 / ratio))}px`;
  map.hidden = false;
  return map;
}

const MOUSE = { clickToZoom: false, dblClickToZoom: true };

export function createViewer(slide) {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const viewer = OpenSeadragon({
    id: "viewer",
    tileSources: deepzoom(slide),
    drawer: exactDrawer(),
    navigatorDrawer: "canvas",
    smoothTileEdgesMinZoom: Infinity, // exactDrawer leaves no seams to smooth
    // Our own controls and keys are real buttons with names; see controls.js.
    showNavigationControl: false,
    showSequenceControl: false,
    keyboardNavEnabled: false,
    showNavigator: true,
    navigatorElement: shapeMap(slide),
    navigatorBackground: "#fff",
    navigatorDisplayRegionColor: "#c2187a",
    // A click selects nothing and so does nothing; a zoom at each click loses the place.
    gestureSettingsMouse: MOUSE,
    gestureSettingsPen: MOUSE,
    gestureSettingsTouch: { pinchRotate: false, flickEnabled: !still },
    animationTime: still ? 0 : 0.5,
    springStiffness: 8,
    zoomPerClick: 2,
    zoomPerScroll: 1.25,
    // The middle of the screen can reach any corner, and no further. Four screen pixels a slide pixel show the pixels.
    visibilityRatio: 0.5,
    minZoomImageRatio: 0.7,
    maxZoomPixelRatio: 4,
    // A window made larger shows more tissue, not larger tissue.
    preserveImageSizeOnResize: true,
    // Coarse levels first: there is a picture at once, and sharp tiles come into it.
    immediateRender: false,
    blendTime: 0,
    maxTilesPerFrame: 4,
    // A browser asks one server for 6 things at a time over HTTP/1.1; what queues here can still be dropped, there it cannot.
    imageLoaderLimit: 8,
    maxImageCacheCount: tilesKept(slide.levels[0]),
    tileRetryMax: 2,
    tileRetryDelay: 1500,
  });
  viewer.addHandler("open", () => settle(viewer));
  viewer.addHandler("animation-finish", () => sharpen(viewer));
  viewer.addHandler("drawer-error", () => notice("drawer", "This browser cannot draw slides."));
  return viewer;
}

function settle(viewer) {
  const busy = document.getElementById("busy");
  const image = viewer.world.getItemAt(0);
  image.addHandler("fully-loaded-change", ({ fullyLoaded }) => busy.classList.toggle("on", !fullyLoaded));
  busy.classList.add("on");
  sharpen(viewer);
}

// At one to one and from two to one on, slide pixels are shown as they are; between, and turned askew, they are smoothed.
function sharpen(viewer) {
  const image = viewer.world.getItemAt(0);
  if (!image) return;
  const zoom = image.viewportToImageZoom(viewer.viewport.getZoom()) * devicePixelRatio;
  const exact = (Math.abs(zoom - 1) < 1e-3 || zoom >= 2) && viewer.viewport.getRotation() % 90 === 0;
  if (viewer.sharp === exact) return;
  viewer.sharp = exact;
  viewer.drawer.setImageSmoothingEnabled(!exact);
}
