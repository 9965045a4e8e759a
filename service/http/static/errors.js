// From an answer that is not a picture to what a person reads.

const TITLES = {
  400: "That request was not right.",
  401: "Not let in.",
  408: "The upload took too long.",
  413: "The photo is too large.",
  415: "That is not a photo this service reads.",
  422: "The photo cannot be used.",
  429: "The service is busy.",
  500: "The service failed.",
  503: "The service is not available.",
  504: "It took too long.",
};

const FINAL = new Set([400, 413, 415, 422]); // the same photo would meet the same answer

export async function describeError(response) {
  const { status, headers } = response;
  // Anything between here and the service may answer in its own words: only ours are shown.
  const { message = `Status ${status}.`, request_id: requestId = headers.get("X-Request-Id") } =
    (await response.json().catch(() => null))?.error ?? {};
  return {
    title: TITLES[status] ?? "That did not work.",
    message,
    requestId,
    retryAfter: Number(headers.get("Retry-After")) || 0,
    needsKey: status === 401,
    final: FINAL.has(status),
  };
}

export function lossOfConnection() {
  return {
    title: "No answer.",
    message: "The connection was lost: the service may be down, or the photo larger than it accepts.",
    requestId: "",
    retryAfter: 0,
    needsKey: false,
    final: false,
  };
}
