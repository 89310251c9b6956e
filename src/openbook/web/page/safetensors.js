/**
 * Tensors as the page handles them, and the safetensors framing in which they come: 8 bytes (the header's length), a
 * JSON header with each tensor's shape and place, then the numbers, all float32 here.
 *
 * @typedef {{shape: number[], data: Float32Array}} Slice
 * @typedef {null | number | [number, number]} IndexPart   everything, one number (the axis is dropped), or a range
 */

/**
 * @param {ArrayBuffer} buffer of a safetensors file of float32
 * @returns {Map<string, Slice>} its tensors by name
 */
export function readSafetensors(buffer) {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const tensors = new Map();
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const [begin, end] = entry.data_offsets;
    tensors.set(name, { shape: entry.shape, data: new Float32Array(buffer.slice(8 + length + begin, 8 + length + end)) });
  }
  return tensors;
}

/**
 * A part of a slice. A range keeps its axis, a number drops it.
 * @param {Slice} slice
 * @param {IndexPart[]} [index] an entry for each axis; everything without one
 * @returns {Slice}
 */
export function select(slice, index) {
  if (!index) return slice;
  if (index.length !== slice.shape.length) throw new Error(`the index has ${index.length} entries for ${slice.shape.length} axes`);
  const ranges = index.map((each, axis) => {
    if (each === null) return [0, slice.shape[axis]];
    return Array.isArray(each) ? each : [each, each + 1];
  });
  ranges.forEach(([from, to], axis) => {
    if (from < 0 || to > slice.shape[axis]) throw new Error(`the index ${from} is not from 0 to ${slice.shape[axis] - 1}`);
  });
  const shape = ranges.map(([from, to]) => to - from);
  const data = new Float32Array(shape.reduce((product, each) => product * each, 1));
  const strides = stridesOf(slice.shape);
  let at = 0;
  const copy = (/** @type {number} */ axis, /** @type {number} */ offset) => {
    if (axis === shape.length) {
      data[at++] = slice.data[offset];
      return;
    }
    for (let i = ranges[axis][0]; i < ranges[axis][1]; i++) copy(axis + 1, offset + i * strides[axis]);
  };
  copy(0, 0);
  return { shape: shape.filter((_, axis) => index[axis] === null || Array.isArray(index[axis])), data };
}

/**
 * @param {number[]} shape
 * @returns {number[]} by how many numbers each axis steps
 */
export function stridesOf(shape) {
  const strides = shape.map(() => 1);
  for (let axis = shape.length - 2; axis >= 0; axis--) strides[axis] = strides[axis + 1] * shape[axis + 1];
  return strides;
}
