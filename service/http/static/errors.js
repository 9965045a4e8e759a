// Turns an error of the service into words for the person in front of the page.

const TITLES = {
  400: "The service did not accept the request.",
  401: "This service needs an API key.",
  408: "The upload took too long.",
  413: "This photo is too large.",
  415: "This file is not a photo that the service can read.",
  422: "The service cannot use this photo.",
  429: "The service is busy.",
  500: "The service failed.",
  503: "The service is not available.",
  504: "The service took too long.",
};

const FINAL = new Set([400, 413, 415, 422]); // the same photo would get the same answer

// The messages of the service are for developers. These are for the people who use the page.
function ownWords(status, photo, ready) {
  if (status === 400 && photo.size === 0) return { title: "This file is empty.", message: "Choose another photo." };
  if (status === 401) return { message: "Enter a valid key under “API key”, then try again." };
  if (status === 503 && !ready) return { message: "The service is starting again. Try again in a moment." };
  return {};
}

export async function describeError(response, photo, ready) {
  const { status, headers } = response;
  // A proxy may have answered in its own format. Only the service's messages are shown.
  const { message = `Status ${status}.`, request_id: requestId = headers.get("X-Request-Id") } =
    (await response.json().catch(() => null))?.error ?? {};
  return {
    title: TITLES[status] ?? "That did not work.",
    message,
    ...ownWords(status, photo, ready),
    requestId,
    retryAfter: Number(headers.get("Retry-After")) || 0,
    needsKey: status === 401,
    final: FINAL.has(status),
  };
}

export function connectionError() {
  return {
    title: "The service does not answer.",
    message: "The connection was lost. The service may be down, or this photo may be too large for it.",
    requestId: "",
    retryAfter: 0,
    needsKey: false,
    final: false,
  };
}
