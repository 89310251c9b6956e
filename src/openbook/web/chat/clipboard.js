/** Copying, with a word about whether it worked. */

import { save } from "../page/dom.js";

/**
 * Copies a text, or where the browser does not allow it, saves it as a file; the button says which.
 * @param {HTMLElement} from  the button that was pressed
 * @param {string} text
 */
export async function copyText(from, text) {
  const label = from.textContent;
  try {
    await navigator.clipboard.writeText(text);
    from.textContent = "copied";
  } catch {
    save("text.txt", text, "text/plain");
    from.textContent = "saved";
  }
  setTimeout(() => (from.textContent = label), 1500);
}
