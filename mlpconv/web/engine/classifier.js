/** A trained network in use: from the pixels of an image to probabilities and class maps. */

import { classMapsOf, gridOf, rowsOf } from "./network.js";
import { background, readPixels, readPreprocess, squared } from "./pixels.js";
import { Program } from "./program.js";
import { fillInput } from "./resize.js";
import { readTensors } from "./tensors.js";

/** @import { Image } from "./resize.js" */
/** @import { Fit, Preprocess } from "./pixels.js" */

/**
 * @typedef {object} ClassMaps
 * @property {Float32Array} values (classes, height, width), before a last ReLU.
 * @property {number} height
 * @property {number} width
 * @property {number[]} rows The vertical positions on the picture, in its pixels.
 * @property {number[]} columns The horizontal positions on the picture.
 */

/**
 * @typedef {object} Answer
 * @property {Float32Array} logits
 * @property {Float32Array} probabilities
 * @property {ClassMaps | null} maps
 * @property {Image} seen What the network received, before it was resized to its input.
 * @property {boolean} looksInverted Whether the picture is dark on light and the training images are not, or reverse.
 */

/** A classifier from its file. */
export class Classifier {
  /**
   * @param {Uint8Array<ArrayBuffer>} bytes The content of a classifier file (.safetensors).
   * @param {WebAssembly.Module | null} [kernel] The compiled kernel.wat; null for plain JavaScript.
   */
  constructor(bytes, kernel = null) {
    const { texts, tensors } = readTensors(bytes);
    const text = (/** @type {string} */ name) => texts.get(`mlpconv.${name}`);
    const rows = rowsOf(JSON.parse(/** @type {string} */ (text("network"))));
    /** @type {string[]} */
    this.classNames = JSON.parse(/** @type {string} */ (text("class_names")));
    /** @type {Preprocess} */
    this.preprocess = readPreprocess(/** @type {string} */ (text("preprocess")));
    const stored = text("background");
    /** @type {number | null} */
    this.background = stored === undefined ? null : Number(stored);
    const maps = classMapsOf(rows);
    /** Whether a ReLU follows the class maps; null if the network has none. */
    this.rectified = maps ? maps.rectified : null;
    const used = maps ? rows.slice(0, maps.count) : rows;
    this.grid = gridOf(used);
    this.mapShape = used[used.length - 1].after;
    const weights = (/** @type {string} */ name) => {
      const tensor = tensors.get(name);
      if (!tensor) throw new Error(`${name}: the classifier has no such weights`);
      return tensor;
    };
    this.program = new Program(used, weights, kernel);
  }

  /**
   * Classify a picture.
   * @param {{values: Uint8Array | Uint8ClampedArray, width: number, height: number}} picture RGBA, not premultiplied.
   * @param {boolean} [invert] Swap light and dark first.
   * @returns {Answer}
   * @throws {Error} The outputs are not finite: the weights are damaged.
   */
  classify({ values, width, height }, invert = false) {
    const seen = readPixels(values, width, height, this.preprocess, invert);
    return {
      ...this.classifyImage(seen),
      ...this.placed(width, height),
      seen,
      looksInverted: this.looksInverted(seen),
    };
  }

  /** @private @type {Float32Array | null} */
  lastMaps = null;

  /**
   * Classify an image as the network was trained on: gray or RGB, of any size.
   * @param {Image} image
   * @returns {{logits: Float32Array, probabilities: Float32Array}}
   */
  classifyImage(image) {
    fillInput(squared(image, this.preprocess.fit, "numpy"), this.program.input, this.preprocess);
    const output = this.program.run();
    const logits = this.rectified === null ? output.slice() : this.readMaps(output);
    if (!logits.every(Number.isFinite))
      throw new Error("the network's outputs are not finite; its weights are damaged");
    return { logits, probabilities: softmax(logits) };
  }

  /**
   * Keep the class maps and compute the logits from them.
   * @private
   * @param {Float32Array} output (height, width, classes)
   */
  readMaps(output) {
    const [classes, height, width] = this.mapShape;
    const area = height * width;
    const maps = new Float32Array(output.length);
    const logits = new Float32Array(classes);
    for (let label = 0; label < classes; label++) {
      let sum = 0;
      for (let at = 0; at < area; at++) {
        const value = output[at * classes + label];
        maps[label * area + at] = value;
        sum += this.rectified ? Math.max(value, 0) : value;
      }
      logits[label] = sum / area;
    }
    this.lastMaps = maps;
    return logits;
  }

  /**
   * The class maps of the last image, placed on the picture that it was made from.
   * @private
   * @param {number} width
   * @param {number} height
   * @returns {{maps: ClassMaps | null}}
   */
  placed(width, height) {
    if (!this.lastMaps) return { maps: null };
    const [, tall, wide] = this.mapShape;
    const { first, stride } = this.grid;
    const { size, fit, source_size: source } = this.preprocess;
    const picture = [height, width];
    const along = (/** @type {0 | 1} */ axis, /** @type {number} */ count) =>
      Array.from({ length: count }, (_, position) => {
        let at = (first[axis] + stride[axis] * position) / size;
        // The picture was made square at once if the source size is square, else after it was resized.
        if (source[0] === source[1]) return onSide(at, picture, axis, fit);
        at = onSide(at, source, axis, fit) / source[axis];
        return at * picture[axis];
      });
    return {
      maps: { values: this.lastMaps, height: tall, width: wide, rows: along(0, tall), columns: along(1, wide) },
    };
  }

  /**
   * @private
   * @param {Image} image
   */
  looksInverted(image) {
    return this.background !== null && Math.abs(background(image) - this.background) > 0.5;
  }
}

/**
 * A position in pixels along a side of a picture, from its share of the side of what was made square.
 * @param {number} share
 * @param {number[]} picture (height, width)
 * @param {0 | 1} axis
 * @param {Fit} fit
 */
function onSide(share, picture, axis, fit) {
  const side = fit === "squash" ? picture[axis] : fit === "crop" ? Math.min(...picture) : Math.max(...picture);
  return share * side - (side - picture[axis]) / 2;
}

/**
 * @param {Float32Array} logits
 * @returns {Float32Array}
 */
export function softmax(logits) {
  const highest = logits.reduce((a, b) => Math.max(a, b));
  const powers = logits.map((value) => Math.exp(value - highest));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((value) => value / sum);
}
