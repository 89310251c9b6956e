/** The view of a translator: a text on one side, its translation line by line on the other. */

import { button, el } from "../../page/dom.js";
import { ask } from "../api.js";
import { copyText } from "../clipboard.js";
import { lookInside } from "../look_inside.js";

/** @typedef {import("../app.js").App} App */
/** @typedef {{code: string, name: string, targets?: string[]}} Language */

const LONGEST = 100_000;

export class TranslateView {
  /** @param {App} app @param {HTMLElement} place @param {HTMLElement} live */
  constructor(app, place, live) {
    this.app = app;
    this.live = live;
    /** @type {AbortController | null} */
    this.running = null;
    /** @type {Language[]} */
    this.languages = [];
    this.text = /** @type {HTMLTextAreaElement} */ (el("textarea", { rows: 6, dir: "auto", "aria-label": "Text to translate", placeholder: "Text to translate", maxlength: LONGEST }));
    this.source = /** @type {HTMLSelectElement} */ (el("select", { "aria-label": "From" }));
    this.target = /** @type {HTMLSelectElement} */ (el("select", { "aria-label": "Into" }));
    this.source.addEventListener("change", () => this.fillTargets());
    this.choice = el("div.chooser", { hidden: true }, "from ", this.source, " into ", this.target);
    this.act = button("Translate", () => (this.running ? this.stop() : this.translate()), { class: "main", title: "Translate (Ctrl Enter)" });
    this.said = el("p.problem", { role: "alert" });
    this.result = el("div.pairs");
    this.text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.translate();
    });
    place.replaceChildren(el("div.translate-in", {}, this.choice, this.text, el("div.row", {}, this.act, el("small.soft", {}, "Each line is translated by itself. Ctrl Enter translates."))), this.said, this.result);
  }

  async loadLanguages() {
    try {
      this.languages = await ask("/languages");
    } catch {
      this.languages = [];  // a translator of one pair translates without
    }
    const read = this.languages.filter(({ targets }) => targets === undefined || targets.length);
    this.choice.hidden = read.length < 2 && (read[0]?.targets?.length ?? 0) < 2;
    this.source.replaceChildren(...read.map(({ code, name }) => el("option", { value: code }, name)));
    this.fillTargets();
  }

  fillTargets() {
    const from = this.languages.find(({ code }) => code === this.source.value);
    const into = this.languages.filter(({ code }) => (from?.targets ? from.targets.includes(code) : code !== from?.code));
    this.target.replaceChildren(...into.map(({ code, name }) => el("option", { value: code }, name)));
  }

  stop() {
    this.running?.abort();
  }

  get pair() {
    return { source: this.source.value || "auto", target: this.target.value || this.languages[0]?.code || "" };
  }

  async translate() {
    const lines = this.text.value.split("\n").map((line) => line.trim().toWellFormed()).filter(Boolean);
    if (!lines.length || this.running) return;
    const running = new AbortController();
    this.running = running;
    this.draw("Stop", "");
    try {
      const asked = { q: lines, ...this.pair, format: "text", model: this.app.conversation.model };
      const { translatedText } = await ask("/translate", asked, running.signal);
      const translations = Array.isArray(translatedText) ? translatedText : [translatedText];
      this.result.replaceChildren(...this.pairs(lines, translations.map(String)));
      this.live.textContent = translations.join(" ");
      this.running = null;
      this.draw("Translate", "");
    } catch (error) {
      this.running = null;
      this.draw("Translate", running.signal.aborted ? "" : error instanceof Error ? error.message : String(error));
    }
  }

  /** @param {string} label @param {string} problem */
  draw(label, problem) {
    this.act.textContent = label;
    this.said.textContent = problem;
    document.body.dataset.state = this.running ? "answering" : "ready";
  }

  /** @param {string[]} lines @param {string[]} translations @returns {Node[]} */
  pairs(lines, translations) {
    const { model, conversation } = this.app;
    const { pair } = this;
    const rows = lines.map((line, i) => {
      const body = { model: conversation.model, prompt: line, translation: translations[i], ...pair, token: 0 };
      const inside = button("look inside", () => lookInside(/** @type {HTMLButtonElement} */ (inside), body), { title: "Every number of this translation, in a window of its own" });
      return el("div.pair", {}, el("bdi.text", { dir: "auto" }, line), el("div", {}, el("bdi.text.translation", { dir: "auto" }, translations[i] ?? ""), model?.explains ? el("div.message-tools", {}, inside) : null));
    });
    const copy = button("copy all", () => copyText(copy, translations.join("\n")));
    return [...rows, el("div.row", {}, copy)];
  }
}
