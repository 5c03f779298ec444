// Where things lie: sums without a page.

const MAX_ZOOM = 24;
const STRIP = 2.5; // a picture so many times as long as wide is shown at full width and moved along
const MOST_ENLARGED = 2; // of a strip

// The size of a picture at zoom 1 in a frame, [width, height] both: all of it, a strip by its width.
export function fitted([width, height], [wide, high]) {
  const scale = Math.max(width, height) > STRIP * Math.min(width, height)
    ? Math.max(Math.min(wide / width, MOST_ENLARGED), Math.min(high / height, MOST_ENLARGED), Math.min(wide / width, high / height))
    : Math.min(wide / width, high / height);
  return [width * scale, height * scale];
}

// How far the middle of a picture may lie from the middle of its frame.
export const room = (size, frame, zoom) => [0, 1].map((axis) => Math.max(0, (size[axis] * zoom - frame[axis]) / 2));

// The view after a zoom by a factor, so that the place at [x, y] from the middle stays where it is.
export function zoomed(view, factor, [x, y] = [0, 0]) {
  const zoom = Math.min(Math.max(view.zoom * factor, 1), MAX_ZOOM);
  const by = zoom / view.zoom;
  return { zoom, x: x - (x - view.x) * by, y: y - (y - view.y) * by };
}

// The place of the next result: from the one that has the focus, else from the first in view.
export function nextPlace(tops, focused, step) {
  if (focused >= 0) return Math.min(Math.max(focused + step, 0), tops.length - 1);
  const inView = tops.findIndex((top) => top >= 0);
  return inView < 0 ? tops.length - 1 : inView;
}
