/** The conversations that this browser keeps. */

import { button, el, save } from "../../page/dom.js";
import { plural, size } from "../../page/format.js";
import { exportLine, fileName } from "../export.js";
import { LIMIT } from "../storage.js";
import { asked, confirmed } from "./dialogs.js";

/** @typedef {import("../app.js").App} App */

/** @param {App} app @returns {Node[]} */
export function side(app) {
  const items = app.summaries.map((summary) => {
    const isHere = summary.id === app.conversation.id;
    const title = summary.title || "untitled";
    const link = el(`a.entry${isHere ? ".at" : ""}`, { href: `#c=${summary.id}`, "aria-current": isHere ? "page" : null, "data-focus": `entry ${summary.id}` }, el("bdi", {}, title));
    return el("li", {}, link, isHere ? tools(app, summary.id, title) : null);
  });
  return [
    button("New conversation", () => app.startNew(), { class: "wide", title: "New conversation (N)", "data-focus": "new" }),
    items.length ? el("ul.entries", {}, items) : el("p.soft", {}, "Conversations stay in this browser. Nobody else has them."),
    items.length ? el("div.side-foot", {},
      el("small.used", {}, room(app)),
      el("div.row", {}, button("Export all", () => exportAll(app), { "data-focus": "export all" }), button("Delete all", () => removeAll(app), { "data-focus": "delete all" }))) : null,
  ].filter((node) => node !== null);
}

/** How much of the browser's room is used. @param {App} app */
export function room({ summaries }) {
  const used = summaries.reduce((sum, each) => sum + each.size, 0);
  return `${plural(summaries.length, "conversation")} in this browser, ${size(used)} of ${size(LIMIT)}`;
}

/** @param {App} app @param {string} id @param {string} title */
function tools(app, id, title) {
  return el("div.row.entry-tools", {},
    button("rename", async () => {
      const given = await asked("Rename the conversation", "Name", title);
      if (given !== null) await app.rename(id, given);
    }, { "data-focus": "rename" }),
    button("export", () => exportOne(app, title), { "data-focus": "export", title: "As a line of JSON, for openbook train --conversations" }),
    button("delete", async () => {
      if (await confirmed("Delete this conversation?", `“${title}” goes for good, with all of its branches.`, "Delete")) await app.remove(id);
    }, { "data-focus": "delete" }));
}

/** @param {App} app @param {string} title */
function exportOne(app, title) {
  const line = exportLine(app.conversation);
  if (!line) return app.report("There is no answer in this conversation yet, so there is nothing to export.");
  app.report("");
  save(fileName(title), line, "application/jsonl");
}

/** @param {App} app */
async function exportAll(app) {
  const all = await Promise.all(app.summaries.map(({ id }) => app.storage?.load(id)));
  const lines = all.map((each) => (each ? exportLine(each) : "")).filter(Boolean);
  const left = all.length - lines.length;
  app.report(left ? `${plural(left, "conversation")} without an answer ${left === 1 ? "was" : "were"} left out of the export.` : "");
  if (lines.length) save("conversations.jsonl", lines.join(""), "application/jsonl");
}

/** @param {App} app */
async function removeAll(app) {
  const count = plural(app.summaries.length, "conversation");
  if (!(await confirmed("Delete all conversations?", `${count} go for good. Export them first to keep them.`, "Delete all"))) return;
  for (const { id } of [...app.summaries]) await app.remove(id);
}
