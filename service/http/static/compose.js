// Composes the result from one cut-out, in the browser: on nothing, a colour, another picture, or as a mask.
//
// options: { background, colour, picture, threshold, reverse }. background: transparent, white, colour, picture, blurred
// or mask; picture: an ImageBitmap or null; threshold: 0-1, or null for soft edges.

const BLUR_SIDE = 40; // the blurred background is the photo scaled down to this and up again

export function needsOriginal({ background, reverse }) {
  return reverse || background === "blurred";
}

// Whether the cut-out itself is the result, so that nothing has to be composed.
export function isPlain({ background, threshold, reverse }) {
  return background === "transparent" && threshold === null && !reverse;
}

// Draws the result on the canvas. cutOut and original are ImageBitmaps of the same size; the original may be null if
// nothing needs it.
export function compose(canvas, cutOut, original, options) {
  canvas.width = cutOut.width;
  canvas.height = cutOut.height;
  const context = canvas.getContext("2d");
  context.drawImage(cutOut, 0, 0);
  if (options.threshold !== null) harden(context, options.threshold);
  if (options.reverse) under(context, "source-out", () => context.drawImage(original, 0, 0, canvas.width, canvas.height));
  const fill = (colour) => {
    context.fillStyle = colour;
    context.fillRect(0, 0, canvas.width, canvas.height);
  };
  switch (options.background) {
    case "white":
      return under(context, "destination-over", () => fill("#ffffff"));
    case "colour":
      return under(context, "destination-over", () => fill(options.colour));
    case "picture":
      if (options.picture) under(context, "destination-over", () => drawCover(context, options.picture));
      return;
    case "blurred":
      return under(context, "destination-over", () => drawBlurred(context, original));
    case "mask":
      under(context, "source-in", () => fill("#ffffff"));
      return under(context, "destination-over", () => fill("#000000"));
  }
}

function under(context, operation, draw) {
  context.globalCompositeOperation = operation;
  draw();
  context.globalCompositeOperation = "source-over";
}

function harden(context, threshold) {
  const { width, height } = context.canvas;
  const pixels = context.getImageData(0, 0, width, height);
  const limit = threshold * 255;
  for (let at = 3; at < pixels.data.length; at += 4) pixels.data[at] = pixels.data[at] > limit ? 255 : 0;
  context.putImageData(pixels, 0, 0);
}

// As CSS "cover": as large as the canvas or larger, in the middle.
function drawCover(context, picture) {
  const { width, height } = context.canvas;
  const scale = Math.max(width / picture.width, height / picture.height);
  const [w, h] = [picture.width * scale, picture.height * scale];
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, (width - w) / 2, (height - h) / 2, w, h);
}

function drawBlurred(context, original) {
  const { width, height } = context.canvas;
  const scale = Math.min(1, BLUR_SIDE / Math.max(width, height));
  const small = new OffscreenCanvas(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
  const smallContext = small.getContext("2d");
  smallContext.imageSmoothingQuality = "high";
  smallContext.drawImage(original, 0, 0, small.width, small.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, width, height);
}

// The canvas as a file. A browser that cannot write the format writes PNG: the type of the blob says which.
export async function fileOf(canvas, format) {
  const blob = await new Promise((done) => canvas.toBlob(done, `image/${format}`, format === "webp" ? 0.9 : 0.92));
  if (!blob) throw new Error("This picture is too large for this browser to compose.");
  return blob;
}
