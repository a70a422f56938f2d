// Where a viewer looks: the slide pixel in the middle, screen pixels per slide pixel, the turn and the flip.

// null until a slide is open. `now`: while it is still moving there, else where it is going.
export function look(viewer, now = false) {
  const image = viewer.world.getItemAt(0);
  if (!image) return null;
  const { viewport } = viewer;
  const { x, y } = image.viewportToImageCoordinates(viewport.getCenter(now));
  const zoom = image.viewportToImageZoom(viewport.getZoom(now));
  return { x, y, zoom, turn: upTo360(viewport.getRotation(now)), flip: viewport.getFlip() };
}

export function goto(viewer, { x, y, zoom, turn, flip }) {
  const image = viewer.world.getItemAt(0);
  const { viewport } = viewer;
  viewport.setFlip(flip);
  viewport.setRotation(turn, true);
  viewport.zoomTo(image.imageToViewportZoom(zoom), null, true);
  viewport.panTo(image.imageToViewportCoordinates(x, y), true);
  viewport.applyConstraints(true);
}

export function upTo360(degrees) {
  return ((degrees % 360) + 360) % 360;
}
