// Short messages over the slide, one for each subject, and the page that stands in for a slide that cannot be shown.

const shown = new Map(); // subject -> element

// action: [label, function], a button in the message. The same subject again replaces the text.
export function notice(subject, text, action) {
  const said = `${text}${action?.[0] ?? ""}`;
  if (shown.get(subject)?.dataset.said === said) return;
  const element = document.createElement("div");
  element.className = "panel notice";
  element.dataset.subject = subject;
  element.dataset.said = said;
  const words = document.createElement("span");
  words.textContent = text;
  element.append(words);
  if (action) element.append(button(...action));
  if (shown.has(subject)) shown.get(subject).replaceWith(element);
  else document.getElementById("notices").append(element);
  shown.set(subject, element);
}

export function clear(subject) {
  shown.get(subject)?.remove();
  shown.delete(subject);
}

function button(label, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "button";
  made.textContent = label;
  made.addEventListener("click", act);
  return made;
}

export function fail(title, text) {
  const panel = document.getElementById("failure");
  panel.querySelector("h2").textContent = title;
  panel.querySelector("p").textContent = text;
  panel.hidden = false;
}
