/**
 * The layers as operations on one arena of floats, in evaluation mode.
 *
 * A map is stored position by position, with its channels together: (height, width, channels). So a 1×1 convolution,
 * of which a Network in Network has most, is one matrix product of the map as it is.
 */

import { sizeOf, windowsOf } from "./network.js";
import { PANEL, biasOffset, pack, packedSize } from "./products.js";

/** @import { Layer, Row, Shape, Windows } from "./network.js" */
/** @import { Multiply, Weigh } from "./products.js" */

/** The floats of a block of windows that are laid out for one product: about what a second-level cache holds. */
const BLOCK = 1 << 16;

/**
 * What an operation needs in the arena, and what it does there.
 * @typedef {object} Operation
 * @property {number} weights The floats of its weights.
 * @property {number} scratch The floats that it needs while it runs.
 * @property {number} output The floats of its output; 0 if it replaces its input.
 * @property {(arena: Float32Array, at: number) => void} load Store the weights.
 * @property {(machine: Machine, at: number, input: number, output: number) => void} run
 */

/**
 * @typedef {object} Machine
 * @property {Float32Array} arena
 * @property {Multiply} multiply
 * @property {Weigh} weigh
 * @property {number} scratch Where operations have their scratch space.
 */

/** @typedef {[floor: number, ceiling: number]} Range What an activation limits values to. */

/** @type {Record<string, Range>} The activations that limit values, which products do by the way. */
export const RANGES = { relu: [0, Infinity], relu6: [0, 6] };

/** @typedef {(part: string) => Float32Array} Weights The weights of a layer by name, such as "weight". */

/**
 * The scale and shift of each channel that a batch normalization is.
 * @typedef {object} Affine
 * @property {Float64Array} scale
 * @property {Float64Array} shift
 */

const nothing = () => {};

/**
 * @param {Layer} layer
 * @param {Weights} weights
 * @returns {Affine}
 */
export function affineOf({ eps = 1e-5 }, weights) {
  const [gain, bias, mean, variance] = ["weight", "bias", "running_mean", "running_var"].map(weights);
  const scale = Float64Array.from(gain, (value, k) => value / Math.sqrt(variance[k] + eps));
  return { scale, shift: scale.map((value, k) => bias[k] - mean[k] * value) };
}

/**
 * A convolution, with the batch normalization that follows it, if any, and the range of the activation that does.
 * @param {Row} row
 * @param {Weights} weights
 * @param {Affine | null} affine
 * @param {Range} range
 * @returns {Operation}
 */
export function convolution({ layer, before, after }, weights, affine, range) {
  const windows = windowsOf(layer);
  const [channels, height, width] = before;
  const [columns, rows, across] = after;
  const [kernelRows, kernelColumns] = windows.kernel;
  const depth = kernelRows * kernelColumns * channels;
  const count = rows * across;
  const direct = depth === channels && windows.stride.every((s) => s === 1) && windows.padding.every((p) => p === 0);
  const block = Math.min(count, Math.max(4, Math.floor(BLOCK / depth) & ~3));
  const biasAt = biasOffset(columns, depth);
  return {
    weights: packedSize(columns, depth),
    scratch: direct ? 0 : block * depth,
    output: count * columns,
    load(arena, at) {
      const [kernel, offset] = [weights("weight"), layer.bias === false ? null : weights("bias")];
      const area = kernelRows * kernelColumns;
      // From (out, in, height, width) to (height, width, in) for each output channel.
      const weight = (/** @type {number} */ column, /** @type {number} */ k) => {
        const channel = k % channels;
        return (
          kernel[(column * channels + channel) * area + (k - channel) / channels] * (affine ? affine.scale[column] : 1)
        );
      };
      const bias = (/** @type {number} */ column) =>
        (offset ? offset[column] : 0) * (affine ? affine.scale[column] : 1) + (affine ? affine.shift[column] : 0);
      pack(arena, at, weight, bias, columns, depth);
    },
    run({ arena, multiply, scratch }, at, input, output) {
      if (direct) {
        multiply(input, at, at + biasAt, output, count, depth, columns, ...range);
        return;
      }
      for (let first = 0; first < count; first += block) {
        const many = Math.min(block, count - first);
        layOut(arena, input, scratch, first, many, across, [channels, height, width], windows);
        multiply(scratch, at, at + biasAt, output + first * columns, many, depth, columns, ...range);
      }
    },
  };
}

