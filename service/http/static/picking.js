// Pictures from the file field, the clipboard and drops. What cannot be used is said in words.

import { problem } from "./problems.js";

// pick(files) gets at least one file; refuse(problem) says why nothing was taken.
export function watchPicking({ field, pick, refuse }) {
  field.addEventListener("change", () => {
    const files = [...field.files];
    field.value = ""; // otherwise choosing the same file again fires no event
    if (files.length) pick(files);
  });

  addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (files.length) pick(files);
    else if (!event.target.closest?.("input")) refuse(notAFile("pasted"));
  });

  let depth = 0; // dragenter and dragleave fire for every child element, too
  const show = (change) => document.body.classList.toggle("dragging", (depth = Math.max(0, change)) > 0);
  addEventListener("dragenter", () => show(depth + 1));
  addEventListener("dragleave", () => show(depth - 1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    show(0);
    const { files, folders } = dropped(event.dataTransfer);
    if (files.length) pick(files);
    if (folders) refuse(problem("A folder cannot be taken.", "Open it, select the pictures in it, and drop those."));
    else if (!files.length) refuse(notAFile("dropped"));
  });
}

function dropped(transfer) {
  const items = [...transfer.items].filter(({ kind }) => kind === "file");
  const entries = items.map((item) => ({ file: item.getAsFile(), folder: item.webkitGetAsEntry?.()?.isDirectory }));
  return {
    files: entries.filter(({ file, folder }) => file && !folder).map(({ file }) => file),
    folders: entries.filter(({ folder }) => folder).length,
  };
}

function notAFile(how) {
  return problem(`What was ${how} is a link or a text, not a picture.`, "Save the picture first, then choose the file.");
}
