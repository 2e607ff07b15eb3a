/**
 * What convolutions and dense layers come down to, in plain JavaScript. kernel.wat does the same with SIMD instructions.
 *
 * The matrix product is C = A · B + bias, limited to a range, with A (rows, depth) and C (rows, columns) in row-major
 * order. B (depth, columns) is packed: for each panel of 8 columns, its rows one after the other. Missing columns of
 * the last panel are zeros.
 *
 * A tile of C is written whole, up to 7 values beyond the last column. These are the first values of the next row,
 * which are computed later: panels go from right to left, and rows from first to last. So C needs 7 values of slack.
 * The same holds for the channels of a depthwise convolution, whose weights are also read 7 values beyond the end.
 */

/** Columns of a panel of B. */
export const PANEL = 8;

/**
 * The product. The first four arguments are offsets in the arena, in floats.
 * @typedef {(a: number, b: number, bias: number, c: number, rows: number, depth: number, columns: number,
 *   floor: number, ceiling: number) => void} Multiply
 */

/**
 * One position of a depthwise convolution: the sum, for each channel, of the products of a window and its weights, and
 * the bias, limited to a range. The window has `lines` lines of `across` positions; a step is from a line to the next.
 * The first four arguments are offsets in the arena; they and the steps are in floats.
 * @typedef {(window: number, weights: number, bias: number, output: number, lines: number, across: number,
 *   windowStep: number, weightsStep: number, channels: number, floor: number, ceiling: number) => void} Weigh
 */

/**
 * Pack the transposed weights (columns, depth) and the bias of a product.
 * @param {Float32Array} arena
 * @param {number} at Where the packed matrix begins; the bias follows.
 * @param {(column: number, depth: number) => number} weight
 * @param {(column: number) => number} bias
 * @param {number} columns
 * @param {number} depth
 */
export function pack(arena, at, weight, bias, columns, depth) {
  const biasAt = at + biasOffset(columns, depth);
  for (let column = 0; column < columns; column++) {
    const first = at + Math.floor(column / PANEL) * PANEL * depth + (column % PANEL);
    for (let k = 0; k < depth; k++) arena[first + k * PANEL] = weight(column, k);
    arena[biasAt + column] = bias(column);
  }
}

/**
 * The floats of a packed matrix, which its bias follows.
 * @param {number} columns
 * @param {number} depth
 */
export function biasOffset(columns, depth) {
  return Math.ceil(columns / PANEL) * PANEL * depth;
}

/**
 * The floats that a packed matrix and its bias take.
 * @param {number} columns
 * @param {number} depth
 */
export function packedSize(columns, depth) {
  return biasOffset(columns, depth + 1);
}

/**
 * The product in plain JavaScript.
 * @param {Float32Array} arena
 * @returns {Multiply}
 */
export function plainMultiply(arena) {
  return (a, b, bias, c, rows, depth, columns, floor, ceiling) => {
    // Half a panel at a time: more sums than registers would be slower.
    for (let half = Math.ceil(columns / 4) - 1; half >= 0; half--) {
      const column = half * 4;
      const panel = b + Math.floor(column / PANEL) * PANEL * depth + (column % PANEL);
      let row = 0;
      for (; row + 2 <= rows; row += 2)
        twoRows(
          arena,
          a + row * depth,
          panel,
          bias + column,
          c + row * columns + column,
          depth,
          columns,
          floor,
          ceiling,
        );
      if (row < rows)
        oneRow(arena, a + row * depth, panel, bias + column, c + row * columns + column, depth, floor, ceiling);
    }
  };
}

/**
 * Two rows of four columns.
 * @param {Float32Array} x The arena.
 * @param {number} a
 * @param {number} b
 * @param {number} bias
 * @param {number} c
 * @param {number} depth
 * @param {number} columns
 * @param {number} floor
 * @param {number} ceiling
 */
function twoRows(x, a, b, bias, c, depth, columns, floor, ceiling) {
  let s0 = x[bias],
    s1 = x[bias + 1],
    s2 = x[bias + 2],
    s3 = x[bias + 3];
  let t0 = s0,
    t1 = s1,
    t2 = s2,
    t3 = s3;
  const below = a + depth;
  for (let k = 0; k < depth; k++, b += PANEL) {
    const upper = x[a + k],
      lower = x[below + k];
    const w0 = x[b],
      w1 = x[b + 1],
      w2 = x[b + 2],
      w3 = x[b + 3];
    s0 += upper * w0;
    s1 += upper * w1;
    s2 += upper * w2;
    s3 += upper * w3;
    t0 += lower * w0;
    t1 += lower * w1;
    t2 += lower * w2;
    t3 += lower * w3;
  }
  x[c] = Math.min(Math.max(s0, floor), ceiling);
  x[c + 1] = Math.min(Math.max(s1, floor), ceiling);
  x[c + 2] = Math.min(Math.max(s2, floor), ceiling);
  x[c + 3] = Math.min(Math.max(s3, floor), ceiling);
  c += columns;
  x[c] = Math.min(Math.max(t0, floor), ceiling);
  x[c + 1] = Math.min(Math.max(t1, floor), ceiling);
  x[c + 2] = Math.min(Math.max(t2, floor), ceiling);
  x[c + 3] = Math.min(Math.max(t3, floor), ceiling);
}

/**
 * One row of four columns.
 * @param {Float32Array} x The arena.
 * @param {number} a
 * @param {number} b
 * @param {number} bias
 * @param {number} c
 * @param {number} depth
 * @param {number} floor
 * @param {number} ceiling
 */
function oneRow(x, a, b, bias, c, depth, floor, ceiling) {
  let s0 = x[bias],
    s1 = x[bias + 1],
    s2 = x[bias + 2],
    s3 = x[bias + 3];
  for (let k = 0; k < depth; k++, b += PANEL) {
    const value = x[a + k];
    s0 += value * x[b];
    s1 += value * x[b + 1];
    s2 += value * x[b + 2];
    s3 += value * x[b + 3];
  }
  x[c] = Math.min(Math.max(s0, floor), ceiling);
  x[c + 1] = Math.min(Math.max(s1, floor), ceiling);
  x[c + 2] = Math.min(Math.max(s2, floor), ceiling);
  x[c + 3] = Math.min(Math.max(s3, floor), ceiling);
}

/**
 * One position of a depthwise convolution in plain JavaScript.
 * @param {Float32Array} arena
 * @returns {Weigh}
 */
export function plainWeigh(arena) {
  return (window, weights, bias, output, lines, across, windowStep, weightsStep, channels, floor, ceiling) => {
    // Four channels at a time: more sums than registers would be slower.
    for (let k = 0; k < channels; k += 4) {
      let s0 = arena[bias + k],
        s1 = arena[bias + k + 1],
        s2 = arena[bias + k + 2],
        s3 = arena[bias + k + 3];
      for (let line = 0; line < lines; line++) {
        let v = window + line * windowStep + k;
        let w = weights + line * weightsStep + k;
        for (let x = 0; x < across; x++, v += channels, w += channels) {
          s0 += arena[v] * arena[w];
          s1 += arena[v + 1] * arena[w + 1];
          s2 += arena[v + 2] * arena[w + 2];
          s3 += arena[v + 3] * arena[w + 3];
        }
      }
      arena[output + k] = Math.min(Math.max(s0, floor), ceiling);
      arena[output + k + 1] = Math.min(Math.max(s1, floor), ceiling);
      arena[output + k + 2] = Math.min(Math.max(s2, floor), ceiling);
      arena[output + k + 3] = Math.min(Math.max(s3, floor), ceiling);
    }
  };
}
