// The pictures, and the one that is being sent: one after another, each with its state. It shows nothing: the events
// "change" (of one picture, in detail) and "added" tell the views.
//
// state: waiting, sending, working, done, failed or cancelled. A waiting picture may have a problem that it waits out.
// Cold services are waited for, so that a picture is sent once, when it will get its turn.

import { connectionLost, notAPicture, problem, problemBeforeSending, problemOfAnswer } from "./problems.js";
import { send } from "./send.js";

const DEFAULT_WAIT_S = 5; // if the service does not say how long
const TRIES = 3; // for what may pass by itself
const LARGEST_WEBP_SIDE = 16383;

export class Queue extends EventTarget {
  pictures = [];
  #service;
  #options;
  #current = null;
  #abort = null;
  #busyUntil = 0;
  #timer = 0;

  // options(): { key, format }, read when a picture is sent
  constructor(service, options) {
    super();
    this.#service = service;
    this.#options = options;
    service.addEventListener("change", () => this.#next());
    service.neededWhileHidden = () => this.unfinished > 0;
  }

  get unfinished() {
    return this.pictures.filter(({ state }) => ["waiting", "sending", "working"].includes(state)).length;
  }

  get done() {
    return this.pictures.filter(({ state }) => state === "done");
  }

  add(files) {
    const added = files.map((file) => ({ file, name: file.name || "photo", state: "waiting", problem: null, tries: 0, notBefore: 0 }));
    this.pictures.push(...added);
    this.dispatchEvent(new CustomEvent("added", { detail: added }));
    this.#next();
    return added;
  }

  cancel(picture) {
    if (picture === this.#current) this.#abort.abort();
    else this.#set(picture, { state: "cancelled", problem: null });
  }

  retry(picture) {
    this.#set(picture, { state: "waiting", problem: null, tries: 0, notBefore: 0 });
    this.#next();
  }

  remove(picture) {
    this.pictures.splice(this.pictures.indexOf(picture), 1);
    if (picture === this.#current) this.#abort.abort();
  }

  // When a waiting picture will be sent, in ms of performance.now(); 0 if nothing but its turn or the service is waited for.
  dueAt({ notBefore }) {
    const at = Math.max(notBefore, this.#busyUntil);
    return at > performance.now() ? at : 0;
  }

  #set(picture, changes) {
    Object.assign(picture, changes);
    this.dispatchEvent(new CustomEvent("change", { detail: picture }));
  }

  #next() {
    clearTimeout(this.#timer);
    const waiting = this.pictures.filter(({ state }) => state === "waiting");
    if (this.#current || !waiting.length || !this.#service.open) return;
    const due = waiting.find((picture) => !this.dueAt(picture));
    if (due) this.#send(due);
    else this.#timer = setTimeout(() => this.#next(), Math.min(...waiting.map((one) => this.dueAt(one))) - performance.now());
  }

  async #send(picture) {
    this.#current = picture;
    this.#abort = new AbortController();
    try {
      this.#set(picture, await this.#attempt(picture, this.#abort.signal));
    } catch (error) {
      this.#set(picture, { state: "failed", problem: problem("The page failed.", error.message, "offer") });
    }
    this.#current = null;
    this.#next();
  }

  // Returns the changes of the picture.
  async #attempt(picture, signal) {
    const { key, format } = this.#options();
    const maxBytes = this.#service.answer?.max_upload_bytes;
    const found = problemBeforeSending(picture.file, { key, maxBytes });
    if (found) return { state: "failed", problem: found };
    const since = performance.now();
    this.#set(picture, { state: "sending", problem: null, sent: 0, since });
    const parameters = { output: "rgba", format: await transferFormat(picture.file, format) };
    let answer;
    try {
      answer = await send(picture.file, {
        parameters,
        key,
        signal,
        onProgress: (sent) => this.#set(picture, { state: sent < 1 ? "sending" : "working", sent }),
      });
    } catch (error) {
      return error.name === "AbortError" ? { state: "cancelled", problem: null } : this.#after(picture, connectionLost());
    }
    if (answer.status === 200) {
      const size = await sizeOfPicture(answer.blob);
      if (!size) return { state: "failed", problem: notAPicture() };
      const facts = { ...size, bytes: answer.blob.size, engine: answer.header("X-Engine"), seconds: (performance.now() - since) / 1000 };
      return { state: "done", problem: null, cutOut: answer.blob, facts };
    }
    return this.#after(
      picture,
      await problemOfAnswer(answer, { open: this.#service.open, maxBytes, size: picture.file.size }),
    );
  }

  #after(picture, found) {
    this.#service.ask(); // the state may be another one by now
    const until = performance.now() + (found.retryAfter || DEFAULT_WAIT_S) * 1000;
    const tries = picture.tries + 1;
    switch (found.then) {
      case "busy":
        this.#busyUntil = until;
        return { state: "waiting", problem: found };
      case "wait":
        return { state: "waiting", problem: found, notBefore: until };
      case "again":
        if (tries < TRIES) return { state: "waiting", problem: found, notBefore: until, tries };
        return { state: "failed", problem: { ...found, then: "offer" } };
      default:
        return { state: "failed", problem: found };
    }
  }
}

// WebP is a tenth of PNG. It cannot hold a longer side.
async function transferFormat(file, format) {
  if (format === "png") return "png";
  const size = await sizeOfPicture(file);
  return size && Math.max(size.width, size.height) > LARGEST_WEBP_SIDE ? "png" : "webp";
}

async function sizeOfPicture(blob) {
  try {
    const bitmap = await createImageBitmap(blob);
    const { width, height } = bitmap;
    bitmap.close();
    return { width, height };
  } catch {
    return null; // not a picture, or of a format that this browser cannot show
  }
}
