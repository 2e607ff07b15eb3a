/** Class maps drawn over pictures. */

import { contextOf } from "./dom.js";

/** @import { ClassMaps } from "../engine/classifier.js" */
/** @import { Image } from "../engine/resize.js" */

/** Red, green and blue of evidence for and against a class. */
const FOR = [202, 0, 32];
const AGAINST = [5, 113, 176];
const MAX_OPACITY = 0.8;

/** The longer side of a drawn picture in canvas pixels. */
const SIDE = 480;

/**
 * A map to draw.
 * @typedef {object} Map2D
 * @property {Float32Array} values (height, width)
 * @property {number} mean
 * @property {number} limit The absolute value, above 0, that is drawn with the highest opacity.
 */

/**
 * The map of a class before its last ReLU, and its logit.
 * @param {ClassMaps} maps
 * @param {number} label
 * @param {boolean} rectified Whether a ReLU follows the maps.
 * @returns {Map2D}
 */
export function mapOf({ values, height, width }, label, rectified) {
  const area = height * width;
  const map = values.slice(label * area, (label + 1) * area);
  const mean = map.reduce((sum, value) => sum + (rectified ? Math.max(value, 0) : value), 0) / area;
  return { values: map, mean, limit: values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1 };
}

/**
 * The map of one class minus that of another, after the last ReLU, and the difference of their logits.
 * @param {ClassMaps} maps
 * @param {number} label
 * @param {number} other
 * @param {boolean} rectified
 * @returns {Map2D}
 */
export function differenceOf({ values, height, width }, label, other, rectified) {
  const area = height * width;
  const after = (/** @type {number} */ at) => (rectified ? Math.max(values[at], 0) : values[at]);
  const map = Float32Array.from({ length: area }, (_, at) => after(label * area + at) - after(other * area + at));
  const limit = map.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;
  return { values: map, mean: map.reduce((sum, value) => sum + value, 0) / area, limit };
}

/**
 * Draw a picture, and a map over it.
 * @param {HTMLCanvasElement} canvas
 * @param {ImageBitmap | HTMLCanvasElement} picture
 * @param {boolean} invert Whether light and dark are swapped.
 * @param {{maps: ClassMaps, map: Map2D} | null} over
 */
export function drawPicture(canvas, picture, invert, over) {
  const scale = SIDE / Math.max(picture.width, picture.height);
  canvas.width = Math.max(1, Math.round(picture.width * scale));
  canvas.height = Math.max(1, Math.round(picture.height * scale));
  const context = contextOf(canvas, { willReadFrequently: true });
  context.imageSmoothingEnabled = scale < 3; // the pixels of a small picture are shown as such
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  if (invert) {
    context.globalCompositeOperation = "difference";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.globalCompositeOperation = "source-over";
  }
  if (!over) return;
  const { maps, map } = over;
  const across = interpolation(maps.columns, picture.width, canvas.width);
  const down = interpolation(maps.rows, picture.height, canvas.height);
  const layer = context.getImageData(0, 0, canvas.width, canvas.height);
  let at = 0;
  for (const row of down) {
    const [upper, lower] = [row.first * maps.width, row.second * maps.width];
    for (const column of across) {
      const above =
        map.values[upper + column.first] * (1 - column.share) + map.values[upper + column.second] * column.share;
      const below =
        map.values[lower + column.first] * (1 - column.share) + map.values[lower + column.second] * column.share;
      const value = above * (1 - row.share) + below * row.share;
      const opacity = MAX_OPACITY * Math.min(1, Math.abs(value) / map.limit);
      const color = value > 0 ? FOR : AGAINST;
      for (let k = 0; k < 3; k++) layer.data[at + k] = (1 - opacity) * layer.data[at + k] + opacity * color[k];
      at += 4;
    }
  }
  context.putImageData(layer, 0, 0);
}

/**
 * For each canvas pixel along a side, the positions of the map around it, and the share of the second one. Outside the
 * outermost positions, the map is constant.
 * @param {number[]} positions In pixels of the picture, ascending.
 * @param {number} side The picture's side.
 * @param {number} pixels The canvas's side.
 */
function interpolation(positions, side, pixels) {
  return Array.from({ length: pixels }, (_, pixel) => {
    const at = ((pixel + 0.5) * side) / pixels;
    const after = positions.findIndex((position) => position > at);
    if (after === 0) return { first: 0, second: 0, share: 0 };
    const first = (after < 0 ? positions.length : after) - 1;
    if (after < 0) return { first, second: first, share: 0 };
    return { first, second: after, share: (at - positions[first]) / (positions[after] - positions[first]) };
  });
}

/**
 * Where a map is strongest on its picture, in percent from the left and the top.
 * @param {ClassMaps} maps
 * @param {Float32Array} values
 * @param {{width: number, height: number}} picture
 */
export function strongest({ rows, columns, width }, values, picture) {
  const at = values.indexOf(values.reduce((most, value) => Math.max(most, value)));
  const share = (/** @type {number} */ position, /** @type {number} */ side) =>
    Math.round(100 * Math.min(1, Math.max(0, position / side)));
  return { x: share(columns[at % width], picture.width), y: share(rows[Math.floor(at / width)], picture.height) };
}

/**
 * Draw an image of the engine, pixel by pixel.
 * @param {HTMLCanvasElement} canvas
 * @param {Image} image
 */
export function drawImage(canvas, { values, width, height, channels }) {
  canvas.width = width;
  canvas.height = height;
  const context = contextOf(canvas);
  const pixels = context.createImageData(width, height);
  for (let from = 0, to = 0; to < pixels.data.length; from += channels, to += 4) {
    for (let k = 0; k < 3; k++) pixels.data[to + k] = values[from + (channels === 1 ? 0 : k)];
    pixels.data[to + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
}
