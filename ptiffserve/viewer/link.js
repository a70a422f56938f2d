// Copying the address of this view.

import { clear, notice } from "./notices.js";

const SHOWN_MS = 2500;

export async function copyLink(address) {
  address.write();
  const copied = await copy(location.href);
  notice("link", copied ? "Link copied." : `Copy this link: ${location.href}`, copied ? undefined : ["Dismiss", () => clear("link")]);
  if (copied) setTimeout(() => clear("link"), SHOWN_MS);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyOldWay(text); // plain HTTP has no navigator.clipboard
  }
}

function copyOldWay(text) {
  const field = document.createElement("textarea");
  field.value = text;
  field.readOnly = true;
  field.className = "offstage";
  const before = document.activeElement;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  before?.focus();
  return done;
}
