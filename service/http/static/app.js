// The page: it sends a photo to /process and shows it before and after. It has no dependencies. Every address is
// relative, so that the page works behind a path prefix.

import { connectionError, describeError } from "./errors.js";
import { watchStatus } from "./service_status.js";

const byId = (id) => document.getElementById(id);

const OPTION_DELAY_MS = 250; // a colour picker and a slider fire many events during one change
const EXTENSIONS = { "image/png": "png", "image/webp": "webp", "image/jpeg": "jpg", "image/avif": "avif" };

let photo = null; // the chosen File
let running = null; // AbortController of the current request
let countdown = 0; // timer that counts Retry-After down
let optionTimer = 0; // timer that delays a request after a change of the options

// ---- choosing a photo

byId("file").addEventListener("change", (event) => choose(event.target.files[0]));
byId("another").addEventListener("click", () => byId("file").click());

addEventListener("paste", (event) => {
  const pasted = [...event.clipboardData.files].find((file) => file.type.startsWith("image/"));
  if (pasted) choose(pasted);
});

let dragDepth = 0; // dragenter and dragleave fire for every child element, too
addEventListener("dragenter", () => document.body.classList.toggle("dragging", ++dragDepth > 0));
addEventListener("dragleave", () => document.body.classList.toggle("dragging", --dragDepth > 0));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  dragDepth = 0;
  document.body.classList.remove("dragging");
  choose(event.dataTransfer.files[0]);
});

function choose(file) {
  if (!file) return;
  photo = file;
  byId("file").value = ""; // otherwise choosing the same file again fires no event
  byId("result").hidden = byId("actions").hidden = false;
  if (document.activeElement === byId("file")) byId("another").focus(); // the focused input is hidden next
  byId("file").hidden = byId("drop").hidden = byId("download").hidden = true;
  byId("facts").textContent = "";
  byId("compare").className = "compare waiting"; // shows the photo alone until there is a result
  showImage("before", file);
  process();
}

// Most browsers cannot show a TIFF, for example. Then only the result is shown.
byId("before").addEventListener("error", () => byId("compare").classList.add("single"));

function showImage(id, blob) {
  const image = byId(id);
  URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(blob);
}

// ---- options

byId("options").addEventListener("submit", (event) => {
  event.preventDefault();
  process();
});
byId("options").addEventListener("input", (event) => {
  arrangeOptions();
  if (event.target.id === "key") return; // a key is sent with Enter or with the next request, not after each letter
  clearTimeout(optionTimer);
  optionTimer = setTimeout(process, OPTION_DELAY_MS);
});

function arrangeOptions() {
  const output = byId("output").value;
  byId("colour-field").hidden = output !== "colour";
  byId("threshold-field").hidden = !byId("hard").checked;
  byId("threshold-value").value = Number(byId("threshold").value).toFixed(2);
  const jpeg = byId("format").querySelector("[value=jpeg]");
  jpeg.disabled = output === "rgba"; // JPEG has no transparency
  if (jpeg.disabled && jpeg.selected) byId("format").value = "png";
}

function queryParameters() {
  const output = byId("output").value;
  const parameters = new URLSearchParams({
    output: output === "colour" ? byId("colour").value : output,
    format: byId("format").value,
  });
  if (byId("hard").checked) parameters.set("threshold", byId("threshold").value);
  if (byId("reverse").checked) parameters.set("reverse", "true");
  return parameters;
}

// ---- the request

async function process() {
  clearTimeout(optionTimer);
  clearInterval(countdown);
  if (!photo) return;
  running?.abort();
  const current = (running = new AbortController());
  byId("error").hidden = true;
  byId("result").classList.add("stale");
  byId("download").hidden = true;
  const cold = ["loading", "warming"].includes(serviceState());
  byId("progress").textContent = cold
    ? "Waiting for the service to start"
    : "Removing the background";

  const headers = { "Content-Type": "application/octet-stream" };
  const key = byId("key").value.trim();
  if (key) headers["X-Api-Key"] = key;
  try {
    const response = await fetch(`process?${queryParameters()}`, { method: "POST", headers, body: photo, signal: current.signal });
    if (response.ok) await showResult(response, await response.blob(), current.signal);
    else showError(await describeError(response, photo, ["ready", "degraded"].includes(serviceState())));
  } catch (error) {
    if (current.signal.aborted) return; // a newer request replaced this one
    showError(connectionError());
  }
  if (current === running) byId("progress").textContent = "";
}

function serviceState() {
  return byId("status").dataset.state;
}

async function showResult(response, cutOut, signal) {
  showImage("after", cutOut);
  const image = byId("after");
  await image.decode().catch(() => {}); // if the browser cannot show the format, it can still be downloaded
  if (signal.aborted) return;
  byId("compare").classList.remove("waiting");
  byId("result").classList.remove("stale");

  const timing = response.headers.get("Server-Timing") ?? "";
  const milliseconds = [...timing.matchAll(/dur=([\d.]+)/g)].reduce((sum, [, part]) => sum + Number(part), 0);
  const facts = [`${image.naturalWidth} × ${image.naturalHeight} pixels`, formatBytes(cutOut.size)];
  if (response.headers.has("X-Engine")) facts.push(`made by ${response.headers.get("X-Engine")}`);
  if (milliseconds) facts.push(`in ${(milliseconds / 1000).toFixed(2)} s`);
  byId("facts").textContent = facts.join(", ");

  const name = (photo.name || "photo").replace(/\.[^.]*$/, "");
  const download = byId("download");
  download.href = image.src;
  download.download = `${name}-${byId("output").value}.${EXTENSIONS[cutOut.type] ?? "bin"}`;
  download.hidden = false;
}

function formatBytes(bytes) {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

// ---- errors

byId("retry").addEventListener("click", process);

function showError({ title, message, requestId, retryAfter, needsKey, final }) {
  byId("error-title").textContent = title;
  byId("error-message").textContent = message;
  byId("error-id").textContent = requestId ? `Request ${requestId}` : "";
  byId("retry").hidden = final;
  byId("error").hidden = false;
  byId("progress").textContent = "";
  if (needsKey) {
    byId("key-details").open = true;
    byId("key").focus();
  }
  countDownToRetry(retryAfter);
}

function countDownToRetry(seconds) {
  const button = byId("retry");
  const ends = performance.now() + seconds * 1000;
  const tick = () => {
    const left = Math.ceil((ends - performance.now()) / 1000);
    button.disabled = left > 0;
    button.textContent = left > 0 ? `Try again in ${left} s` : "Try again";
    if (left <= 0) clearInterval(countdown);
  };
  clearInterval(countdown);
  countdown = setInterval(tick, 250);
  tick();
}

// ---- before and after

byId("slider").addEventListener("input", (event) => {
  byId("compare").style.setProperty("--split", `${event.target.value}%`);
});

// ---- start

arrangeOptions();
watchStatus(byId("status"), byId("status-detail"), byId("banners"));
