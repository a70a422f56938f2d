// Every tile that the real OpenSeadragon asks for, without a browser.
// stdin: JSON [{"kind": "iiif", "url": URL of info.json, "info": {...}} | {"kind": "dzi", "url": URL of the .dzi, "xml": TEXT} |
//   {"kind": "zoomify", "url": URL of the tiles, "width", "height", "tile"} | {"kind": "iip", "url", "image", "text": the OBJ answer}, ...]
// stdout: one JSON line an image: [[level, x, y, width, height, url], ...] with the tile's size in source pixels of its level.
const { JSDOM } = require("jsdom");
const { window } = new JSDOM("<!doctype html><body></body>", { url: "http://viewer.test/" });
for (const name of ["document", "DOMParser", "XMLHttpRequest", "HTMLElement", "Image"]) global[name] = window[name];
Object.defineProperty(global, "navigator", { value: window.navigator, configurable: true });
global.window = global.self = window;
const complain = console.error;
console.error = () => {}; // jsdom has no canvas, and OpenSeadragon says so while it loads
const OpenSeadragon = require("openseadragon");
console.error = complain;

// The library fetches what IIP says of an image itself: here it is handed over.
OpenSeadragon.IIPTileSource.prototype.getImageInfo = function () {
  this.parseIIP(this.text);
};

function source(image) {
  if (image.kind === "zoomify")
    return new OpenSeadragon.ZoomifyTileSource({ width: image.width, height: image.height, tileSize: image.tile, tilesUrl: image.url });
  if (image.kind === "iip")
    return new OpenSeadragon.IIPTileSource({ iipsrv: image.url, image: image.image, text: image.text });
  const [Kind, data] =
    image.kind === "iiif"
      ? [OpenSeadragon.IIIFTileSource, image.info]
      : [OpenSeadragon.DziTileSource, new DOMParser().parseFromString(image.xml, "text/xml")];
  if (!Kind.prototype.supports.call(Kind.prototype, data, image.url)) throw new Error(`not understood: ${image.url}`);
  const blank = new OpenSeadragon.TileSource({ width: 1, height: 1 });
  return new Kind(Kind.prototype.configure.call(blank, data, image.url));
}

function tiles(image) {
  const from = source(image);
  const found = [];
  for (let level = from.minLevel; level <= from.maxLevel; level++) {
    const count = from.getNumTiles(level);
    for (let y = 0; y < count.y; y++)
      for (let x = 0; x < count.x; x++) {
        const bounds = from.getTileBounds(level, x, y, true);
        found.push([level, x, y, bounds.width, bounds.height, from.getTileUrl(level, x, y)]);
      }
  }
  return found;
}

for (const image of JSON.parse(require("fs").readFileSync(0, "utf8"))) console.log(JSON.stringify(tiles(image)));
