// Small helpers for text and elements. Text only ever becomes text nodes, never HTML.

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// Writes only what has changed, so that screen readers and selections are left alone.
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

export function sentence(text) {
  const trimmed = (text ?? "").trim().replace(/^./, (first) => first.toUpperCase());
  return !trimmed || /[.!?]$/.test(trimmed) ? trimmed : `${trimmed}.`;
}

export function bytes(count) {
  return count < 1e6 ? `${Math.ceil(count / 1e3)} kB` : `${(count / 1e6).toFixed(1)} MB`;
}

export function pictures(count) {
  return count === 1 ? "1 picture" : `${count} pictures`;
}
