// Warms the service before somebody needs it, once a session: warm.js?on=hover&at=.cut-out. See docs/warming.md.
// "warmup" events tell, in detail.state: warming, waiting, ready, failed, skipped.
const own = new URL(import.meta.url);
const address = new URL("../warmup", own);
const signs = { hover: ["pointerover", "focusin"], intent: ["pointerdown", "focusin", "dragenter"] };
let warming;

const tell = (state, detail) => document.dispatchEvent(new CustomEvent("warmup", { detail: { state, ...detail } }));

function session(use) {
  try {
    return use(sessionStorage);
  } catch {
    // forbidden
  }
}

async function shown() {
  while (document.hidden) {
    await new Promise((done) => document.addEventListener("visibilitychange", done, { once: true }));
  }
}

async function run(needed) {
  if (!needed) {
    if (navigator.connection?.saveData) return tell("skipped", { reason: "metered" });
    if (session((all) => all[address])) return tell("skipped", { reason: "session" });
  }
  await shown();
  session((all) => (all[address] = "warmed"));
  tell("warming");
  let status;
  for (let tries = 0; tries < 20; tries++) {
    const answer = await fetch(address, { method: "POST", keepalive: true }).catch(() => null);
    status = answer?.status;
    if (status === 200) return tell("ready");
    if (status !== 503) break;
    const seconds = Math.min(Number(answer.headers.get("Retry-After")) || 5, 60);
    tell("waiting", { seconds });
    await new Promise((done) => setTimeout(done, seconds * 1000));
    await shown();
  }
  session((all) => delete all[address]);
  tell("failed", { status });
}

// needed: the service is used for sure.
export const warm = (needed) => (warming ??= run(needed));

const on = own.searchParams.get("on");
const at = own.searchParams.get("at") ?? "*";
if (on === "load") warm();
for (const sign of signs[on] ?? []) addEventListener(sign, ({ target }) => target.closest?.(at) && warm());
