// Numbers as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const three = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

// "98,304 × 73,728 px"
export function pixels(slide) {
  return `${whole.format(slide.width)} × ${whole.format(slide.height)} px`;
}

// "0.25 µm/px", or both where the sides differ visibly; "" where it is not known.
export function resolution({ mpp }) {
  if (!mpp) return "";
  const [x, y] = mpp.map((side) => three.format(side));
  return x === y ? `${x} µm/px` : `${x} × ${y} µm/px`;
}

// "24.6 × 18.4 mm"; "" where it is not known.
export function extent({ width, height, mpp }) {
  if (!mpp) return "";
  return `${three.format((width * mpp[0]) / 1000)} × ${three.format((height * mpp[1]) / 1000)} mm`;
}

export function count(number, one, many) {
  return number === 1 ? `1 ${one}` : `${whole.format(number)} ${many}`;
}

export function significant(number) {
  return three.format(number);
}
