/** Pictures of the reader: decoded by the browser, read back as pixels. */

import { contextOf } from "./dom.js";

/** Pictures with more pixels are reduced while they are drawn: phones have no larger canvases. */
const CANVAS_PIXELS = 1 << 24;

/** A picture that cannot be used. */
export class PictureError extends Error {
  /**
   * @param {"cannotRead" | "tooLarge" | "tooDeep"} reason The name of its text.
   * @param {Record<string, number>} [values] Numbers in the text.
   */
  constructor(reason, values = {}) {
    super(reason);
    this.reason = reason;
    this.values = values;
  }
}

/**
 * Decode a picture, rotated as its EXIF orientation says, without converting its colors.
 * @param {Blob} blob
 * @param {{max_pixels: number, bits: number}} preprocess
 * @returns {Promise<ImageBitmap>}
 * @throws {PictureError}
 */
export async function decode(blob, { max_pixels, bits }) {
  if (bits < 16 && (await isDeepPng(blob))) throw new PictureError("tooDeep", { bits });
  /** @type {ImageBitmap} */
  let bitmap;
  try {
    const options = /** @type {const} */ ({ premultiplyAlpha: "none", colorSpaceConversion: "none" });
    // Older browsers refuse options that they do not know.
    bitmap = await createImageBitmap(blob, options).catch(() => createImageBitmap(blob));
  } catch {
    throw new PictureError("cannotRead");
  }
  const count = bitmap.width * bitmap.height;
  if (count > max_pixels) {
    bitmap.close();
    throw new PictureError("tooLarge", { count, limit: max_pixels });
  }
  return bitmap;
}

/**
 * Whether a file is a PNG with 16 bits per value.
 * @param {Blob} blob
 */
async function isDeepPng(blob) {
  const head = new Uint8Array(await blob.slice(0, 25).arrayBuffer());
  return head.length === 25 && String.fromCharCode(...head.subarray(1, 4)) === "PNG" && head[24] === 16;
}

const canvas = typeof document === "undefined" ? null : document.createElement("canvas");

/**
 * The pixels of a picture, RGBA.
 * @param {ImageBitmap | HTMLCanvasElement} picture
 * @returns {{values: Uint8ClampedArray, width: number, height: number}}
 */
export function pixelsOf(picture) {
  const target = /** @type {HTMLCanvasElement} */ (canvas);
  let reduction = 1;
  while (picture.width * picture.height > CANVAS_PIXELS * reduction ** 2) reduction *= 2;
  target.width = Math.max(1, Math.round(picture.width / reduction));
  target.height = Math.max(1, Math.round(picture.height / reduction));
  const context = contextOf(target, { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, target.width, target.height);
  const { data, width, height } = context.getImageData(0, 0, target.width, target.height);
  target.width = target.height = 1; // releases its memory
  return { values: data, width, height };
}
