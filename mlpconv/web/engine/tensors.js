/** Reading a classifier file (safetensors): tensors of float32, float16 or int8, and texts. */

/** The tensor NAME.scale has the factor of each output channel of NAME, which is then in int8. */
const SCALE = ".scale";

/**
 * @typedef {object} TensorFile
 * @property {Map<string, string>} texts The metadata.
 * @property {Map<string, Float32Array>} tensors The values of each, in row-major order; float16 is widened, and int8
 *   multiplied by its scales.
 */

/**
 * Decode standard base64.
 * @param {string} text
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function decodeBase64(text) {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  return bytes;
}

/**
 * Read a safetensors file.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {TensorFile}
 * @throws {Error} The file is not complete, or has a data type other than F16, F32 and I8.
 */
export function readTensors(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = 8 + Number(view.getBigUint64(0, true));
  if (start > bytes.length) throw new Error("the classifier is not complete");
  const { __metadata__: texts = {}, ...entries } = JSON.parse(new TextDecoder().decode(bytes.subarray(8, start)));
  const tensors = new Map();
  for (const [name, { dtype, data_offsets }] of Object.entries(entries)) {
    const [first, last] = data_offsets;
    if (start + last > bytes.length) throw new Error(`${name}: the classifier is not complete`);
    const content = bytes.slice(start + first, start + last).buffer;
    if (dtype === "F32") tensors.set(name, new Float32Array(content));
    else if (dtype === "F16") tensors.set(name, fromFloat16(new Uint16Array(content)));
    else if (dtype === "I8") tensors.set(name, new Float32Array(new Int8Array(content)));
    else throw new Error(`${name}: expected F16, F32 or I8, received ${dtype}`);
  }
  for (const [name, scales] of tensors) {
    const values = name.endsWith(SCALE) && tensors.get(name.slice(0, -SCALE.length));
    if (!values) continue;
    multiplyChannels(values, scales);
    tensors.delete(name);
  }
  return { texts: new Map(Object.entries(texts)), tensors };
}

/**
 * Multiply the weights of each output channel by its factor, in place.
 * @param {Float32Array} values (channels, …)
 * @param {Float32Array} scales (channels)
 */
function multiplyChannels(values, scales) {
  const each = values.length / scales.length;
  for (let channel = 0; channel < scales.length; channel++) {
    const end = (channel + 1) * each;
    for (let i = channel * each; i < end; i++) values[i] *= scales[channel];
  }
}

/**
 * Widen IEEE 754 half-precision numbers; exact.
 * @param {Uint16Array} halves
 * @returns {Float32Array}
 */
export function fromFloat16(halves) {
  const floats = new Float32Array(halves.length);
  const bits = new Uint32Array(floats.buffer);
  for (let i = 0; i < halves.length; i++) {
    const sign = (halves[i] & 0x8000) << 16;
    const exponent = (halves[i] >> 10) & 31;
    const fraction = halves[i] & 0x3ff;
    if (exponent === 0) floats[i] = (sign ? -1 : 1) * fraction * 2 ** -24;
    else bits[i] = sign | ((exponent === 31 ? 255 : exponent + 112) << 23) | (fraction << 13);
  }
  return floats;
}
