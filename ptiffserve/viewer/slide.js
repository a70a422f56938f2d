// The slide page, put together: asks for the record, opens the viewer, and watches whether the slide is still the same.

import * as api from "./api.js";
import { keepAddress } from "./address.js";
import { connect } from "./controls.js";
import { clear, fail, notice } from "./notices.js";
import { poll } from "./poll.js";
import { showScale } from "./scalebar.js";
import { createViewer } from "./viewer.js";
import { count, extent, pixels, resolution } from "./words.js";

const SECONDS = 5;
const $ = (id) => document.getElementById(id);

function describe(slide) {
  const name = slide.path.slice(slide.path.lastIndexOf("/") + 1);
  document.title = name;
  $("name").textContent = name;
  $("name").title = slide.key;
  const facts = slide.width ? [pixels(slide), extent(slide), resolution(slide)].filter(Boolean) : [];
  $("facts").replaceChildren(...facts.map((fact) => Object.assign(document.createElement("span"), { textContent: fact })));
}

const WHY = {
  unreadable: ["This slide cannot be read", "The file is damaged or of a kind that is not known here."],
  missing: ["This slide is gone", "Its file is no longer in the folder."],
};

// What keeps the slide from being shown, said in full; false where nothing does.
function refused(slide) {
  if (slide.state === "ready") return false;
  const [title, text] = WHY[slide.state] ?? ["This slide cannot be shown", ""];
  fail(title, slide.reason || text);
  return true;
}

function open(slide) {
  const viewer = createViewer(slide);
  const address = keepAddress(viewer);
  connect(viewer, address);
  showScale(viewer, slide.mpp);

  let failed = 0;
  const again = () => {
    failed = 0;
    clear("tiles");
    address.write();
    viewer.open(api.deepzoom(slide));
  };
  const check = poll(SECONDS, () => compare(slide));
  viewer.addHandler("tile-load-failed", ({ maxReached }) => {
    if (!maxReached) return;
    failed += 1;
    notice("tiles", `${count(failed, "tile", "tiles")} could not be loaded.`, ["Try again", again]);
    check();
  });
  viewer.addHandler("open-failed", () => notice("tiles", "The slide could not be opened.", ["Try again", again]));
  if (slide.reason) notice("damage", slide.reason, ["Dismiss", () => clear("damage")]);
}

// Tiles of two files in one picture would be wrong quietly: as soon as the server knows another file, this is said.
async function compare(slide) {
  try {
    const now = await api.slide(slide.id);
    clear("server");
    if (now.version !== slide.version) notice("changed", "This slide was replaced.", ["Reload", () => location.reload()]);
    else if (now.state !== "ready") notice("changed", `${WHY[now.state]?.[0] ?? "This slide has changed"}. ${now.reason}`);
    else clear("changed");
  } catch (error) {
    if (error.status === 404) notice("changed", "This slide is no longer on the server.");
    else notice("server", `${error.message} Trying again.`);
  }
}

async function start() {
  const name = location.pathname.slice("/view/".length);
  let slide;
  try {
    slide = await api.slide(name);
  } catch (error) {
    fail(error.status === 404 ? "There is no such slide" : "The slide cannot be shown", error.message);
    return;
  }
  describe(slide);
  if (refused(slide)) return;
  if (!window.OpenSeadragon) {
    fail("The viewer is not installed", "This server was built without OpenSeadragon. `python setup.py vendor` fetches it.");
    return;
  }
  open(slide);
}

await start();
