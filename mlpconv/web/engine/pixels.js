/** From decoded pixels to the image that a network was trained on: color, transparency and shape, as Pillow does it. */

import { resizeBytes } from "./resize.js";

/** @import { Image } from "./resize.js" */

/** @typedef {"squash" | "crop" | "pad" | "pad-border"} Fit How an image becomes a square. */

/**
 * How images become the network's input; the JSON of mlpconv's Preprocess with its defaults filled in.
 * @typedef {object} Preprocess
 * @property {number} size
 * @property {"L" | "RGB"} mode
 * @property {Fit} fit
 * @property {boolean} antialias
 * @property {number[]} mean
 * @property {number[]} std
 * @property {[number, number]} source_size (height, width) to which images of other sizes are resized first.
 * @property {number} bits
 * @property {number} max_pixels
 */

/**
 * @param {string} text The JSON, in which fields with their default value are missing.
 * @returns {Preprocess}
 */
export function readPreprocess(text) {
  const given = JSON.parse(text);
  const defaults = { mode: "L", fit: "squash", antialias: true, mean: [0], std: [1], bits: 16, max_pixels: 89478485 };
  // Trained on images of different sizes: all are resized to the size of the network's input.
  return { ...defaults, ...given, source_size: given.source_size ?? [given.size, given.size] };
}

/**
 * The image that the network was trained to see, as mlpconv's `predict` makes it from a file.
 * @param {Uint8Array | Uint8ClampedArray} rgba Decoded pixels, not premultiplied.
 * @param {number} width
 * @param {number} height
 * @param {Preprocess} preprocess
 * @param {boolean} [invert] Swap light and dark.
 * @returns {Image} Of the source size.
 */
export function readPixels(rgba, width, height, { mode, fit, source_size: [tall, wide] }, invert = false) {
  let image = convert(rgba, width, height, mode);
  if (tall === wide) image = squared(image, fit, "pillow");
  image = resizeBytes(image, wide, tall);
  if (!invert) return image;
  return { ...image, values: image.values.map((value) => 255 - value) };
}

/**
 * Composite onto white, then convert to gray or RGB.
 * @param {Uint8Array | Uint8ClampedArray} rgba
 * @param {number} width
 * @param {number} height
 * @param {"L" | "RGB"} mode
 * @returns {Image}
 */
function convert(rgba, width, height, mode) {
  const channels = mode.length;
  const values = new Uint8Array(width * height * channels);
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += channels) {
    const alpha = rgba[from + 3];
    const red = onWhite(rgba[from], alpha);
    const green = onWhite(rgba[from + 1], alpha);
    const blue = onWhite(rgba[from + 2], alpha);
    if (channels === 1) values[to] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
    else {
      values[to] = red;
      values[to + 1] = green;
      values[to + 2] = blue;
    }
  }
  return { values, width, height, channels };
}

/**
 * A value composited onto white, in the fixed point of Pillow's alpha_composite.
 * @param {number} value
 * @param {number} alpha
 */
export function onWhite(value, alpha) {
  if (alpha === 255) return value;
  const sum = value * (alpha << 7) + 255 * ((255 - alpha) << 7) + (0x80 << 7);
  return (((sum >> 8) + sum) >> 8) >> 7;
}

/**
 * The centered square of an image: cut out ("crop"), or with a border that is black ("pad") or has the color of the
 * image's own border ("pad-border").
 * @param {Image} image
 * @param {Fit} fit
 * @param {"pillow" | "numpy"} rounding Which of them places odd margins of "pad": Pillow rounds half to even.
 * @returns {Image}
 */
export function squared(image, fit, rounding) {
  const { values, width, height, channels } = image;
  if (fit === "squash" || width === height) return image;
  const side = fit === "crop" ? Math.min(width, height) : Math.max(width, height);
  const margin = (/** @type {number} */ size) => {
    const half = Math.abs(size - side) / 2;
    return fit === "pad" && rounding === "pillow" ? roundHalfToEven(half) : Math.floor(half);
  };
  const [left, top] = [margin(width), margin(height)];
  const result = new Uint8Array(side * side * channels);
  if (fit === "pad-border") {
    const color = borderColor(image);
    for (let at = 0; at < result.length; at++) result[at] = color[at % channels];
  }
  const [rows, run] = [Math.min(side, height), Math.min(side, width) * channels];
  for (let row = 0; row < rows; row++) {
    const from = fit === "crop" ? ((row + top) * width + left) * channels : row * width * channels;
    const to = fit === "crop" ? row * side * channels : ((row + top) * side + left) * channels;
    result.set(values.subarray(from, from + run), to);
  }
  return { values: result, width: side, height: side, channels };
}

/** @param {number} value */
function roundHalfToEven(value) {
  const below = Math.floor(value);
  return value - below === 0.5 ? below + (below & 1) : Math.round(value);
}

/**
 * The median of an image's outermost pixels in each channel; of an even number, the lower of the two in the middle.
 * @param {Image} image
 */
function borderColor({ values, width, height, channels }) {
  const color = new Uint8Array(channels);
  for (let k = 0; k < channels; k++) {
    const counts = new Uint32Array(256);
    let count = 0;
    eachOutermost(width, height, (pixel) => {
      counts[values[pixel * channels + k]]++;
      count++;
    });
    let [value, below] = [0, counts[0]];
    while (below <= (count - 1) >> 1) below += counts[++value];
    color[k] = value;
  }
  return color;
}

/**
 * @param {number} width
 * @param {number} height
 * @param {(pixel: number) => void} visit Called with the number of each outermost pixel, once.
 */
function eachOutermost(width, height, visit) {
  for (let row = 0; row < height; row++)
    for (let column = 0; column < width; column++)
      if (!(row && column && row < height - 1 && column < width - 1)) visit(row * width + column);
}

/**
 * The mean of an image's outermost pixels, from 0 (black) to 1 (white).
 * @param {Image} image
 */
export function background({ values, width, height, channels }) {
  let [sum, count] = [0, 0];
  eachOutermost(width, height, (pixel) => {
    for (let k = 0; k < channels; k++) sum += values[pixel * channels + k];
    count += channels;
  });
  return sum / (255 * count);
}
