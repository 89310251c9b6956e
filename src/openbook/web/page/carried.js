/**
 * The data that a file or a notebook carries in itself: the manifest, and the parts of the run that fit its size.
 * Derivations are computed here, from the trees of the formulas.
 */

import { derive } from "./evaluate.js";
import { readSafetensors, select, stridesOf } from "./safetensors.js";
import { revive, viewKey } from "./values.js";

/** @returns {Promise<object>} the same methods as the server's data */
export async function openCarried() {
  const [json, slices] = await Promise.all(["openbook-data", "openbook-slices"].map((id) => unpacked(document.getElementById(id).textContent)));
  const carried = revive(JSON.parse(new TextDecoder().decode(json)));
  const tensors = readSafetensors(slices);
  const manifest = carried.manifest;
  const elsewhere = `this ${manifest.door} does not carry it; open the model with “openbook explain”`;

  /** What is carried of a tensor: the slice, and the ranges of each axis that it holds. */
  const parts = new Map();
  carried.slices.forEach((entry, number) => {
    if (entry.pooled) return;
    parts.set(entry.weight ? `weight ${entry.weight}` : `${entry.step} ${entry.path}`, { ...entry, slice: tensors.get(String(number)) });
  });

  function part(key) {
    const found = parts.get(key);
    if (!found) throw new Error(`${key.replace(/^weight /, "").replace(/^\d+ /, "")}: ${elsewhere}`);
    return found;
  }

  /** A part of a carried tensor, whose own index counts from where the carried ranges begin. */
  function read(key, index) {
    const { slice, ranges, shape } = part(key);
    if (!ranges) return select(slice, index ?? undefined);
    const moved = (index ?? shape.map(() => null)).map((each, axis) => {
      const [from, to] = ranges[axis];
      const [begin, end] = each === null ? [0, shape[axis]] : Array.isArray(each) ? each : [each, each + 1];
      if (begin < from || end > to) throw new Error(`${key}: of axis ${axis} only ${from} to ${to - 1} is here; ${elsewhere}`);
      return Array.isArray(each) || each === null ? [begin - from, end - from] : each - from;
    });
    return select(slice, moved);
  }

  /** One number, without copying: for derivations. */
  function numberAt(key, index) {
    const { slice, ranges } = part(key);
    const strides = stridesOf(slice.shape);
    let at = 0;
    index.forEach((each, axis) => {
      const from = ranges ? ranges[axis][0] : 0;
      if (each < from || each >= from + slice.shape[axis]) throw new Error(`${key}: ${elsewhere}`);
      at += (each - from) * strides[axis];
    });
    return slice.data[at];
  }

  /** The largest size among the finite numbers of a recorded quantity; a sum that cancels has no error of its own. */
  function largest(key) {
    const found = part(key);
    found.largest ??= found.slice.data.reduce((most, each) => (Number.isFinite(each) ? Math.max(most, Math.abs(each)) : most), 0);
    return found.largest;
  }

  const step = async (/** @type {number} */ i) => {
    if (!carried.steps[i]) throw new Error(`step ${i}: ${elsewhere}`);
    return carried.steps[i];
  };
  const one = (wanted) => read(wanted.weight ? `weight ${wanted.weight}` : `${wanted.step} ${wanted.path}`, wanted.index);

  return {
    door: manifest.door,
    manifest: async () => manifest,
    step,
    slice: async (i, path, index) => read(`${i} ${path}`, index),
    weight: async (tensor, index) => read(`weight ${tensor}`, index),
    pooled: async (tensor) => {
      const found = carried.pooled[tensor];
      if (!found) throw new Error(`${tensor}: ${elsewhere}`);
      return Object.fromEntries(["mean", "min", "max"].map((name, number) => [name, tensors.get(String(found[number]))]));
    },
    slices: async (wanted) => wanted.map(one),
    derive: async (i, path, index, { terms = 16 } = {}) => {
      const tensor = (kind, source) => (kind === "weight" ? `weight ${source}` : `${i} ${source}`);
      const byte = (source, at) => byteOf(carried.offsets[source], at);
      const shapeOf = (kind, source) => part(tensor(kind, source)).shape;
      const read = (kind, source, at) => numberAt(tensor(kind, source), at);
      return derive(await step(i), i, path, index, { read, shapeOf, largest: (path) => largest(`${i} ${path}`), byte, terms });
    },
    view: async (name, parameters = {}) => {
      const found = [parameters, { step: 0, ...parameters }, withoutStep(parameters)].map((each) => carried.views[viewKey(name, each)]).find(Boolean);
      if (!found) throw new Error(`${name}: ${elsewhere}`);
      return found;
    },
    rerun: async () => {
      throw new Error(`another prompt: ${elsewhere}`);
    },
    useRun: () => {},
    carries: (i, path) => parts.has(`${i} ${path}`),
  };
}

/** Views that have no step are carried without one. */
function withoutStep({ step: _, ...others }) {
  return others;
}

/** The byte of the model file at which a weight's number begins; null where that is unknown. */
function byteOf(offset, index) {
  if (!offset) return null;
  const strides = stridesOf(offset.shape);
  return offset.offset + offset.itemsize * index.reduce((sum, each, axis) => sum + each * strides[axis], 0);
}

/** Base64 of gzip → the bytes. */
async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text.trim()), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}
