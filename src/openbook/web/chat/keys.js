/** The keyboard: everything can be done without a mouse. */

import { togglePanel, panelIsOpen } from "./views/bar.js";
import { dialogIsOpen, showKeys } from "./views/dialogs.js";

/** @typedef {import("./views/message.js").MessageView} MessageView */
/**
 * @typedef {object} Parts
 * @property {import("./app.js").App} app
 * @property {import("./views/talk.js").Talk} talk
 * @property {import("./views/composer.js").Composer} composer
 * @property {import("./views/token_card.js").TokenCard} card
 * @property {import("./views/translate.js").TranslateView} translate
 */

/** @param {Parts} parts */
export function listenToKeys(parts) {
  addEventListener("keydown", (event) => {
    if (dialogIsOpen() || event.defaultPrevented) return;
    if (event.key === "Escape") {
      escape(parts);
      return;
    }
    const target = /** @type {HTMLElement} */ (event.target);
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) return;
    if (!press(event.key, parts)) return;
    event.preventDefault();
  });
}

/** Closes what is open, the nearest first; with nothing open it stops the answer. @param {Parts} parts */
function escape({ app, card, composer, translate }) {
  const { pinned } = card;
  card.hide(pinned);
  if (pinned) return;
  if (document.body.classList.contains("side-open")) return togglePanel("side", false);
  if (app.writing) return app.stop();
  if (translate.running) return translate.stop();
  if (panelIsOpen("settings")) {
    togglePanel("settings", false);
    composer.focus();
  }
}

/** @param {string} key @param {Parts} parts @returns {boolean} whether the key means something */
function press(key, { app, talk, composer }) {
  const { views } = talk;
  switch (key.toLowerCase()) {
    case "/": return composer.focus(), true;
    case "n": return app.startNew(), composer.focus(), true;
    case "e": return editLast(talk), true;
    case "r": return views.findLast(({ message }) => message.role === "assistant")?.press("again"), true;
    case "[": return lastWithBranches(views)?.press("previous"), true;
    case "]": return lastWithBranches(views)?.press("next"), true;
    case "t": return views.findLast(({ message }) => message.tokens?.length)?.press("tokens"), true;
    case "s": return togglePanel("settings"), true;
    case "?": return showKeys(), true;
    default: return false;
  }
}

/** @param {MessageView[]} views */
const lastWithBranches = (views) => views.findLast(({ element }) => element.querySelector(".branches"));

/** @param {import("./views/talk.js").Talk} talk */
export function editLast({ views }) {
  views.findLast(({ message }) => message.role === "user")?.press("edit");
}
