/** The list of the reader's pictures with their classes, and its CSV file. */

import { byId, contextOf, element } from "./dom.js";
import { integer, percent, text } from "./texts.js";

/** Pictures that are shown as rows; all are in the CSV file. */
const ROWS = 200;
/** Classes of a picture in the CSV file. */
const TOP = 3;
/** The side of a thumbnail in pixels. */
const THUMBNAIL = 48;

/**
 * A picture in the list.
 * @typedef {object} Item
 * @property {string} name
 * @property {[label: number, probability: number][]} top The most probable classes.
 * @property {(() => string) | null} error Why it could not be classified.
 */

/**
 * The most probable classes.
 * @param {Float32Array} probabilities
 * @returns {[number, number][]}
 */
export function topOf(probabilities) {
  /** @type {[number, number][]} */
  const all = [...probabilities].map((probability, label) => [label, probability]);
  return all.sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, TOP);
}

/**
 * The list as CSV, with the columns of `mlpconv predict --out`.
 * @param {Item[]} items
 * @param {string[]} names The names of the classes.
 */
export function csvOf(items, names) {
  const top = Math.min(TOP, names.length);
  const numbered = (/** @type {string} */ name, /** @type {number} */ k) => (k ? `${name}_${k + 1}` : name);
  const places = [...Array(top).keys()];
  const header = ["file", ...places.flatMap((k) => [numbered("label", k), numbered("probability", k)]), "error"];
  const lines = items.map((item) => [
    safe(item.name),
    ...places.flatMap((k) => (item.top[k] ? [safe(names[item.top[k][0]]), item.top[k][1].toFixed(6)] : ["", ""])),
    item.error ? safe(item.error()) : "",
  ]);
  const quoted = (/** @type {string} */ cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  return [header, ...lines].map((cells) => cells.map(quoted).join(",") + "\n").join("");
}

/**
 * A text that spreadsheets do not take for a formula.
 * @param {string} cell
 */
function safe(cell) {
  return /^[=+\-@\t\r]/.test(cell) ? `'${cell}` : cell;
}

/** The part of the page with the list. */
export class PictureList {
  /**
   * @param {string[]} names The names of the classes.
   * @param {(index: number) => void} choose Called with the index of the picture to show.
   */
  constructor(names, choose) {
    this.names = names;
    this.choose = choose;
    this.body = byId("list-rows", HTMLTableSectionElement);
    /** @type {Item[]} */
    this.items = [];
    /** Pictures that were added, whether or not they are classified. */
    this.expected = 0;
    byId("csv", HTMLButtonElement).addEventListener("click", () => this.save());
  }

  /** Start again with the same pictures. */
  clear() {
    this.items = [];
    this.body.replaceChildren();
    this.renderCounts();
  }

  /**
   * Add a classified picture.
   * @param {Item} item
   * @param {ImageBitmap | null} picture
   */
  add(item, picture) {
    this.items.push(item);
    if (this.items.length <= ROWS) this.body.append(this.row(item, this.items.length - 1, picture));
    this.renderCounts();
  }

  /**
   * @param {Item} item
   * @param {number} index
   * @param {ImageBitmap | null} picture
   */
  row(item, index, picture) {
    const thumbnail = element("canvas", { width: String(THUMBNAIL), height: String(THUMBNAIL), "aria-hidden": "true" });
    if (picture) {
      const scale = THUMBNAIL / Math.max(picture.width, picture.height);
      const [width, height] = [picture.width * scale, picture.height * scale];
      contextOf(thumbnail).drawImage(picture, (THUMBNAIL - width) / 2, (THUMBNAIL - height) / 2, width, height);
    }
    const button = element(
      "button",
      { type: "button", class: "link", disabled: "" },
      element("bdi", { text: item.name }),
    );
    if (item.top.length) {
      button.disabled = false;
      button.addEventListener("click", () => this.choose(index));
    }
    const result = element("td", { class: "wrap" });
    const share = element("td", { class: "n" });
    const row = element(
      "tr",
      {},
      element("td", {}, thumbnail),
      element("th", { scope: "row", class: "wrap" }, button),
      result,
      share,
    );
    this.fill(row, item);
    return row;
  }

  /**
   * Write what depends on the language.
   * @param {Element} row
   * @param {Item} item
   */
  fill(row, item) {
    const [, , result, share] = row.children;
    if (item.error) result.textContent = item.error();
    else result.replaceChildren(element("bdi", { text: this.names[item.top[0][0]] }));
    share.textContent = item.error ? "" : percent(item.top[0][1]);
  }

  /** Write everything in the language in use. */
  render() {
    [...this.body.children].forEach((row, index) => this.fill(row, this.items[index]));
    this.renderCounts();
  }

  renderCounts() {
    const { length } = this.items;
    byId("list", HTMLElement).hidden = this.expected < 2 && !this.items.some(({ error }) => error);
    byId("progress", HTMLElement).textContent = text("progress", {
      done: integer(length),
      all: integer(this.expected),
    });
    const more = byId("list-more", HTMLElement);
    more.hidden = length <= ROWS;
    more.textContent = text("more", { count: integer(length - ROWS) });
  }

  /** Save the CSV file. Its first character tells spreadsheets that it is UTF-8. */
  save() {
    const blob = new Blob(["\ufeff", csvOf(this.items, this.names)], { type: "text/csv" });
    const address = URL.createObjectURL(blob);
    element("a", { href: address, download: "predictions.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  }
}
