/** The answer for one picture: its classes with their probabilities, and their maps over the picture. */

import { byId, element } from "./dom.js";
import { differenceOf, drawImage, drawPicture, mapOf, strongest } from "./overlay.js";
import { decimal, integer, percent, text } from "./texts.js";

/** @import { Answer } from "../engine/classifier.js" */
/** @import { About } from "./about.js" */

/** Classes that are shown at first. */
const FIRST = 10;

/**
 * A picture with its answer.
 * @typedef {object} Shown
 * @property {() => string} name
 * @property {ImageBitmap | HTMLCanvasElement} picture
 * @property {Answer} answer
 * @property {boolean} invert
 */

/** The part of the page with the answer. */
export class AnswerView {
  /** @param {About} about */
  constructor(about) {
    this.about = about;
    this.bars = byId("bars", HTMLUListElement);
    this.all = byId("all-classes", HTMLButtonElement);
    this.minus = byId("minus", HTMLSelectElement);
    this.canvas = byId("map", HTMLCanvasElement);
    /** @type {Shown | null} */
    this.shown = null;
    /** The class whose map is shown. */
    this.selected = 0;
    this.everything = false;
    this.minus.addEventListener("change", () => this.renderMap());
    this.all.addEventListener("click", () => {
      this.everything = true;
      this.render();
      this.radio(this.selected)?.focus();
    });
    this.bars.addEventListener("keydown", (event) => this.move(event));
    this.bars.addEventListener("pointerleave", () => this.renderMap());
  }

  /** @param {Shown} shown */
  show(shown) {
    if (this.shown && this.shown.picture !== shown.picture && this.shown.picture instanceof ImageBitmap)
      this.shown.picture.close();
    this.shown = shown;
    this.everything = false;
    this.selected = this.order()[0];
    this.render();
  }

