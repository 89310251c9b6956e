/** The server's interface, as far as the page uses it. What fails is an `ApiError` with one line for the reader. */

import { inThisTab } from "./remember.js";
import { events } from "./sse.js";

/**
 * @typedef {object} Model  as the page knows it
 * @property {string} id
 * @property {boolean} chats  has a chat template
 * @property {boolean} translates
 * @property {boolean} explains
 * @property {number | null} context  tokens
 * @property {Record<string, any>} defaults  settings of the model file
 */

const KEY = "openbook key";

export class ApiError extends Error {
  /** @param {string} message @param {number} [status]  0: nobody answered @param {number | null} [retryAfter]  seconds */
  constructor(message, status = 0, retryAfter = null) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may succeed a little later. */
  get passes() {
    return this.status === 429 || this.status === 503;
  }
}

/** The API key; it is forgotten with the tab. */
export const key = {
  get: () => inThisTab.get(KEY),
  /** @param {string} value */
  set: (value) => inThisTab.set(KEY, value),
};

/** @returns {Promise<Model[]>} */
export async function fetchModels() {
  const { data } = await ask("/v1/models");
  if (!Array.isArray(data)) throw new ApiError("the server names no models");
  return data.map(({ id, openbook = {} }) => ({
    id: String(id),
    chats: openbook.chat !== false && !openbook.translates,
    translates: Boolean(openbook.translates),
    explains: openbook.explains !== false && "explains" in openbook,
    context: openbook.context ?? null,
    defaults: openbook.defaults ?? {},
  }));
}

/**
 * Ask once, and read the whole answer.
 * @param {string} path
 * @param {object} [body]  posted as JSON
 * @param {AbortSignal} [signal]
 */
export async function ask(path, body, signal) {
  const response = await send(path, body, signal);
  try {
    return await response.json();
  } catch {
    throw new ApiError(`${path}: the server's answer is no JSON`, response.status);
  }
}

/**
 * The objects of a stream, in order.
 * @param {string} path
 * @param {object} body
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<any>}
 */
export async function* stream(path, body, signal) {
  const response = await send(path, { ...body, stream: true, stream_options: { include_usage: true } }, signal);
  if (!response.body) throw new ApiError(`${path}: the server's answer is empty`, response.status);
  try {
    for await (const data of events(response.body)) {
      if (data === "[DONE]") return;
      const value = JSON.parse(data);
      if (value.error) throw new ApiError(messageOf(value) ?? "the server stopped with an error", 500);
      yield value;
    }
  } catch (error) {
    if (error instanceof ApiError || signal.aborted) throw error;
    throw new ApiError(error instanceof SyntaxError ? "the server's stream is no JSON" : "the connection to the server broke off", 0);
  }
  throw new ApiError("the connection to the server broke off", 0);
}

/** @param {string} path @param {object} [body] @param {AbortSignal} [signal] */
async function send(path, body, signal) {
  const given = key.get();
  /** @type {Record<string, string>} */
  const headers = { ...(body && { "content-type": "application/json" }), ...(given && { authorization: `Bearer ${given}` }) };
  let response;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal, credentials: "same-origin" });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError("the server does not answer; is openbook serve still running?", 0);
  }
  if (response.ok) return response;
  const text = (await response.text()).slice(0, 2000);
  const seconds = Number.parseFloat(response.headers.get("retry-after") ?? "");
  throw new ApiError(`${said(text) || response.statusText || "error"} (${response.status})`, response.status, Number.isFinite(seconds) ? seconds : null);
}

/** @param {string} text */
function said(text) {
  try {
    return messageOf(JSON.parse(text)) ?? text;
  } catch {
    return text.trim();
  }
}

/** @param {any} value @returns {string | null} */
function messageOf(value) {
  const message = value?.error?.message ?? value?.error ?? value?.detail;
  return typeof message === "string" ? message : null;
}
