/** A message while it is written: asks, waits where the server is busy, takes what comes, ends. */

import { ApiError, stream } from "./api.js";
import { requestFor, withTokens } from "./request.js";
import { Spelling, chatTokens, completionTokens } from "./tokens.js";

/** @typedef {import("./tree.js").Conversation} Conversation */
/** @typedef {import("./tree.js").Message} Message */

const PATIENCE = 5 * 60_000;
/** Milliseconds for which a busy server is asked again. */

export class Writing {
  /**
   * @param {Conversation} conversation
   * @param {Message} message  of the model; it is filled
   * @param {() => void} changed  called after each change
   */
  constructor(conversation, message, changed) {
    this.conversation = conversation;
    this.message = message;
    this.changed = changed;
    this.spelling = new Spelling(message.tokens);
    this.abort = new AbortController();
    /** Why and until when it waits. @type {{why: string, until: number} | null} */
    this.waiting = null;
    this.askNow = () => {};
    this.firstAt = 0;
  }

  stop() {
    this.abort.abort();
    this.askNow();
  }

  /** Writes to the end; every way to end is in the message afterwards. */
  async run() {
    const began = Date.now();
    const { message } = this;
    delete message.problem;
    for (let attempt = 0; !message.end; attempt++) {
      try {
        await this.take();
        message.end ??= "stop";
      } catch (error) {
        const passes = error instanceof ApiError && error.passes && !this.abort.signal.aborted;
        if (passes && Date.now() - began < PATIENCE) await this.wait(error, attempt);
        else this.fail(error);
      }
      if (this.abort.signal.aborted) message.end ??= "stopped";
    }
    message.seconds = (Date.now() - (this.firstAt || began)) / 1000;
    this.changed();
  }

  async take() {
    const { message, conversation } = this;
    const { path, body } = requestFor(conversation, message);
    const tokensOf = conversation.mode === "text" ? completionTokens : chatTokens;
    for await (const chunk of stream(path, { ...body, ...withTokens(conversation) }, this.abort.signal)) {
      this.firstAt ||= Date.now();
      const choice = chunk.choices?.[0];
      if (!choice) continue;
      const tokens = tokensOf(choice);
      (message.tokens ??= []).push(...tokens);
      this.spelling.push(tokens);
      message.text += choice.text ?? choice.delta?.content ?? "";
      if (choice.finish_reason) message.end = choice.finish_reason;
      this.changed();
    }
  }

  /** @param {ApiError} error @param {number} attempt */
  async wait(error, attempt) {
    const seconds = Math.min(60, error.retryAfter ?? 2 ** Math.min(attempt, 5));
    this.waiting = { why: error.message, until: Date.now() + seconds * 1000 };
    this.changed();
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, seconds * 1000);
      this.askNow = () => {
        clearTimeout(timer);
        resolve(null);
      };
    });
    this.waiting = null;
    this.changed();
  }

  /** @param {unknown} error */
  fail(error) {
    if (this.abort.signal.aborted) return;
    this.message.end = "broken";
    this.message.problem = error instanceof Error ? error.message : String(error);
  }
}