  /** The classes, most probable first. */
  order() {
    const { probabilities } = /** @type {Shown} */ (this.shown).answer;
    return [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a] || a - b);
  }

  /** Draw everything, in the language in use. */
  render() {
    const { shown } = this;
    byId("result", HTMLElement).hidden = !shown;
    if (!shown) return;
    const { answer } = shown;
    const order = this.order();
    const visible = this.everything ? order : order.slice(0, FIRST);
    this.bars.replaceChildren(...visible.map((label) => this.bar(label)));
    this.all.hidden = visible.length === order.length;
    this.all.textContent = text("allClasses", { count: integer(order.length) });
    this.renderMinus();
    const usable = answer.maps !== null && answer.maps.width * answer.maps.height > 1;
    byId("minus-row", HTMLElement).hidden = !usable;
    const seen = byId("seen", HTMLCanvasElement);
    drawImage(seen, answer.seen);
    seen.setAttribute("aria-label", text("seenLabel", { width: answer.seen.width, height: answer.seen.height }));
    const inverted = byId("inverted", HTMLElement);
    inverted.hidden = !answer.looksInverted;
    const dark = (this.about.background ?? 0) < 0.5;
    const values = { this: text(dark ? "light" : "dark"), training: text(dark ? "dark" : "light") };
    inverted.textContent = answer.looksInverted ? text("inverted", values) : "";
    this.renderMap();
  }

  /**
   * The row of a class.
   * @param {number} label
   */
  bar(label) {
    const { probabilities, logits } = /** @type {Shown} */ (this.shown).answer;
    const fill = element("i");
    fill.style.setProperty("width", `${(100 * probabilities[label]).toFixed(2)}%`);
    const checked = label === this.selected;
    const row = element(
      "li",
      { role: "radio", "aria-checked": String(checked), tabindex: checked ? "0" : "-1", "data-label": String(label) },
      this.name(label, { class: "name" }),
      element("b", { text: percent(probabilities[label]) }),
      element("span", { class: "track", "aria-hidden": "true" }, fill),
      element("small", { text: text("logit", { value: decimal(logits[label]) }) }),
    );
    row.addEventListener("click", () => this.select(label));
    row.addEventListener("pointerenter", ({ pointerType }) => pointerType === "mouse" && this.renderMap(label));
    return row;
  }

  /**
   * The name of a class, in its own direction and language.
   * @param {number} label
   * @param {Record<string, string>} [attributes]
   */
  name(label, attributes = {}) {
    const language = this.about.names_language;
    return element("bdi", {
      ...attributes,
      ...(language ? { lang: language } : {}),
      text: this.about.class_names[label],
    });
  }

  /** @param {number} label */
  radio(label) {
    return /** @type {HTMLElement | null} */ (this.bars.querySelector(`[data-label="${label}"]`));
  }

  /** @param {number} label */
  select(label) {
    this.selected = label;
    for (const row of this.bars.children) {
      const checked = row === this.radio(label);
      row.setAttribute("aria-checked", String(checked));
      row.setAttribute("tabindex", checked ? "0" : "-1");
    }
    this.renderMap();
  }

  /**
   * The arrow keys choose the next class, as in every group of radio buttons.
   * @param {KeyboardEvent} event
   */
  move(event) {
    const rows = /** @type {HTMLElement[]} */ ([...this.bars.children]);
    const at = rows.findIndex((row) => row === this.radio(this.selected));
    /** @type {Record<string, number>} */
    const targets = { ArrowDown: at + 1, ArrowRight: at + 1, ArrowUp: at - 1, ArrowLeft: at - 1, Home: 0, End: -1 };
    if (!Object.hasOwn(targets, event.key)) return;
    event.preventDefault();
    const row = /** @type {HTMLElement} */ (rows.at(targets[event.key] % rows.length));
    this.select(Number(row.dataset.label));
    row.focus();
  }

  /** The choice of a class whose map is subtracted. */
  renderMinus() {
    const chosen = this.minus.value;
    const classes = this.about.class_names.map((name, label) =>
      element("option", { value: String(label), text: name }),
    );
    this.minus.replaceChildren(element("option", { value: "", text: text("minusNothing") }), ...classes);
    this.minus.value = chosen;
  }

  /**
   * Draw the map of a class over the picture.
   * @param {number} [label] By default the selected class.
   */
  renderMap(label = this.selected) {
    const { answer, picture, invert, name } = /** @type {Shown} */ (this.shown);
    const { maps } = answer;
    const note = byId("map-note", HTMLElement);
    const rectified = this.about.rectified === true;
    if (!maps || maps.width * maps.height === 1) {
      drawPicture(this.canvas, picture, invert, null);
      this.canvas.setAttribute("aria-label", text("pictureLabel", { picture: name() }));
      note.textContent = text(maps ? "mapSingle" : "mapNone");
      return;
    }
    const other = this.minus.value === "" ? label : Number(this.minus.value);
    const map = other === label ? mapOf(maps, label, rectified) : differenceOf(maps, label, other, rectified);
    drawPicture(this.canvas, picture, invert, { maps, map });
    const names = { name: this.about.class_names[label], other: this.about.class_names[other], picture: name() };
    this.canvas.setAttribute("aria-label", text("mapLabel", { ...names, ...strongest(maps, map.values, picture) }));
    const kind = other !== label ? "mapDifference" : rectified ? "mapRectified" : "mapPlain";
    note.textContent = `${text(kind, { ...names, value: decimal(map.mean) })} ${text("mapSum")}`;
  }

  /** The answer as a sentence, for screen readers. */
  sentence() {
    const { answer, name } = /** @type {Shown} */ (this.shown);
    const [first, ...others] = this.order().slice(0, 3);
    const share = (/** @type {number} */ label) => percent(answer.probabilities[label]);
    const names = this.about.class_names;
    const values = { name: name(), first: names[first], share: share(first) };
    if (!others.length) return text("spokenOne", values);
    return text("spoken", { ...values, others: others.map((label) => `${names[label]} ${share(label)}`).join(", ") });
  }
}
