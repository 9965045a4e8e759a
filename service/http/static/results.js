// Results as files: composed from the cut-outs with the options of this moment, named, saved, copied, packed.

import { compose, fileOf, isPlain, needsOriginal } from "./compose.js";
import { element } from "./words.js";
import { zip } from "./zip.js";

const EXTENSIONS = { "image/png": "png", "image/webp": "webp", "image/jpeg": "jpg" };
const WORDS = { transparent: "cut-out", picture: "on-picture", colour: "on-colour", white: "on-white" };

// The bitmaps that a composition needs; close them after use. Throws an Error in words for a person.
export async function bitmapsOf(picture, composition) {
  const cutOut = await createImageBitmap(picture.cutOut);
  const original = needsOriginal(composition) ? await createImageBitmap(picture.file).catch(() => null) : null;
  if (needsOriginal(composition) && !original) {
    cutOut.close();
    throw new Error("This browser cannot read the format of the photo, so only the cut-out can be shown.");
  }
  return { cutOut, original };
}

// { name, blob }. A result that the service has made already is not written anew.
export async function resultOf(picture, composition, format) {
  if (composition.background === "picture" && !composition.picture) throw new Error("Choose a background picture first.");
  let blob = picture.cutOut;
  if (!isPlain(composition) || blob.type !== `image/${format}`) {
    const { cutOut, original } = await bitmapsOf(picture, composition);
    const canvas = element("canvas");
    compose(canvas, cutOut, original, composition);
    cutOut.close();
    original?.close();
    blob = await fileOf(canvas, format);
  }
  const stem = picture.name.replace(/\.[^.]*$/, "");
  const word = WORDS[composition.background] ?? composition.background;
  return { name: `${stem}-${word}.${EXTENSIONS[blob.type] ?? "bin"}`, blob };
}

export function save({ name, blob }) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// progress(number): called before each picture.
export async function saveAll(pictures, composition, format, progress) {
  const files = [];
  const used = new Set();
  for (const picture of pictures) {
    progress(files.length + 1);
    const { name, blob } = await resultOf(picture, composition, format);
    files.push({ name: unlike(used, name), blob });
  }
  save({ name: "cut-outs.zip", blob: await zip(files) });
}

function unlike(used, name) {
  const [, stem, extension] = name.match(/^(.*)(\.\w+)$/);
  let free = name;
  for (let number = 2; used.has(free); number++) free = `${stem}-${number}${extension}`;
  used.add(free);
  return free;
}

// Browsers copy pictures only on secure pages, and only as PNG.
export const canCopy = Boolean(navigator.clipboard?.write && globalThis.ClipboardItem);

export function copy(picture, composition) {
  const blob = resultOf(picture, composition, "png").then((result) => result.blob);
  return navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
}
