// The form with the options: what it says, and which of its fields make sense together.

export class Options {
  #fields;
  #picture = null; // the background, an ImageBitmap

  // fields: background, colour, picture, format, hard, threshold, thresholdValue, reverse, key, and the rows that are
  // not always there: colourRow, pictureRow, thresholdRow. changed(): called when the result looks different.
  constructor(form, fields, { changed, refuse }) {
    this.#fields = fields;
    form.addEventListener("input", (event) => {
      this.#arrange();
      if (![fields.key, fields.picture, fields.format].includes(event.target)) changed();
    });
    fields.picture.addEventListener("change", async () => {
      const [file] = fields.picture.files;
      try {
        this.#picture = file ? await createImageBitmap(file) : null;
      } catch {
        this.#picture = null;
        refuse(`This browser cannot show ${file.name}. Choose another background picture.`);
      }
      changed();
    });
    this.#arrange();
  }

  get key() {
    return this.#fields.key.value.trim();
  }

  get format() {
    return this.#fields.format.value;
  }

  // As compose.js takes them.
  get composition() {
    const { background, colour, hard, threshold, reverse } = this.#fields;
    return {
      background: background.value,
      colour: colour.value,
      picture: this.#picture,
      threshold: hard.checked ? Number(threshold.value) : null,
      reverse: reverse.checked,
    };
  }

  #arrange() {
    const { background, colourRow, pictureRow, thresholdRow, threshold, thresholdValue, hard, format } = this.#fields;
    colourRow.hidden = background.value !== "colour";
    pictureRow.hidden = background.value !== "picture";
    thresholdRow.hidden = !hard.checked;
    thresholdValue.value = Number(threshold.value).toFixed(2);
    const jpeg = format.querySelector("[value=jpeg]");
    jpeg.disabled = background.value === "transparent"; // JPEG has no transparency
    if (jpeg.disabled && jpeg.selected) format.value = "webp";
  }
}
