// What went wrong, in words for the person in front of the page, and what the page does about it.
//
// then: "stop" (the same picture would get the same answer), "offer" (a person may try again), "key" (a key is needed),
// "busy" (every picture waits), "wait" (this picture waits), "again" (a few times, then offer).

import { bytes } from "./words.js";

const BY_STATUS = {
  400: ["The service did not accept this picture.", "stop"],
  401: ["This service needs an API key.", "key"],
  408: ["The upload took too long.", "again"],
  413: ["This file is too large.", "stop"],
  415: ["This file is not a picture that the service can read.", "stop"],
  422: ["The service cannot use this picture.", "stop"],
  429: ["The service is busy.", "busy"],
  500: ["The service failed.", "offer"],
  503: ["The service is not available.", "wait"],
  504: ["The service took too long.", "again"],
};

export function problem(title, message, then = "stop", more = {}) {
  return { title, message, then, requestId: "", retryAfter: 0, ...more };
}

// Of an answer that is not 200. open: whether the service says that it takes pictures.
export async function problemOfAnswer({ status, blob, header }, { open, maxBytes, size }) {
  const [title, then] = BY_STATUS[status] ?? ["That did not work.", "offer"];
  // A proxy may have answered in its own format. Only the service's messages are shown.
  const { message = `The answer had status ${status}.`, request_id: id } = await errorIn(blob);
  const words = {
    401: "Enter a valid key under “API key” and press Enter.",
    413: maxBytes ? tooLarge(size, maxBytes) : message,
    429: "The page sends the picture again by itself.",
    503: open ? message : "The service is starting again. The page sends the picture again by itself.",
  };
  return problem(title, words[status] ?? message, then, {
    requestId: id ?? header("X-Request-Id") ?? "",
    retryAfter: Number(header("Retry-After")) || 0,
  });
}

async function errorIn(blob) {
  try {
    return JSON.parse(await blob.text()).error ?? {};
  } catch {
    return {};
  }
}

export function connectionLost() {
  if (!navigator.onLine) return problem("You are offline.", "The page sends the picture when you are online again.", "wait");
  return problem("The connection was lost.", "The service did not answer to the end.", "again");
}

export function notAPicture() {
  return problem(
    "The answer is not a picture.",
    "Something between this page and the service may have answered in its place, such as a sign-in page.",
    "offer",
  );
}

// What can be known without sending it; null if nothing speaks against it.
export function problemBeforeSending(file, { key, maxBytes }) {
  if (file.size === 0) return problem("This file is empty.", "Choose another picture.");
  if (maxBytes && file.size > maxBytes) return problem("This file is too large.", tooLarge(file.size, maxBytes));
  if (/[^\x21-\x7e]/.test(key)) {
    return problem("This cannot be an API key.", "A key has only letters, digits and signs, without spaces or accents.", "key");
  }
  return null;
}

function tooLarge(size, maxBytes) {
  return `It has ${bytes(size)}. The service takes ${bytes(maxBytes)} at most.`;
}
