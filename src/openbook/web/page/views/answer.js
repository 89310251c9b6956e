/** The answer: the tokens that went in and came out, one step of generation a line, and the prompt's own positions. */

import { button, el } from "../dom.js";
import { place, plural, quoted, short, word } from "../format.js";
import { ask, heading, problemLine, shareBar, table, tokenChips } from "../parts.js";
import { promptForm } from "../prompt_form.js";

/** @typedef {import("../scene.js").Scene} Scene */

/** @param {Scene} scene @returns {Promise<Node[]>} */
export async function answerView(scene) {
  const { manifest } = scene;
  const count = manifest.steps.filter((/** @type {any} */ step) => step.finite).length;
  const reads = manifest.source ? manifest.source.length : manifest.prompt_length;
  return [
    ...heading("From the prompt to the answer",
      `The model read ${plural(reads, "token")} and wrote ${plural(count, "token")}, one at a time: predict, choose, append, repeat. Open a step to see how its token came about.`),
    ...notices(scene),
    transcript(scene),
    el("section.card", { "aria-label": "Steps" }, el("h3", {}, "What was written, step by step"), steps(scene)),
    await promptCard(scene),
    scene.data.door === "server" ? promptForm(scene) : null,
  ].filter((node) => node !== null);
}

/** What the reader must know first: numbers that are not finite, a file that changed, what a file does not carry. @param {Scene} scene */
function notices(scene) {
  const { not_finite: found, changed, carried } = scene.manifest;
  const notice = (/** @type {(Node | string)[]} */ ...says) => el("section.card.warning", { role: "status" }, says);
  const open = () => scene.store.go({ ...scene.stateAt(found.path, found.index, found.step), step: found.step });
  return [
    found ? notice(el("b", {}, "The logits are not finite, so no token could be chosen. "), "All began with ",
      button(`${place(found.path)} [${found.index.slice(1).join(", ")}] = ${short(found.value)}`, open, { class: "link" }),
      ` in step ${found.step + 1}; what follows from it is NaN or infinite too.`) : null,
    changed ? notice(`${changed}.`) : null,
    carried?.left_out.length ? notice(el("details", {}, el("summary", {}, el("b", {}, `This ${scene.data.door} does not carry everything: ${carried.quantities.toLocaleString("en")} of ${carried.of.toLocaleString("en")} quantities fit. `), scene.data.door === "file" ? "A larger --size carries more, and “openbook explain” shows all." : "“openbook explain” shows all."),
      el("ul", {}, carried.left_out.map((/** @type {string} */ line) => el("li", {}, line))))) : null,
  ];
}

/** @param {Scene} scene */
function transcript({ manifest }) {
  const reasons = { length: " The limit on new tokens ended it.", "not finite": " Logits that are not finite ended it." };
  const ended = reasons[/** @type {keyof typeof reasons} */ (manifest.answer.finish_reason)] ?? "";
  return el("section.card.transcript", { "aria-label": "Prompt and answer" },
    el("div", {}, el("span.who", {}, manifest.source ? "Source" : "Prompt"), el("bdi.text", {}, manifest.prompt)),
    manifest.target ? el("div", {}, el("span.who", {}, "Given target"), el("bdi.text", {}, manifest.target)) : null,
    el("div", {}, el("span.who", {}, "Answer"), el("bdi.text", {}, manifest.answer.text), el("span.soft", {}, ended)));
}

/** @param {Scene} scene */
function steps(scene) {
  const rows = scene.manifest.steps.map((/** @type {any} */ step) => [
    button(`step ${step.step + 1}`, () => scene.store.go({ step: step.step, level: "model", row: -1, stack: "decoder", path: "", index: [] }), { class: "link" }),
    el("bdi.written", {}, word(step)),
    shareBar(step.probability),
    el("span", {}, tokenChips(step.alternatives.filter((/** @type {any} */ each) => each.id !== step.id).slice(0, 5))),
    button("how it was chosen", () => scene.store.go({ step: step.step, level: "panel", panel: "choice", path: "", index: [] }), { class: "link" }),
  ]);
  return table(["", "written", "probability", "runners-up", ""], rows, "Written tokens");
}

/** Training seen from inside: what was predicted after each token of the prompt, and what came. @param {Scene} scene */
async function promptCard(scene) {
  const { found, problem } = await ask(scene, "prompt");
  const title = "What the model expected inside the prompt";
  if (problem) return el("section.card", { "aria-label": title }, el("h3", {}, title), problemLine(problem));
  const rows = found.positions.map((/** @type {any} */ at) => [
    el("bdi.written", {}, word(at)),
    at.came ? el("bdi", {}, quoted(at.came)) : el("span.soft", {}, "the answer begins"),
    at.came ? shareBar(at.came.probability) : "",
    at.came ? String(at.came.rank) : "",
    at.came ? short(at.came.loss) : "",
    el("span", {}, tokenChips(at.predicted.slice(0, 3), at.came?.id)),
  ]);
  const mean = found.mean_loss === null || found.mean_loss === undefined ? "" : ` Mean loss ${short(found.mean_loss)} nats, perplexity ${short(found.perplexity)}.`;
  return el("section.card", { "aria-label": title }, el("h3", {}, title),
    el("p", {}, `In training, each position is asked for the token that follows. The loss is −ln of the probability that the token that came was given.${mean}`),
    table(["after", "came", "its probability", "rank", "loss", "predicted"], rows, title));
}
