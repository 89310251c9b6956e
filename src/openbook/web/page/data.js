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

/** The data that the server gives. */
function serverData() {
  let run = 0;
  const kept = new Map();

  /** Fetch once. A failed request is not kept. */
  function once(key, fetched) {
    const name = `${run} ${key}`;
    if (!kept.has(name)) {
      const promise = fetched();
      kept.set(name, promise);
      promise.catch(() => kept.delete(name));
    }
    return kept.get(name);
  }

  const get = (path) => once(path, () => request(`api/runs/${run}/${path}`).then(readJson));

  async function slices(wanted) {
    const response = await request(`api/runs/${run}/slices`, { slices: wanted });
    return readSafetensors(await response.arrayBuffer());
  }

  const one = (wanted) => once(JSON.stringify(wanted), async () => (await slices([wanted])).get("0"));

  return {
    door: "server",
    manifest: () => get("manifest"),
    step: (i) => get(`steps/${i}`),
    slice: (step, path, index = null) => one({ step, path, index }),
    weight: (weight, index = null) => one({ weight, index }),
    pooled: (weight, rows, columns) =>
      once(`pool ${weight} ${rows} ${columns}`, async () => {
        const found = await slices([{ weight, pool: [rows, columns] }]);
        return { mean: found.get("0.mean"), min: found.get("0.min"), max: found.get("0.max") };
      }),
    slices: async (wanted) => {
      const found = await slices(wanted);
      return wanted.map((_, number) => found.get(String(number)));
    },
    derive: (step, path, index, { terms = 16 } = {}) =>
      get(`derivation?${new URLSearchParams({ step, path, index: index.join(","), terms })}`),
    view: (name, parameters = {}) => get(viewKey(name, parameters, "views/")),
    rerun: async (wanted) => {
      const answer = await request("api/runs", wanted).then(readJson);
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

async function readJson(response) {
  return revive(await response.json());
}
