/**
 * Resizing images: in 8 bits bit for bit as Pillow's Image.resize, and as the bilinear resize of the network's input.
 */

/**
 * An image: values of 8 bits, (height, width, channels).
 * @typedef {object} Image
 * @property {Uint8Array} values
 * @property {number} width
 * @property {number} height
 * @property {number} channels
 */

/**
 * The weights of the pixels that a resized pixel is made of.
 * @typedef {object} Kernel
 * @property {number} first The first pixel.
 * @property {number[]} weights
 */

/** The bits after the point of Pillow's weights for 8-bit images. */
const PRECISION = 22;

/** @type {Record<string, {support: number, weight: (x: number) => number}>} */
const FILTERS = {
  box: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: { support: 2, weight: bicubic },
};

/** @param {number} x */
function bicubic(x) {
  const a = -0.5;
  x = Math.abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/**
 * The kernels of Pillow along one axis: the filter is widened where the image becomes smaller.
 * @param {number} before Number of pixels before.
 * @param {number} after Number of pixels after.
 * @param {string} filter
 * @returns {Kernel[]}
 */
function pillowKernels(before, after, filter) {
  const { support, weight } = FILTERS[filter];
  const scale = before / after;
  const wider = Math.max(scale, 1);
  return Array.from({ length: after }, (_, position) => {
    const center = (position + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support * wider + 0.5));
    const last = Math.min(before, Math.trunc(center + support * wider + 0.5));
    const weights = Array.from({ length: last - first }, (_, k) => weight((k + first - center + 0.5) * (1 / wider)));
    const sum = weights.reduce((total, each) => total + each, 0);
    const fixed = weights.map((each) => {
      const scaled = (sum ? each / sum : each) * (1 << PRECISION);
      return Math.trunc(scaled + (scaled < 0 ? -0.5 : 0.5));
    });
    return { first, weights: fixed };
  });
}

/**
 * Resize an image as Pillow does: along the rows and along the columns, each rounded to 8 bits.
 *
 * Since version 13, Pillow begins with the columns where that saves more; earlier versions always begin with the rows,
 * which differs by the rounding.
 * @param {Image} image
 * @param {number} width
 * @param {number} height
 * @param {string} [filter] box, bilinear or bicubic.
 * @returns {Image}
 */
export function resizeBytes(image, width, height, filter = "bilinear") {
  const { channels } = image;
  const columnsFirst = height < image.height && image.height - height > 2 * (image.width - width);
  for (const columns of columnsFirst ? [true, false] : [false, true]) {
    if (columns && height !== image.height) {
      const values = new Uint8Array(image.width * height * channels);
      alongColumns(image, pillowKernels(image.height, height, filter), values, rounded);
      image = { ...image, values, height };
    }
    if (!columns && width !== image.width) {
      const values = new Uint8Array(width * image.height * channels);
      alongRows(image, pillowKernels(image.width, width, filter), values, rounded);
      image = { ...image, values, width };
    }
  }
  return image;
}

/**
 * @param {number} sum In fixed point.
 */
function rounded(sum) {
  const value = (sum + (1 << (PRECISION - 1))) >> PRECISION;
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

/**
 * What a resize reads or writes: values (height, width, channels) of 8 bits, or floats.
 * @typedef {Uint8Array | Float32Array} Values
 */

/**
 * Filter an image along its rows.
 * @param {{values: Values, width: number, height: number, channels: number}} image
 * @param {Kernel[]} kernels One for each resized pixel of a row.
 * @param {Values} result Receives the values.
 * @param {(sum: number) => number} finished The value that is stored for a weighted sum.
 */
function alongRows({ values, width, height, channels }, kernels, result, finished) {
  let to = 0;
  for (let row = 0; row < height; row++) {
    for (const { first, weights } of kernels) {
      const start = (row * width + first) * channels;
      for (let channel = 0; channel < channels; channel++) {
        let sum = 0;
        for (let k = 0, at = start + channel; k < weights.length; k++, at += channels) sum += values[at] * weights[k];
        result[to++] = finished(sum);
      }
    }
  }
}

/**
 * Filter an image along its columns.
 * @param {{values: Values, width: number, channels: number}} image
 * @param {Kernel[]} kernels One for each resized pixel of a column.
 * @param {Values} result Receives the values.
 * @param {(sum: number) => number} finished The value that is stored for a weighted sum.
 */
function alongColumns({ values, width, channels }, kernels, result, finished) {
  const run = width * channels;
  kernels.forEach(({ first, weights }, row) => {
    for (let at = 0; at < run; at++) {
      let sum = 0;
      for (let k = 0, from = first * run + at; k < weights.length; k++, from += run) sum += values[from] * weights[k];
      result[row * run + at] = finished(sum);
    }
  });
}

/**
 * The kernels of the bilinear resize of the network's input along one axis; beyond the edge its value is repeated.
 * @param {number} before Number of pixels before.
 * @param {number} after Number of pixels after.
 * @param {boolean} antialias Whether making smaller widens the triangle by the scale.
 * @returns {Kernel[]}
 */
function inputKernels(before, after, antialias) {
  const scale = before / after;
  const radius = antialias ? Math.max(scale, 1) : 1;
  return Array.from({ length: after }, (_, position) => {
    const center = (position + 0.5) * scale;
    const first = Math.max(0, Math.floor(center - 0.5 - radius));
    const last = Math.min(before - 1, Math.ceil(center - 0.5 + radius));
    const weights = Array.from({ length: last - first + 1 }, (_, k) =>
      Math.max(0, 1 - Math.abs(first + k + 0.5 - center) / radius),
    );
    const sum = weights.reduce((total, each) => total + each, 0);
    return { first, weights: weights.map((each) => each / sum) };
  });
}

/**
 * Normalize an image and resize it to the network's input.
 * @param {Image} image
 * @param {Float32Array} input Receives the values, (size, size, channels).
 * @param {{size: number, antialias: boolean, mean: number[], std: number[]}} preprocess
 */
export function fillInput({ values, width, height, channels }, input, { size, antialias, mean, std }) {
  const asIs = (/** @type {number} */ sum) => sum;
  /** @type {Float32Array<ArrayBufferLike>} */
  let x = new Float32Array(values.length);
  for (let at = 0; at < x.length; at++) x[at] = (values[at] / 255 - mean[at % channels]) / std[at % channels];
  if (width !== size) {
    const narrower = new Float32Array(size * height * channels);
    alongRows({ values: x, width, height, channels }, inputKernels(width, size, antialias), narrower, asIs);
    x = narrower;
  }
  if (height === size) input.set(x);
  else alongColumns({ values: x, width: size, channels }, inputKernels(height, size, antialias), input, asIs);
}