/**
 * A depthwise convolution, with the batch normalization that follows it, if any, and the range of the activation.
 * @param {Row} row
 * @param {Weights} weights
 * @param {Affine | null} affine
 * @param {Range} range
 * @returns {Operation}
 */
export function depthwiseConvolution({ layer, before, after: [, rows, across] }, weights, affine, range) {
  const { kernel, stride, padding } = windowsOf(layer);
  const [channels, height, width] = before;
  const area = kernel[0] * kernel[1];
  return {
    weights: (area + 1) * channels + PANEL,
    scratch: 0,
    output: rows * across * channels,
    load(arena, at) {
      const [values, offset] = [weights("weight"), layer.bias === false ? null : weights("bias")];
      for (let k = 0; k < channels; k++) {
        const scale = affine ? affine.scale[k] : 1;
        // From (channels, height, width) to (height, width, channels), and then the bias.
        for (let tap = 0; tap < area; tap++) arena[at + tap * channels + k] = values[k * area + tap] * scale;
        arena[at + area * channels + k] = (offset ? offset[k] : 0) * scale + (affine ? affine.shift[k] : 0);
      }
    },
    run({ weigh }, at, input, output) {
      const biasAt = at + area * channels;
      const [windowStep, weightsStep] = [width * channels, kernel[1] * channels];
      for (let row = 0; row < rows; row++) {
        const top = row * stride[0] - padding[0];
        const line = Math.max(top, 0);
        const lines = Math.max(Math.min(top + kernel[0], height) - line, 0);
        for (let column = 0; column < across; column++, output += channels) {
          const left = column * stride[1] - padding[1];
          const first = Math.max(left, 0);
          const many = Math.max(Math.min(left + kernel[1], width) - first, 0);
          const window = input + (line * width + first) * channels;
          const taps = at + ((line - top) * kernel[1] + (first - left)) * channels;
          weigh(window, taps, biasAt, output, lines, many, windowStep, weightsStep, channels, ...range);
        }
      }
    },
  };
}

/**
 * Lay out windows as the rows of a matrix: (windows, kernel rows, kernel columns, channels), with zeros as padding.
 * @param {Float32Array} arena
 * @param {number} input
 * @param {number} to
 * @param {number} first The first window.
 * @param {number} many The number of windows.
 * @param {number} across The number of windows side by side.
 * @param {Shape} before
 * @param {Windows} windows
 */
function layOut(arena, input, to, first, many, across, [channels, height, width], { kernel, stride, padding }) {
  const run = kernel[1] * channels;
  for (let window = first; window < first + many; window++) {
    const top = Math.floor(window / across) * stride[0] - padding[0];
    const left = (window % across) * stride[1] - padding[1];
    const [from, until] = [Math.max(0, -left), Math.min(kernel[1], width - left)];
    for (let line = top; line < top + kernel[0]; line++, to += run) {
      if (line < 0 || line >= height || from >= until) {
        arena.fill(0, to, to + run);
        continue;
      }
      const source = input + (line * width + left) * channels;
      for (let k = 0; k < from * channels; k++) arena[to + k] = 0;
      for (let k = from * channels; k < until * channels; k++) arena[to + k] = arena[source + k];
      for (let k = until * channels; k < run; k++) arena[to + k] = 0;
    }
  }
}

/**
 * A dense layer, with the range of the activation that follows it.
 * @param {Row} row
 * @param {Weights} weights
 * @param {Range} range
 * @returns {Operation}
 */
export function dense({ layer, before: [depth], after: [columns] }, weights, range) {
  const biasAt = biasOffset(columns, depth);
  return {
    weights: packedSize(columns, depth),
    scratch: 0,
    output: columns,
    load(arena, at) {
      const [matrix, offset] = [weights("weight"), layer.bias === false ? null : weights("bias")];
      const bias = (/** @type {number} */ column) => (offset ? offset[column] : 0);
      pack(arena, at, (column, k) => matrix[column * depth + k], bias, columns, depth);
    },
    run({ multiply }, at, input, output) {
      multiply(input, at, at + biasAt, output, 1, depth, columns, ...range);
    },
  };
}

