/** A network from its JSON: its layers in order with their shapes, and where its class maps are. */

/** @typedef {number[]} Shape (channels, height, width) of a map, or (features) of a flat vector. */
/** @typedef {number | [number, number]} Size One number for squares, or (height, width). */

/**
 * A layer as the JSON has it; fields with their default value are missing.
 * @typedef {object} Layer
 * @property {string} kind
 * @property {number} [out_channels]
 * @property {number} [out_features]
 * @property {Size} [kernel_size]
 * @property {Size} [stride]
 * @property {Size} [padding]
 * @property {boolean} [bias]
 * @property {boolean} [depthwise]
 * @property {boolean} [ceil_mode]
 * @property {boolean} [count_include_pad]
 * @property {number} [eps]
 */

/**
 * @typedef {object} Network
 * @property {string} name
 * @property {number} input_channels
 * @property {[number, number]} input_size
 * @property {Record<string, any>} layers Layers, and blocks of layers, by name.
 */

/**
 * A layer in its network.
 * @typedef {object} Row
 * @property {string} name The full name: "block1.conv".
 * @property {Layer} layer
 * @property {Shape} before The shape of its input.
 * @property {Shape} after The shape of its output.
 */

/**
 * @typedef {object} Windows
 * @property {[number, number]} kernel (height, width)
 * @property {[number, number]} stride
 * @property {[number, number]} padding
 */

/** The kinds of layers that the engine computes. */
export const KINDS = [
  "conv2d",
  "batch_norm2d",
  "relu",
  "relu6",
  "sigmoid",
  "max_pool2d",
  "avg_pool2d",
  "dropout",
  "global_avg_pool2d",
  "flatten",
  "linear",
];

/**
 * The number of values of a shape.
 * @param {Shape} shape
 */
export function sizeOf(shape) {
  return shape.reduce((product, side) => product * side, 1);
}

/**
 * @param {Size} size
 * @returns {[number, number]}
 */
function pair(size) {
  return typeof size === "number" ? [size, size] : size;
}

/**
 * The windows of a convolution or pooling.
 * @param {Layer} layer
 * @returns {Windows}
 */
export function windowsOf({ kernel_size = 1, stride = 1, padding = 0 }) {
  return { kernel: pair(kernel_size), stride: pair(stride), padding: pair(padding) };
}

/**
 * Every layer in order, with its shapes.
 * @param {Network} network
 * @returns {Row[]}
 * @throws {Error} A layer is of a kind that the engine lacks.
 */
export function rowsOf(network) {
  /** @type {Row[]} */
  const rows = [];
  /** @type {Shape} */
  let shape = [network.input_channels, ...network.input_size];
  const add = (/** @type {string} */ name, /** @type {Layer} */ layer) => {
    const after = outputShape(name, layer, shape);
    rows.push({ name, layer, before: shape, after });
    shape = after;
  };
  for (const [name, value] of Object.entries(network.layers)) {
    if (typeof value.kind === "string") add(name, value);
    else for (const [part, layer] of Object.entries(value)) add(`${name}.${part}`, layer);
  }
  return rows;
}

/**
 * @param {string} name
 * @param {Layer} layer
 * @param {Shape} before
 * @returns {Shape}
 */
function outputShape(name, layer, before) {
  switch (layer.kind) {
    case "conv2d":
      return [/** @type {number} */ (layer.out_channels), ...positions(layer, before)];
    case "max_pool2d":
    case "avg_pool2d":
      return [before[0], ...positions(layer, before)];
    case "global_avg_pool2d":
      return [before[0], 1, 1];
    case "flatten":
      return [sizeOf(before)];
    case "linear":
      return [/** @type {number} */ (layer.out_features)];
    case "batch_norm2d":
    case "relu":
    case "relu6":
    case "sigmoid":
    case "dropout":
      return before;
    default:
      throw new Error(`${name}: unknown kind of layer: ${layer.kind}`);
  }
}

/**
 * The rows and columns of windows on a map.
 * @param {Layer} layer
 * @param {Shape} before
 * @returns {[number, number]}
 */
function positions(layer, before) {
  const { kernel, stride, padding } = windowsOf(layer);
  const along = (/** @type {0 | 1} */ axis) => {
    const size = before[axis + 1];
    const free = size + 2 * padding[axis] - kernel[axis];
    if (!layer.ceil_mode) return Math.floor(free / stride[axis]) + 1;
    const count = Math.ceil(free / stride[axis]) + 1;
    // A window that would start in the padding after the map holds no pixel, so it is dropped.
    return (count - 1) * stride[axis] >= size + padding[axis] ? count - 1 : count;
  };
  return [along(0), along(1)];
}

/**
 * Where a network's class maps are: the layers before its GlobalAvgPool2d and Flatten, without a last ReLU.
 * @param {Row[]} rows
 * @returns {{count: number, rectified: boolean} | null} The number of layers up to the maps, and whether a ReLU
 *   follows them: then a logit is the mean of the ReLU of its map, else the mean of its map. Null without class maps.
 */
export function classMapsOf(rows) {
  const [pool, flatten] = rows.slice(-2).map(({ layer }) => layer.kind);
  let count = rows.length - 2;
  if (pool !== "global_avg_pool2d" || flatten !== "flatten" || !count) return null;
  while (count > 1 && ["relu", "dropout"].includes(rows[count - 1].layer.kind)) count--;
  return { count, rectified: rows.slice(count, -2).some(({ layer }) => layer.kind === "relu") };
}

/**
 * The centers of a map's positions on the network's input: pixel i extends from i to i + 1.
 * @param {Row[]} rows The layers up to the map.
 * @returns {{first: [number, number], stride: [number, number]}} (vertical, horizontal) in pixels.
 */
export function gridOf(rows) {
  /** @type {[number, number]} */
  const first = [0.5, 0.5];
  /** @type {[number, number]} */
  const step = [1, 1];
  for (const { layer } of rows) {
    if (layer.kernel_size === undefined) continue;
    const { kernel, stride, padding } = windowsOf(layer);
    for (const axis of /** @type {const} */ ([0, 1])) {
      first[axis] += ((kernel[axis] - 1) / 2 - padding[axis]) * step[axis];
      step[axis] *= stride[axis];
    }
  }
  return { first, stride: step };
}
