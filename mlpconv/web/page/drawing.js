/** A drawing area: light strokes on dark where the training images are so, else dark strokes on light. */

import { byId, contextOf } from "./dom.js";

/** The width of a stroke, as a share of the side. */
const STROKE = 0.08;

/** The drawing area. */
export class DrawingPad {
  /**
   * @param {boolean} dark Whether the background is dark.
   * @param {(drawing: HTMLCanvasElement) => void} changed Called after each stroke.
   */
  constructor(dark, changed) {
    this.canvas = byId("pad", HTMLCanvasElement);
    this.context = contextOf(this.canvas);
    this.paper = dark ? "#000" : "#fff";
    this.ink = dark ? "#fff" : "#000";
    this.clear();
    let down = false;
    this.canvas.addEventListener("pointerdown", (event) => {
      down = true;
      this.canvas.setPointerCapture(event.pointerId);
      this.context.beginPath();
      this.context.moveTo(...this.place(event));
      this.extend(event);
      event.preventDefault();
    });
    this.canvas.addEventListener("pointermove", (event) => down && this.extend(event));
    for (const name of /** @type {const} */ (["pointerup", "pointercancel"]))
      this.canvas.addEventListener(name, () => {
        if (down) changed(this.copy());
        down = false;
      });
    byId("pad-clear", HTMLButtonElement).addEventListener("click", () => this.clear());
  }

  /** Remove all strokes. */
  clear() {
    const { width, height } = this.canvas;
    this.context.fillStyle = this.paper;
    this.context.fillRect(0, 0, width, height);
    Object.assign(this.context, {
      strokeStyle: this.ink,
      lineWidth: STROKE * width,
      lineCap: "round",
      lineJoin: "round",
    });
  }

  /** The drawing as it is now. */
  copy() {
    const copy = document.createElement("canvas");
    copy.width = this.canvas.width;
    copy.height = this.canvas.height;
    contextOf(copy).drawImage(this.canvas, 0, 0);
    return copy;
  }

  /**
   * Continue the stroke.
   * @param {PointerEvent} event
   */
  extend(event) {
    this.context.lineTo(...this.place(event));
    this.context.stroke();
  }

  /**
   * The place of a pointer on the canvas.
   * @param {PointerEvent} event
   * @returns {[number, number]}
   */
  place({ clientX, clientY }) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    return [((clientX - left) / width) * this.canvas.width, ((clientY - top) / height) * this.canvas.height];
  }
}