/**
 * A max or average pooling.
 * @param {Row} row
 * @returns {Operation}
 */
export function pooling({ layer, before: [channels, height, width], after: [, rows, columns] }) {
  const { kernel, stride, padding } = windowsOf(layer);
  const average = layer.kind === "avg_pool2d";
  const margin = layer.count_include_pad === false ? [0, 0] : padding;
  return {
    weights: 0,
    scratch: 0,
    output: channels * rows * columns,
    load: nothing,
    run({ arena }, _, input, output) {
      for (let row = 0; row < rows; row++) {
        const top = row * stride[0] - padding[0];
        const [firstLine, lastLine] = [Math.max(top, 0), Math.min(top + kernel[0], height)];
        const tall = Math.min(top + kernel[0], height + margin[0]) - Math.max(top, -margin[0]);
        for (let column = 0; column < columns; column++, output += channels) {
          const left = column * stride[1] - padding[1];
          const [first, last] = [Math.max(left, 0), Math.min(left + kernel[1], width)];
          // What extends over the padded map does not count.
          const wide = Math.min(left + kernel[1], width + margin[1]) - Math.max(left, -margin[1]);
          arena.fill(average ? 0 : -Infinity, output, output + channels);
          for (let line = firstLine; line < lastLine; line++) {
            for (let x = first; x < last; x++) {
              const source = input + (line * width + x) * channels;
              if (average) for (let k = 0; k < channels; k++) arena[output + k] += arena[source + k];
              else
                for (let k = 0; k < channels; k++) arena[output + k] = Math.max(arena[output + k], arena[source + k]);
            }
          }
          if (average) for (let k = 0; k < channels; k++) arena[output + k] /= tall * wide;
        }
      }
    },
  };
}

/**
 * A global average pooling.
 * @param {Row} row
 * @returns {Operation}
 */
export function globalPooling({ before: [channels, height, width] }) {
  const area = height * width;
  return {
    weights: 0,
    scratch: 0,
    output: channels,
    load: nothing,
    run({ arena }, _, input, output) {
      for (let k = 0; k < channels; k++) {
        let sum = 0;
        for (let at = input + k; at < input + area * channels; at += channels) sum += arena[at];
        arena[output + k] = sum / area;
      }
    },
  };
}

/**
 * From (height, width, channels) to (channels · height · width), the order of the weights of dense layers.
 * @param {Row} row
 * @returns {Operation | null} Null if both orders are the same.
 */
export function flattening({ before }) {
  const [channels, height = 1, width = 1] = before;
  const area = height * width;
  if (area === 1 || channels === 1) return null;
  return {
    weights: 0,
    scratch: 0,
    output: channels * area,
    load: nothing,
    run({ arena }, _, input, output) {
      for (let k = 0; k < channels; k++)
        for (let at = 0; at < area; at++) arena[output + k * area + at] = arena[input + at * channels + k];
    },
  };
}

/**
 * A batch normalization that does not follow a convolution.
 * @param {Row} row
 * @param {Affine} affine
 * @returns {Operation}
 */
export function normalization({ before }, { scale, shift }) {
  const [channels, size] = [before[0], sizeOf(before)];
  return inPlace((arena, input) => {
    for (let at = 0; at < size; at++)
      arena[input + at] = arena[input + at] * scale[at % channels] + shift[at % channels];
  });
}

/**
 * A ReLU, ReLU6 or sigmoid that does not follow a product.
 * @param {Row} row
 * @returns {Operation}
 */
export function activation({ layer, before }) {
  const size = sizeOf(before);
  if (layer.kind === "sigmoid")
    return inPlace((arena, input) => {
      for (let at = input; at < input + size; at++) arena[at] = 1 / (1 + Math.exp(-arena[at]));
    });
  const [floor, ceiling] = RANGES[layer.kind];
  return inPlace((arena, input) => {
    for (let at = input; at < input + size; at++) arena[at] = Math.min(Math.max(arena[at], floor), ceiling);
  });
}

/**
 * @param {(arena: Float32Array, input: number) => void} change
 * @returns {Operation}
 */
function inPlace(change) {
  return { weights: 0, scratch: 0, output: 0, load: nothing, run: ({ arena }, _, input) => change(arena, input) };
}
