// What the server is asked: addresses of it, and its JSON. Draws nothing.

export class Failure extends Error {
  // status 0: no answer at all.
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function get(address, signal) {
  let response;
  try {
    response = await fetch(address, { headers: { accept: "application/json" }, cache: "no-cache", signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(0, "The server does not answer.");
  }
  const said = await response.json().catch(() => null);
  if (!response.ok || said === null) {
    throw new Failure(response.status, said?.message ?? `The server answered ${response.status}.`);
  }
  return said;
}

// One page of slides: {slides, next}.
export function slides({ q = "", after = "", limit }, signal) {
  const query = new URLSearchParams({ limit });
  if (q) query.set("q", q);
  if (after) query.set("after", after);
  return get(`/api/slides?${query}`, signal);
}

// name: an id or a key, percent-encoded as in an address.
export function slide(name) {
  return get(`/api/slides/${name}`);
}

// The version takes a replaced slide past every cache.
export function thumbnail(slide, width, height) {
  return `/slides/${slide.id}/thumbnail.jpg?width=${width}&height=${height}&v=${slide.version}`;
}

export function deepzoom(slide) {
  return `/deepzoom/${slide.id}.dzi?v=${slide.version}`;
}

export function page(slide) {
  return `/view/${slide.id}`;
}
