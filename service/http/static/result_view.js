// Shows the chosen picture: the photo alone until there is a cut-out, then before and after.

import { compose, needsOriginal } from "./compose.js";
import { bitmapsOf } from "./results.js";
import { bytes, setText } from "./words.js";

export class ResultView {
  picture = null;
  #parts;
  #viewer;
  #composition;
  #shown = null; // the cut-out on the canvas and what was decoded for it
  #drawing = Promise.resolve();
  #wanted = 0;

  // parts: result, frame, before, canvas, facts, problem. composition(): the options of this moment.
  constructor(parts, viewer, composition) {
    this.#parts = parts;
    this.#viewer = viewer;
    this.#composition = composition;
    const { before, frame } = parts;
    // Most browsers cannot show a TIFF, for example. Then only the result is shown.
    before.addEventListener("error", () => frame.classList.add("single"));
    before.addEventListener("load", () => {
      if (!this.picture?.cutOut) this.#viewer.reset(before.naturalWidth, before.naturalHeight);
    });
  }

  show(picture) {
    if (picture === this.picture) return this.update();
    const { result, before, frame } = this.#parts;
    this.picture = picture;
    result.hidden = !picture;
    frame.className = "compare waiting";
    URL.revokeObjectURL(before.src);
    if (!picture) return before.removeAttribute("src");
    before.src = URL.createObjectURL(picture.file);
    before.alt = `The original photo, ${picture.name}`;
    setText(this.#parts.facts, "");
    setText(this.#parts.problem, "");
    this.update();
  }

  // Draw anew. Calls that come while one is drawn become one.
  update() {
    const number = ++this.#wanted;
    this.#drawing = this.#drawing.then(() => (number === this.#wanted ? this.#draw() : null));
    return this.#drawing;
  }

  async #draw() {
    const { picture } = this;
    if (!picture?.cutOut) return;
    const { frame, canvas, facts, problem } = this.#parts;
    const composition = this.#composition();
    try {
      const { cutOut, original } = await this.#decoded(picture, composition);
      if (picture !== this.picture) return;
      if (frame.classList.contains("waiting")) this.#viewer.reset(cutOut.width, cutOut.height);
      compose(canvas, cutOut, original, composition);
      setText(problem, composition.background === "picture" && !composition.picture ? "Choose a background picture." : "");
    } catch (error) {
      setText(problem, error.message);
    }
    canvas.ariaLabel = descriptionOf(composition);
    frame.classList.remove("waiting");
    setText(facts, factsOf(picture));
  }

  async #decoded(picture, composition) {
    const enough = this.#shown?.blob === picture.cutOut && (this.#shown.original || !needsOriginal(composition));
    if (!enough) {
      this.#shown?.cutOut.close();
      this.#shown?.original?.close();
      this.#shown = null;
      this.#shown = { blob: picture.cutOut, ...(await bitmapsOf(picture, composition)) };
    }
    return this.#shown;
  }
}

function descriptionOf({ background, reverse }) {
  if (background === "mask") return "The mask of the photo";
  const shown = reverse ? "The background of the photo" : "The photo";
  if (background === "transparent") return reverse ? `${shown} without what stands before it` : `${shown} without its background`;
  return `${shown} before ${{ white: "white", colour: "a colour", picture: "another picture" }[background] ?? "its blurred self"}`;
}

function factsOf({ facts, cutOut }) {
  const form = cutOut.type === "image/png" ? "PNG" : "WebP";
  return `${facts.width} × ${facts.height} pixels, ${bytes(facts.bytes)} as ${form}, in ${facts.seconds.toFixed(1)} s`;
}
