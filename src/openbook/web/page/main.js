/** The page: draws what the state says, again whenever it changes. */

import { openData } from "./data.js";
import { el, keepingFocus } from "./dom.js";
import { explainTerms } from "./glossary.js";
import { guide } from "./guide.js";
import { listenToKeys } from "./keys.js";
import { markNumbers } from "./drawing/marks.js";
import { numberCard } from "./number.js";
import { panelView } from "./panels/panels.js";
import { heading, problemLine } from "./parts.js";
import { Scene } from "./scene.js";
import { breadcrumb, outline, strip, windowTitle } from "./shell.js";
import { Store } from "./store.js";
import { answerView } from "./views/answer.js";
import { headView } from "./views/head.js";
import { layerView } from "./views/layer.js";
import { modelView } from "./views/model.js";

/** @typedef {import("./store.js").State} State */

const VIEWS = { answer: answerView, model: modelView, layer: layerView, head: headView, panel: panelView };

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

async function start() {
  const data = /** @type {import("./scene.js").Data} */ (await openData());
  const store = new Store(data.door !== "notebook");
  const page = new Page(data, store);
  store.listen(() => page.draw());
  listenToKeys(store, () => page.scene);
  await page.draw();
  fetchAhead(data, page);
}

/** What the reader will most likely look at next is computed while the first picture is read. @param {any} data @param {Page} page */
function fetchAhead(data, page) {
  if (data.door !== "server" || !page.scene) return;
  const { step } = page.scene.state;
  for (const view of ["lens", "contributions"]) data.view(view, { step }).catch(() => {});
}

class Page {
  /** @param {any} data @param {Store} store */
  constructor(data, store) {
    this.data = data;
    this.store = store;
    /** @type {Scene | null} */
    this.scene = null;
    this.drawing = 0;
    this.drawn = "";
  }

  /** Draws the state. A newer state overtakes an older one that is still waiting for its numbers. */
  async draw() {
    const turn = ++this.drawing;
    document.body.dataset.state = "drawing";
    try {
      const scene = await this.makeScene();
      if (turn !== this.drawing) return;
      this.scene = scene;
      const key = viewKey(scene);
      const isSame = key === this.drawn;
      const nodes = isSame ? null : await VIEWS[scene.state.level](scene).catch(problemNodes);
      if (turn !== this.drawing) return;
      keepingFocus(() => {
        byId("strip").replaceChildren(...strip(scene));
        byId("outline").replaceChildren(...outline(scene));
        byId("crumb").replaceChildren(...breadcrumb(scene));
        byId("guide").replaceChildren(...guide(scene));
        if (nodes) byId("view").replaceChildren(...nodes);
      });
      document.querySelector('.tok[aria-pressed="true"]')?.scrollIntoView({ block: "nearest", inline: "center" });
      showWithin(byId("outline"), ".step.at");
      if (nodes) explainTerms(byId("view"), scene);
      if (nodes && !scene.state.path) byId("main").scrollTop = 0;
      this.drawn = key;
      document.title = windowTitle(scene);
      await this.drawNumber(turn, scene);
      pointAt(scene);
    } catch (error) {
      if (turn !== this.drawing) return;
      this.drawn = "";
      byId("view").replaceChildren(...problemNodes(error));
    }
    document.body.dataset.state = "drawn";
  }

  /** The state, brought into the bounds of the run: an old link may ask for a step that is not there. */
  async makeScene() {
    const manifest = await this.data.manifest();
    const state = inBounds(this.store.state, manifest);
    const number = state.stack === "encoder" ? 0 : state.step;
    const step = await this.data.step(number);
    const outline = number ? (await this.data.view("outline", { step: number })).sections : manifest.outline;
    return new Scene(this.data, manifest, step, outline, state, this.store);
  }

  /** @param {number} turn @param {Scene} scene @param {number | "all"} [terms] */
  async drawNumber(turn, scene, terms) {
    const place = byId("number");
    const { path, index } = scene.state;
    if (!path) {
      place.replaceChildren();
      markNumbers(byId("view"), null, []);
      return;
    }
    try {
      const { card, operands } = await numberCard(scene, terms, () => this.drawNumber(this.drawing, scene, "all"));
      if (turn !== this.drawing) return;
      keepingFocus(() => place.replaceChildren(card));
      markNumbers(byId("view"), { step: scene.step.step, path, index }, operands);
      uncover(place);
    } catch (error) {
      if (turn !== this.drawing) return;
      place.replaceChildren(el("section.card.number", {}, problemLine(error instanceof Error ? error.message : String(error))));
    }
  }
}

/** @param {unknown} error @returns {Node[]} */
function problemNodes(error) {
  return [...heading("This cannot be shown"), problemLine(error instanceof Error ? error.message : String(error))];
}

/** @param {State} state @param {any} manifest @returns {State} */
function inBounds(state, manifest) {
  const within = (/** @type {number} */ value, /** @type {number} */ count) => Math.max(0, Math.min(count - 1, value));
  const stack = manifest.model.stacks[state.stack] ? state.stack : "decoder";
  return { ...state, stack, step: within(state.step, manifest.steps.length), layer: within(state.layer, manifest.model.stacks[stack].layers.length) };
}

/** What a view depends on: the state without what is only marked in it: the chosen number, and what is pointed at. @param {Scene} scene */
function viewKey(scene) {
  const { path: _path, index: _index, stop: _stop, point: _point, ...view } = scene.state;
  return JSON.stringify([scene.manifest.run, view, scene.row]);
}

/** Scrolls a list, and nothing around it, so far that the entry can be seen. @param {HTMLElement} list @param {string} entry */
function showWithin(list, entry) {
  const [outer, inner] = [list, list.querySelector(entry)].map((each) => each?.getBoundingClientRect());
  if (!outer || !inner) return;
  if (inner.top < outer.top) list.scrollTop -= outer.top - inner.top + inner.height;
  else if (inner.bottom > outer.bottom) list.scrollTop += inner.bottom - outer.bottom + inner.height;
}

/** Scrolls so far that the number's card does not cover the number in its matrix. @param {HTMLElement} place of the card */
function uncover(place) {
  const cell = byId("view").querySelector("td.at, .box.at")?.getBoundingClientRect();
  const covered = cell ? cell.bottom + 12 - place.getBoundingClientRect().top : 0;
  if (covered > 0) byId("main").scrollBy(0, covered);
}

/** Points at the quantity that a step of the algorithm speaks of. @param {Scene} scene */
function pointAt(scene) {
  for (const old of document.querySelectorAll(".pointed")) old.classList.remove("pointed");
  const { point } = scene.state;
  if (!point) return;
  const path = scene.quantity(point) ? (scene.copyOf(/** @type {any} */ (scene.quantity(point))) ?? point) : point;
  const card = document.querySelector(`.card[data-path="${CSS.escape(point)}"]`) ?? document.querySelector(`.card[data-path="${CSS.escape(path)}"]`);
  card?.classList.add("pointed");
  card?.scrollIntoView({ block: "center" });
}

start().catch((error) => {
  document.body.append(problemLine(error instanceof Error ? error.message : String(error)));
});
