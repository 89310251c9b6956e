/** The explanation of one step, in a window of its own. */

import { el } from "../page/dom.js";
import { ask } from "./api.js";

/**
 * Has the server record the step, and opens its page. A browser that opens no window shows the link.
 * @param {HTMLButtonElement} from  the button that was pressed
 * @param {object} body  of /v1/explain
 */
export async function lookInside(from, body) {
  const label = from.textContent;
  const said = from.parentElement?.querySelector(".look-said") ?? el("span.look-said", { role: "status" });
  from.after(said);
  from.disabled = true;
  from.textContent = "Recording…";
  try {
    const { url } = await ask("/v1/explain", body);
    const address = new URL(url, location.href);
    if (address.origin !== location.origin) throw new Error("the server leads to another server; not opened");
    const opened = window.open(address.href, "_blank");
    if (opened) opened.opener = null;
    said.replaceChildren(el("a", { href: address.href, target: "_blank", rel: "noopener" }, "the explanation"));
  } catch (error) {
    said.replaceChildren(el("span.problem", {}, error instanceof Error ? error.message : String(error)));
  }
  from.disabled = false;
  from.textContent = label;
}
