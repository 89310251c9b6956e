/**
 * Everything that the page knows comes from here: from the local server, or from what a file or a notebook carries.
 * Both give the same object. Its methods are asynchronous, keep what they have fetched, and fail with an Error whose
 * message is one line for the reader.
 */

import { openCarried } from "./carried.js";
import { readSafetensors } from "./safetensors.js";
import { revive, viewKey } from "./values.js";

/** @returns {Promise<object>} the data of the page: see `serverData` and `openCarried` */
export async function openData() {
  return document.getElementById("openbook-data") ? openCarried() : serverData();
}

const KEPT_BYTES = 64_000_000;

/** What was fetched, as much of it as the memory takes; what was not used for longest goes first. */
export class Kept {
  /** @param {number} limit  bytes */
  constructor(limit = KEPT_BYTES) {
    this.limit = limit;
    this.used = 0;
    /** @type {Map<string, {promise: Promise<any>, bytes: number}>} */
    this.entries = new Map();
  }

  /**
   * Fetch once. A failed request is not kept.
   * @param {string} key
   * @param {() => Promise<{value: any, bytes: number}>} fetched
   * @returns {Promise<any>}
   */
  once(key, fetched) {
    const known = this.entries.get(key);
    if (known) {
      this.entries.delete(key);
      this.entries.set(key, known);
      return known.promise;
    }
    const entry = { promise: fetched().then(({ value, bytes }) => this.keep(key, entry, value, bytes)), bytes: 0 };
    this.entries.set(key, entry);
    entry.promise.catch(() => this.entries.delete(key));
    return entry.promise;
  }

  /** @param {string} key @param {{bytes: number}} entry @param {any} value @param {number} bytes */
  keep(key, entry, value, bytes) {
    entry.bytes = bytes;
    this.used += bytes;
    for (const [name, { bytes: size }] of this.entries) {
      if (this.used <= this.limit) break;
      if (name === key || !size) continue;  // what is still on its way has no size yet
      this.entries.delete(name);
      this.used -= size;
    }
    return value;
  }
}

/** The data that the server gives. */
function serverData() {
  let run = 0;
  const kept = new Kept();
  const once = (key, fetched) => kept.once(`${run} ${key}`, fetched);
  const get = (path) => once(path, () => request(`api/runs/${run}/${path}`).then(readJson));

  async function slices(wanted) {
    const response = await request(`api/runs/${run}/slices`, { slices: wanted });
    return readSafetensors(await response.arrayBuffer());
  }

  /** Slices that a view asks for in one go travel together. */
  let waiting = [];
  const one = (wanted) => once(JSON.stringify(wanted), () => new Promise((resolve, reject) => {
    if (!waiting.length) setTimeout(send);
    waiting.push({ wanted, resolve, reject });
  }));

  async function send() {
    const together = waiting;
    waiting = [];
    const answer = (slice) => ({ value: slice, bytes: slice.data.byteLength });
    try {
      const found = await slices(together.map((each) => each.wanted));
      together.forEach((each, number) => each.resolve(answer(found.get(String(number)))));
    } catch (error) {
      if (together.length === 1) return together[0].reject(error);
      // One that cannot be had must not take the others with it.
      for (const each of together) slices([each.wanted]).then((found) => each.resolve(answer(found.get("0"))), each.reject);
    }
  }

  return {
    door: "server",
    manifest: () => get("manifest"),
    step: (i) => get(`steps/${i}`),
    slice: (step, path, index = null) => one({ step, path, index }),
    weight: (weight, index = null) => one({ weight, index }),
    pooled: (weight, rows, columns) =>
      once(`pool ${weight} ${rows} ${columns}`, async () => {
        const found = await slices([{ weight, pool: [rows, columns] }]);
        const value = { mean: found.get("0.mean"), min: found.get("0.min"), max: found.get("0.max") };
        return { value, bytes: 3 * value.mean.data.byteLength };
      }),
    slices: async (wanted) => {
      const found = await slices(wanted);
      return wanted.map((_, number) => found.get(String(number)));
    },
    derive: (step, path, index, { terms = 16 } = {}) =>
      get(`derivation?${new URLSearchParams({ step, path, index: index.join(","), terms })}`),
    view: (name, parameters = {}) => get(viewKey(name, parameters, "views/")),
    rerun: async (wanted) => {
      const { value: answer } = await request("api/runs", wanted).then(readJson);
      run = answer.run;
      return run;
    },
    useRun: (number) => {
      run = number;
    },
    carries: () => true,
  };
}

async function request(address, body) {
  let response;
  try {
    const sent = body && { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    response = await fetch(address, { credentials: "same-origin", ...sent });
  } catch {
    throw new Error("the server does not answer; is the command still running?");
  }
  if (response.ok) return response;
  const text = await response.text();
  let message = text;
  try {
    message = JSON.parse(text).error;
  } catch {
    // a refusal is plain text
  }
  throw new Error(message.trim());
}

/** A character of JSON takes about three bytes as objects. */
const OBJECT_BYTES = 3;

async function readJson(response) {
  const text = await response.text();
  return { value: revive(JSON.parse(text)), bytes: OBJECT_BYTES * text.length };
}
