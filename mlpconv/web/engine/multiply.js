/**
 * The matrix product that convolutions and dense layers come down to, in plain JavaScript.
 *
 * C = max(A · B + bias, floor), with A (rows, depth) and C (rows, columns) in row-major order. B (depth, columns) is
 * packed: for each panel of 8 columns, its rows one after the other. Missing columns of the last panel are zeros.
 *
 * A tile of C is written whole, up to 7 values beyond the last column. These are the first values of the next row,
 * which are computed later: panels go from right to left, and rows from first to last. So C needs 7 values of slack.
 * kernel.wat does the same with SIMD instructions.
 */

/** Columns of a panel of B. */
export const PANEL = 8;

/**
 * All arguments but the last four are offsets in the arena, in floats.
 * @typedef {(a: number, b: number, bias: number, c: number, rows: number, depth: number, columns: number,
 *   floor: number) => void} Multiply
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
  return (a, b, bias, c, rows, depth, columns, floor) => {
    // Half a panel at a time: more sums than registers would be slower.
    for (let half = Math.ceil(columns / 4) - 1; half >= 0; half--) {
      const column = half * 4;
      const panel = b + Math.floor(column / PANEL) * PANEL * depth + (column % PANEL);
      let row = 0;
      for (; row + 2 <= rows; row += 2)
        twoRows(arena, a + row * depth, panel, bias + column, c + row * columns + column, depth, columns, floor);
      if (row < rows) oneRow(arena, a + row * depth, panel, bias + column, c + row * columns + column, depth, floor);
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
 */
function twoRows(x, a, b, bias, c, depth, columns, floor) {
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
  x[c] = Math.max(s0, floor);
  x[c + 1] = Math.max(s1, floor);
  x[c + 2] = Math.max(s2, floor);
  x[c + 3] = Math.max(s3, floor);
  c += columns;
  x[c] = Math.max(t0, floor);
  x[c + 1] = Math.max(t1, floor);
  x[c + 2] = Math.max(t2, floor);
  x[c + 3] = Math.max(t3, floor);
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
 */
function oneRow(x, a, b, bias, c, depth, floor) {
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
  x[c] = Math.max(s0, floor);
  x[c + 1] = Math.max(s1, floor);
  x[c + 2] = Math.max(s2, floor);
  x[c + 3] = Math.max(s3, floor);
}
