/** A network as a list of operations in one block of memory, which is taken once: predictions hardly allocate any. */

import {
  RANGES,
  activation,
  affineOf,
  convolution,
  dense,
  depthwiseConvolution,
  flattening,
  globalPooling,
  normalization,
  pooling,
} from "./layers.js";
import { sizeOf } from "./network.js";
import { plainMultiply, plainWeigh } from "./products.js";

/** @import { Affine, Operation, Range, Weights } from "./layers.js" */
/** @import { Row } from "./network.js" */
/** @import { Multiply, Weigh } from "./products.js" */

/** Floats of slack after each region: see products.js. */
const SLACK = 8;
const WASM_PAGE = 1 << 16;

/**
 * The operations of a network's layers. A batch normalization becomes part of the convolution before it, and a ReLU or
 * ReLU6 part of the product before it.
 * @param {Row[]} rows
 * @param {(name: string) => Float32Array} weights The weights by full name: "block1.conv.weight".
 * @returns {Operation[]}
 */
export function operationsOf(rows, weights) {
  /** @type {Operation[]} */
  const operations = [];
  const computed = rows.filter(({ layer }) => layer.kind !== "dropout");
  for (let index = 0; index < computed.length; index++) {
    const row = computed[index];
    /** @type {Weights} */
    const own = (part) => weights(`${row.name}.${part}`);
    const nextKind = () => computed[index + 1]?.layer.kind;
    /** @returns {Range} */
    const nextRange = () => {
      const range = RANGES[nextKind()];
      index += range ? 1 : 0;
      return range ?? [-Infinity, Infinity];
    };
    switch (row.layer.kind) {
      case "conv2d": {
        /** @type {Affine | null} */
        let affine = null;
        if (nextKind() === "batch_norm2d") {
          const norm = computed[++index];
          affine = affineOf(norm.layer, (part) => weights(`${norm.name}.${part}`));
        }
        const operation = row.layer.depthwise ? depthwiseConvolution : convolution;
        operations.push(operation(row, own, affine, nextRange()));
        break;
      }
      case "linear":
        operations.push(dense(row, own, nextRange()));
        break;
      case "batch_norm2d":
        operations.push(normalization(row, affineOf(row.layer, own)));
        break;
      case "relu":
      case "relu6":
      case "sigmoid":
        operations.push(activation(row));
        break;
      case "max_pool2d":
      case "avg_pool2d":
        operations.push(pooling(row));
        break;
      case "global_avg_pool2d":
        operations.push(globalPooling(row));
        break;
      case "flatten": {
        const operation = flattening(row);
        if (operation) operations.push(operation);
        break;
      }
      default:
        throw new Error(`${row.name}: unknown kind of layer: ${row.layer.kind}`);
    }
  }
  return operations;
}

/** A network that is ready to compute. */
export class Program {
  /**
   * @param {Row[]} rows The layers.
   * @param {(name: string) => Float32Array} weights The weights by full name.
   * @param {WebAssembly.Module | null} kernel The compiled kernel.wat; null for plain JavaScript.
   */
  constructor(rows, weights, kernel) {
    this.operations = operationsOf(rows, weights);
    this.inputSize = sizeOf(rows[0].before);
    this.outputSize = sizeOf(rows[rows.length - 1].after);
    const largest = Math.max(this.inputSize, ...this.operations.map(({ output }) => output)) + SLACK;
    // Two regions in turn: an operation reads one and writes the other.
    this.regions = [0, largest];
    const scratch = 2 * largest;
    let end = scratch + Math.max(...this.operations.map((operation) => operation.scratch), 0) + SLACK;
    end += -end & 3;
    this.places = this.operations.map(({ weights }) => (end += weights) - weights);
    this.machine = { ...memoryOf(end, kernel), scratch };
    this.operations.forEach((operation, index) => operation.load(this.machine.arena, this.places[index]));
  }

  /** Where the input goes before `run`: (height, width, channels). */
  get input() {
    return this.machine.arena.subarray(this.regions[0], this.regions[0] + this.inputSize);
  }

  /**
   * Compute the output.
   * @returns {Float32Array} A view that the next `run` overwrites: (height, width, channels), or (features).
   */
  run() {
    let [from, to] = this.regions;
    this.operations.forEach((operation, index) => {
      operation.run(this.machine, this.places[index], from, to);
      if (operation.output) [from, to] = [to, from];
    });
    return this.machine.arena.subarray(from, from + this.outputSize);
  }
}

/**
 * @param {number} floats
 * @param {WebAssembly.Module | null} kernel
 * @returns {{arena: Float32Array, multiply: Multiply, weigh: Weigh}}
 */
function memoryOf(floats, kernel) {
  if (!kernel) {
    const arena = new Float32Array(floats);
    return { arena, multiply: plainMultiply(arena), weigh: plainWeigh(arena) };
  }
  const memory = new WebAssembly.Memory({ initial: Math.ceil((4 * floats) / WASM_PAGE) });
  const { exports } = new WebAssembly.Instance(kernel, { engine: { memory } });
  const [product, sum] = [/** @type {Multiply} */ (exports.multiply), /** @type {Weigh} */ (exports.weigh)];
  return {
    arena: new Float32Array(memory.buffer),
    multiply: (a, b, bias, c, rows, depth, columns, floor, ceiling) =>
      product(4 * a, 4 * b, 4 * bias, 4 * c, rows, depth, columns, floor, ceiling),
    weigh: (window, weights, bias, output, lines, across, windowStep, weightsStep, channels, floor, ceiling) =>
      sum(
        4 * window,
        4 * weights,
        4 * bias,
        4 * output,
        lines,
        across,
        4 * windowStep,
        4 * weightsStep,
        channels,
        floor,
        ceiling,
      ),
  };
}
