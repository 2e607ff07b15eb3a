/** The page: it joins the engine with the reader's pictures. The same script is the worker. */

import { decodeBase64 } from "../engine/tensors.js";
import { renderAbout } from "./about.js";
import { AnswerView } from "./answer.js";
import { byId, element } from "./dom.js";
import { DrawingPad } from "./drawing.js";
import { drawImage } from "./overlay.js";
import { PictureList, topOf } from "./list.js";
import { decode, PictureError, pixelsOf } from "./pictures.js";
import { integer, language, LANGUAGES, preferred, setLanguage, text } from "./texts.js";
import { serve, startEngine } from "./worker.js";

/** @import { Answer } from "../engine/classifier.js" */
/** @import { About } from "./about.js" */
/** @import { Item } from "./list.js" */
/** @import { TextName } from "./texts.js" */

/**
 * A picture to show.
 * @typedef {object} Source
 * @property {() => string} name
 * @property {() => Promise<ImageBitmap | HTMLCanvasElement>} open
 */

function startPage() {
  /** @type {About} */
  const about = JSON.parse(byId("about-data", HTMLScriptElement).text);
  const engine = startEngine(byId("program", HTMLScriptElement).text);
  const view = new AnswerView(about);
  /** @type {(File | Blob)[]} */
  const files = [];
  /** @type {Source | null} What is shown. */
  let current = null;
  /** @type {(() => string) | null} The message of the live region. */
  let message = () => text("loading");
  const invert = byId("invert", HTMLInputElement);
  const list = new PictureList(about.class_names, (index) => show(sourceOf(files[index])));

  const say = (/** @type {(() => string) | null} */ next) => {
    message = next;
    byId("status", HTMLElement).textContent = next ? next() : "";
  };

  const nameOf = (/** @type {File | Blob} */ file) => (file instanceof File && file.name ? file.name : text("pasted"));

  const sourceOf = (/** @type {File | Blob} */ file) => ({
    name: () => nameOf(file),
    open: () => decode(file, about.limits),
  });

  /** The reason why a picture cannot be classified. */
  const reasonOf = (/** @type {unknown} */ error, /** @type {() => string} */ name) => {
    if (!(error instanceof PictureError)) return () => text("failed", { reason: /** @type {Error} */ (error).message });
    const numbers = Object.entries(error.values).map(([key, value]) => [key, integer(value)]);
    return () => text(error.reason, { name: name(), ...Object.fromEntries(numbers) });
  };

  /** @returns {Promise<Answer>} */
  const classify = async (/** @type {ImageBitmap | HTMLCanvasElement} */ picture) =>
    /** @type {Answer} */ (await engine({ kind: "classify", picture: pixelsOf(picture), invert: invert.checked }));

  const show = async (/** @type {Source} */ source) => {
    current = source;
    say(() => text("working", { name: source.name() }));
    /** @type {ImageBitmap | HTMLCanvasElement | null} */
    let unused = null;
    try {
      const picture = (unused = await source.open());
      const inverted = invert.checked;
      const answer = await classify(picture);
      if (current !== source) return; // another picture was chosen in the meantime
      unused = null;
      view.show({ name: source.name, picture, answer, invert: inverted });
      say(() => view.sentence());
    } catch (error) {
      if (current === source) say(reasonOf(error, source.name));
    } finally {
      if (unused instanceof ImageBitmap) unused.close();
    }
  };

  // One picture after the other, so that only one is decoded at a time.
  let running = false;
  const classifyFiles = async () => {
    list.renderCounts();
    if (running) return;
    running = true;
    while (list.items.length < files.length) {
      const { items } = list;
      const file = files[items.length];
      /** @type {ImageBitmap | null} */
      let picture = null;
      /** @type {Item} */
      let item;
      try {
        picture = await decode(file, about.limits);
        item = { name: nameOf(file), top: topOf((await classify(picture)).probabilities), error: null };
      } catch (error) {
        item = { name: nameOf(file), top: [], error: reasonOf(error, () => nameOf(file)) };
      }
      if (list.items === items) list.add(item, picture); // else the list was cleared in the meantime
      picture?.close();
    }
    running = false;
  };

  const addFiles = (/** @type {Iterable<File>} */ added) => {
    const first = files.length;
    files.push(...added);
    list.expected = files.length;
    if (files.length > first) show(sourceOf(files[first]));
    classifyFiles();
  };

  const render = () => {
    document.documentElement.lang = language();
    document.title = byId("title", HTMLElement).textContent = text("title", { name: about.name });
    for (const each of document.querySelectorAll("[data-text]"))
      each.textContent = text(/** @type {TextName} */ (each.getAttribute("data-text")));
    for (const each of document.querySelectorAll("[data-label-text]"))
      each.setAttribute("aria-label", text(/** @type {TextName} */ (each.getAttribute("data-label-text"))));
    byId("lead", HTMLElement).textContent = text("lead", { classes: integer(about.class_names.length) });
    for (const button of document.querySelectorAll("#examples button")) {
      const label = Number(/** @type {HTMLElement} */ (button).dataset.label);
      button.setAttribute("aria-label", text("example", { name: about.class_names[label] }));
    }
    say(message);
    view.render();
    list.render();
    renderAbout(about);
  };

  const choices = byId("language", HTMLSelectElement);
  choices.append(
    ...Object.entries(LANGUAGES).map(([value, { name }]) => element("option", { value, lang: value, text: name })),
  );
  setLanguage(preferred(navigator.languages));
  choices.value = language();
  choices.addEventListener("change", () => {
    setLanguage(choices.value);
    render();
  });

  for (const id of ["choose", "photograph"]) {
    const input = byId(`${id}-input`, HTMLInputElement);
    byId(id, HTMLButtonElement).addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      addFiles([...(input.files ?? [])]);
      input.value = ""; // so that the same file can be chosen again
    });
  }
  listenForPictures(addFiles);

  const drawing = byId("drawing", HTMLElement);
  const draw = byId("draw", HTMLButtonElement);
  draw.addEventListener("click", () => {
    drawing.hidden = !drawing.hidden;
    draw.setAttribute("aria-expanded", String(!drawing.hidden));
  });
  new DrawingPad((about.background ?? 1) < 0.5, (canvas) =>
    show({ name: () => text("drawing"), open: async () => canvas }),
  );
  invert.addEventListener("change", () => {
    if (current) show(current);
    list.clear();
    classifyFiles();
  });

  const examples = about.examples.map((example) => {
    const canvas = element("canvas");
    drawImage(canvas, { ...example, values: decodeBase64(example.values) });
    const button = element("button", { type: "button", "data-label": String(example.label) }, canvas);
    const source = {
      name: () => text("example", { name: about.class_names[example.label] }),
      open: async () => canvas,
    };
    button.addEventListener("click", () => show(source));
    byId("examples", HTMLElement).append(button);
    return source;
  });
  byId("examples-row", HTMLElement).hidden = !examples.length;

  render();
  const classifier = byId("classifier", HTMLScriptElement);
  const kernel = byId("kernel", HTMLScriptElement);
  const loading = engine({ kind: "load", classifier: classifier.text, kernel: kernel.text });
  classifier.textContent = ""; // megabytes of text that nothing needs any more
  loading.then(
    () => (current ? null : examples.length ? show(examples[0]) : say(() => text("ready"))),
    (error) => say(() => text("failed", { reason: error.message })),
  );
}

/**
 * Pictures that are dropped anywhere on the page, or pasted.
 * @param {(files: File[]) => void} add
 */
function listenForPictures(add) {
  const area = document.documentElement;
  const over = (/** @type {DragEvent} */ event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    area.classList.toggle("dropping", event.type !== "drop");
    if (event.type === "drop") add([...event.dataTransfer.files]);
  };
  for (const name of /** @type {const} */ (["dragenter", "dragover", "drop"])) document.addEventListener(name, over);
  document.addEventListener("dragleave", ({ relatedTarget }) => relatedTarget ?? area.classList.remove("dropping"));
  document.addEventListener("paste", ({ clipboardData }) => add([...(clipboardData?.files ?? [])]));
}

if (typeof document === "undefined") serve();
else startPage();
