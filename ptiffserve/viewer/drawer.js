// How tiles are put on the screen: each between the nearest whole pixels of the device.
//
// OpenSeadragon's canvas drawer makes every tile without overlap one pixel larger, to hide the seams, and so moves what it
// shows by up to a pixel; its WebGL drawer (6.1.1) puts parts of tiles into other places on a slide that is turned askew (seen
// with Chromium 156 on SwiftShader, which virtual desktops have), and leaves seams elsewhere (openseadragon#2616, #2906).
// Tiles whose edges are the same whole pixels have no seams, and at one to one they are the slide's pixels exactly.

const NOISE = 1e-4; // pixels: neighbours compute a shared edge each for itself, and must round it alike

export function exactDrawer() {
  return class extends OpenSeadragon.CanvasDrawer {
    draw(images) {
      const turn = this.viewport.getRotation(true);
      // Askew, no pixel of a tile meets one of the screen: there the extra pixel is right.
      if (turn % 90 === 0) this.snap(images, turn % 180 === 0 ? 0 : this.halfPixel());
      super.draw(images);
    }

    // A quarter turn around the middle of a canvas with one odd side ends between the pixels.
    halfPixel() {
      return ((this.canvas.width + this.canvas.height) % 2) / 2;
    }

    snap(images, shift) {
      const density = OpenSeadragon.pixelDensityRatio;
      const whole = (length) => (Math.floor(length * density - shift + 0.5 - NOISE) + shift) / density;
      const snapped = (point) => this.viewport.pixelFromPointNoRotate(point, true).apply(whole);
      for (const { tile } of images.flatMap((image) => image.getTilesToDraw())) {
        tile.position = snapped(tile.positionedBounds.getTopLeft());
        tile.size = snapped(tile.positionedBounds.getBottomRight()).minus(tile.position);
      }
    }
  };
}
