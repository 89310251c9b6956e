/** Dialogs: they take the focus, Escape closes them, and the focus goes back to where it was. */

import { button, el } from "../../page/dom.js";

const dialog = () => /** @type {HTMLDialogElement} */ (document.getElementById("dialog"));

export const dialogIsOpen = () => dialog().open;

/**
 * @template T
 * @param {string} title
 * @param {(Node | string | null)[]} body
 * @param {[string, () => T, string?][]} actions  label, what is given back, class; the last is for Enter
 * @returns {Promise<T | null>} null where it is closed otherwise
 */
function open(title, body, actions) {
  const box = dialog();
  return new Promise((resolve) => {
    /** @type {T | null} */ let given = null;
    const buttons = actions.map(([label, give, kind = ""]) => button(label, () => {
      given = give();
      box.close();
    }, { class: kind }));
    box.setAttribute("aria-label", title);
    box.replaceChildren(el("h2", {}, title), ...body.filter((each) => each !== null), el("div.buttons", {}, buttons));
    box.onclose = () => resolve(given);
    box.onkeydown = (event) => {
      if (event.key !== "Enter" || /** @type {HTMLElement} */ (event.target).tagName !== "INPUT") return;
      event.preventDefault();  // else it presses what has the focus once the dialog is closed
      buttons.at(-1)?.click();
    };
    box.showModal();
  });
}

/** @param {string} title @param {string} text @param {string} yes */
export async function confirmed(title, text, yes) {
  return (await open(title, [el("p", {}, text)], [["Cancel", () => false], [yes, () => true, "danger"]])) === true;
}

/** @param {string} title @param {string} label @param {string} value @param {string} [type] @returns {Promise<string | null>} */
export function asked(title, label, value, type = "text") {
  const input = /** @type {HTMLInputElement} */ (el("input", { type, autofocus: true, autocomplete: "off", maxlength: 1000 }));
  input.value = value;
  return open(title, [el("label.stacked", {}, label, input)], [["Cancel", () => null], ["OK", () => input.value, "main"]]);
}

const KEYS = [
  ["Enter, Shift Enter", "send the message, begin a line"],
  ["Escape", "stop the answer; close what is open"],
  ["/", "to the message"],
  ["N", "new conversation"],
  ["E", "edit your last message (↑ in an empty message does too)"],
  ["R", "another answer"],
  ["[ and ]", "previous and next branch of the last message that has some"],
  ["T", "the tokens of the last answer; ← → Home End move among them, Enter opens one"],
  ["S", "settings"],
  ["?", "this list"],
];

export function showKeys() {
  const rows = KEYS.map(([keys, does]) => el("tr", {}, el("th", { scope: "row" }, keys), el("td", {}, does)));
  return open("Keys", [el("table.plain", {}, el("tbody", {}, rows))], [["Close", () => null, "main"]]);
}
