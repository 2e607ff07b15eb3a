/** The engine in a worker, so that the page stays responsive; or in the page itself where no worker can be started. */

import { Classifier } from "../engine/classifier.js";
import { decodeBase64 } from "../engine/tensors.js";

/** @import { Answer } from "../engine/classifier.js" */

/**
 * @typedef {object} Load
 * @property {"load"} kind
 * @property {string} classifier The classifier file in base64.
 * @property {string} kernel The assembled kernel.wat in base64.
 */

/**
 * @typedef {object} Classify
 * @property {"classify"} kind
 * @property {{values: Uint8ClampedArray, width: number, height: number}} picture RGBA.
 * @property {boolean} invert
 */

/** @type {Promise<Classifier> | null} */
let loaded = null;

/**
 * Answer a request.
 * @param {Load | Classify} request
 * @returns {Promise<Answer | null>} Null for "load".
 */
export async function respond(request) {
  if (request.kind === "load") {
    const bytes = decodeBase64(request.classifier);
    loaded = compiled(request.kernel).then((kernel) => new Classifier(bytes, kernel));
    await loaded;
    return null;
  }
  if (!loaded) throw new Error("no network was loaded");
  return (await loaded).classify(request.picture, request.invert);
}

/**
 * The compiled kernel; null where WebAssembly or its SIMD instructions are missing or forbidden.
 * @param {string} kernel
 */
async function compiled(kernel) {
  try {
    return await WebAssembly.compile(decodeBase64(kernel));
  } catch {
    return null;
  }
}

/** Answer the requests that a page sends to this worker. */
export function serve() {
  addEventListener("message", async ({ data: { id, request } }) => {
    try {
      postMessage({ id, answer: await respond(request) });
    } catch (error) {
      postMessage({ id, error: error instanceof Error ? error.message : String(error) });
    }
  });
}

/**
 * Start the engine.
 * @param {string} program The text of this script, which the worker runs too.
 * @returns {(request: Load | Classify) => Promise<Answer | null>}
 */
export function startEngine(program) {
  /** @type {Worker} */
  let worker;
  const address = URL.createObjectURL(new Blob([program], { type: "text/javascript" }));
  try {
    worker = new Worker(address);
  } catch {
    return respond;
  } finally {
    // The worker has been given its address; it keeps what it loads.
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  }
  let last = 0;
  /** @typedef {{request: Load | Classify, resolve: (answer: Answer | null) => void, reject: (error: Error) => void}} Waiting */
  /** @type {Map<number, Waiting>} */
  const waiting = new Map();
  let broken = false;
  worker.addEventListener("message", ({ data: { id, answer, error } }) => {
    const one = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) one?.resolve(answer);
    else one?.reject(new Error(error));
  });
  // The worker could not start: what it was asked is answered here.
  worker.addEventListener("error", () => {
    broken = true;
    for (const { request, resolve, reject } of waiting.values()) respond(request).then(resolve, reject);
    waiting.clear();
  });
  return (request) => {
    if (broken) return respond(request);
    return new Promise((resolve, reject) => {
      const id = ++last;
      waiting.set(id, { request, resolve, reject });
      worker.postMessage({ id, request });
    });
  };
}
