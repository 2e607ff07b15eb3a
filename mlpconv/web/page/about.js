/** What the page says about its network: its training, its accuracy, its mistakes, its layers. */

import { byId, element } from "./dom.js";
import { integer, percent, text } from "./texts.js";

/**
 * What the exporter writes into the page.
 * @typedef {object} About
 * @property {string} name
 * @property {string} version The version of mlpconv.
 * @property {string[]} class_names
 * @property {string | null} names_language The language of the names, if their characters tell it.
 * @property {number | null} background The mean of the training images' outermost pixels, 0 to 1.
 * @property {boolean | null} rectified Whether a ReLU follows the class maps; null if there are none.
 * @property {{max_pixels: number, bits: number}} limits
 * @property {{width: number, height: number, color: boolean}} input
 * @property {{name: string, images: number | null} | null} data
 * @property {{accuracy: number, images: number} | null} test
 * @property {({correct: number, images: number})[]} classes The test images of each class; empty if not known.
 * @property {{label: number, predicted: number, mistakes: number, images: number}[]} confused
 * @property {string | null} date
 * @property {{type: string, difference: number}} weights
 * @property {{name: string, label: string, output: string, parameters: number, macs: number}[]} layers
 * @property {{values: string, width: number, height: number, channels: number, label: number}[]} examples
 */

/** @param {About} about */
export function renderAbout(about) {
  const { data, test, weights, input } = about;
  const parameters = about.layers.reduce((sum, layer) => sum + layer.parameters, 0);
  const trained =
    data &&
    (data.images === null ? data.name : text("trainedImages", { name: data.name, count: integer(data.images) }));
  /** @type {[string, string][]} */
  const facts = [
    [text("trained"), trained ?? text("trainedUnknown")],
    [
      text("accuracy"),
      test
        ? text("accuracyOf", { share: percent(test.accuracy), count: integer(test.images) })
        : text("accuracyUnknown"),
    ],
    [text("input"), text("inputOf", { ...input, color: text(input.color ? "rgb" : "gray") })],
    [
      text("weights"),
      text("weightsOf", {
        parameters: integer(parameters),
        type: weights.type,
        difference: scientific(weights.difference),
      }),
    ],
  ];
  if (about.date) facts.push([text("date"), about.date]);
  byId("facts", HTMLElement).replaceChildren(
    ...facts.flatMap(([name, value]) => [element("dt", { text: name }), element("dd", { text: value })]),
  );
  renderMistakes(about);
  renderLayers(about);
  byId("made", HTMLElement).textContent = text("madeWith", { version: about.version });
}

/** @param {number} value */
function scientific(value) {
  return value === 0 ? "0" : value.toExponential(0).replace("e-", "·10⁻").replace(/\d+$/, superscript);
}

/** @param {string} digits */
function superscript(digits) {
  return [...digits].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(digit)]).join("");
}

/** @param {About} about */
function renderMistakes({ classes, confused, class_names: names }) {
  byId("mistakes", HTMLElement).hidden = !classes.length;
  if (!classes.length) return;
  byId("confused-note", HTMLElement).textContent = text(confused.length ? "confused" : "confusedNone");
  byId("confused", HTMLElement).hidden = !confused.length;
  byId("confused-rows", HTMLElement).replaceChildren(
    ...confused.map(({ label, predicted, mistakes, images }) =>
      row(names[label], names[predicted], [integer(mistakes), percent(mistakes / images)]),
    ),
  );
  byId("class-rows", HTMLElement).replaceChildren(
    ...classes.map(({ correct, images }, label) =>
      row(names[label], null, [images ? percent(correct / images) : "–", integer(images)]),
    ),
  );
}

/** @param {About} about */
function renderLayers({ layers }) {
  const number = (/** @type {number} */ value) => (value ? integer(value) : "");
  byId("layer-rows", HTMLElement).replaceChildren(
    ...layers.map((layer) =>
      row(layer.name, layer.label, [layer.output, number(layer.parameters), number(layer.macs)]),
    ),
  );
  const sum = (/** @type {"parameters" | "macs"} */ key) => layers.reduce((total, layer) => total + layer[key], 0);
  byId("layer-total", HTMLElement).replaceChildren(
    row(text("total"), "", ["", integer(sum("parameters")), integer(sum("macs"))]),
  );
}

/**
 * A row of a table.
 * @param {string} head
 * @param {string | null} second A text next to the head.
 * @param {string[]} numbers
 */
function row(head, second, numbers) {
  const cells = numbers.map((value) => element("td", { class: "n", text: value }));
  const beside = second === null ? [] : [element("td", { class: "wrap" }, element("bdi", { text: second }))];
  return element(
    "tr",
    {},
    element("th", { scope: "row", class: "wrap" }, element("bdi", { text: head })),
    ...beside,
    ...cells,
  );
}
