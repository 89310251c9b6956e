/** The page to talk: puts its parts together, and draws them when something changes. */

import { keepingFocus } from "../page/dom.js";
import { ApiError, key } from "./api.js";
import { App } from "./app.js";
import { editLast, listenToKeys } from "./keys.js";
import { openStorage } from "./storage.js";
import { bar } from "./views/bar.js";
import { Composer } from "./views/composer.js";
import { asked } from "./views/dialogs.js";
import { settingsPanel } from "./views/settings.js";
import { room, side } from "./views/side.js";
import { Talk } from "./views/talk.js";
import { TokenCard } from "./views/token_card.js";
import { TranslateView } from "./views/translate.js";

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** Seconds after which a server that is loading, or gone, is asked for its models again. */
const ASK_AGAIN = 3;

let isStarted = false;

async function start() {
  const app = new App(await openStorage().catch(() => null));
  const card = new TokenCard(app, byId("token-card"));
  const talk = new Talk(app, byId("talk"), byId("live"), card);
  const composer = new Composer(app, byId("composer"), () => editLast(talk));
  const translate = new TranslateView(app, byId("translate"), byId("live"));
  app.listen((what) => {
    if (what === "problem") sayProblems(app);
    else if (what === "list") keepingFocus(() => drawSide(app));
    else if (what === "writing") talk.update();
    else drawAll(app, talk, composer);
    document.body.dataset.state = stateOf(app, translate);
  });
  listenToKeys({ app, talk, composer, card, translate });
  app.storage?.listen(() => app.loadList());
  addEventListener("popstate", () => follow(app));
  addEventListener("pagehide", () => app.writing && app.save(app.conversation));
  sayProblems(app);
  await app.loadList();
  await modelsOf(app);
  if (app.models.some((model) => model.translates)) await translate.loadLanguages();
  await follow(app);
  isStarted = true;
  document.body.dataset.state = stateOf(app, translate);
  composer.focus();
}

/** @param {App} app */
function sayProblems({ problems }) {
  byId("problem").textContent = [...problems.values()].join(" ");
}

/** @param {App} app @param {Talk} talk @param {Composer} composer */
function drawAll(app, talk, composer) {
  const translates = Boolean(app.model?.translates);
  byId("talk").hidden = byId("composer").hidden = translates;
  byId("translate").hidden = !translates;
  keepingFocus(() => {
    drawBar(app);
    drawSide(app);
    drawSettings(app);
  });
  if (translates) byId("settings").hidden = true;
  talk.draw();
  composer.draw();
  document.title = app.conversation.title ? `${app.conversation.title} · openbook` : "openbook";
}

/**
 * Draws a part anew where that changes it: what is replaced while a mouse button is down gets no click, and what
 * somebody fills in is lost.
 * @param {string} id @param {unknown[]} key  all that the part depends on @param {() => Node[]} draw
 */
function redraw(id, key, draw) {
  const [place, now] = [byId(id), JSON.stringify(key)];
  if (place.dataset.drawn !== now) place.replaceChildren(...draw());
  place.dataset.drawn = now;
}

/** @param {App} app */
function drawBar(app) {
  const { model, mode } = app.conversation;
  redraw("bar", [app.models.map(({ id }) => id), model, mode], () => bar(app));
}

/** @param {App} app */
function drawSide(app) {
  redraw("side", [app.summaries.map(({ id, title }) => [id, title]), app.conversation.id], () => side(app));
  const used = byId("side").querySelector(".used");
  if (used) used.textContent = room(app);
}

/** @param {App} app */
function drawSettings(app) {
  const { id, mode, model } = app.conversation;
  redraw("settings", [id, mode, model], () => settingsPanel(app));
}

/** @param {App} app @param {TranslateView} translate */
function stateOf(app, translate) {
  if (!isStarted) return "loading";
  return app.writing?.waiting ? "waiting" : app.writing || translate.running ? "answering" : "ready";
}

/** Shows the conversation in the address. @param {App} app */
async function follow(app) {
  const id = /^#c=([0-9a-f]{18})$/.exec(location.hash)?.[1];
  document.body.classList.remove("side-open");
  if (id) await app.open(id);
  else app.startNew(false);
}

/** Asks for the models until the server names them. @param {App} app */
async function modelsOf(app) {
  for (;;) {
    try {
      await app.loadModels();
      return app.report("", "server");
    } catch (error) {
      const isRefused = error instanceof ApiError && (error.status === 401 || error.status === 403);
      app.report(error instanceof Error ? error.message : String(error), "server");
      if (isRefused) key.set((await asked("The server asks for a key", "API key", key.get(), "password")) ?? key.get());
      else await new Promise((resolve) => setTimeout(resolve, 1000 * ASK_AGAIN));
    }
  }
}

start().catch((error) => {
  byId("problem").textContent = error instanceof Error ? error.message : String(error);
});
