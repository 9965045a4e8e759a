// Sends one picture to /process. XMLHttpRequest, because fetch does not tell how much of a body has been sent.

const LONGEST_MS = 15 * 60 * 1000; // the service gives up long before; this is for a network that went silent

// Returns { status, blob, header(name) }. Throws an AbortError if the signal says so, else an Error if no whole answer came.
export function send(file, { parameters, key, signal, onProgress }) {
  return new Promise((resolve, reject) => {
    const cancelled = () => reject(new DOMException("cancelled", "AbortError"));
    if (signal.aborted) return cancelled();
    const request = new XMLHttpRequest();
    request.open("POST", `process?${new URLSearchParams(parameters)}`);
    request.responseType = "blob";
    request.timeout = LONGEST_MS;
    request.setRequestHeader("Content-Type", "application/octet-stream");
    if (key) request.setRequestHeader("X-Api-Key", key);
    request.upload.onprogress = ({ loaded, total }) => onProgress(total ? loaded / total : 0);
    request.upload.onload = () => onProgress(1);
    request.onload = () =>
      resolve({ status: request.status, blob: request.response, header: (name) => request.getResponseHeader(name) });
    request.onerror = request.ontimeout = () => reject(new Error("no answer"));
    request.onabort = cancelled;
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(file);
  });
}
