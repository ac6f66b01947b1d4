// The page's behaviour: a photo goes to the server, its answer comes back, a person may correct it.
// Knows the HTTP API and this document. All addresses are relative, so it works behind any prefix.

const POLL_MS = 2000;
const REASONS = {
  cost: "The model is not sure enough: a person should look at this photo.",
  unfamiliar: "This photo is unlike anything the model was trained on, so do not trust its answer.",
};

const MOST_SHOWN = 12; // classes; of more the likeliest are shown, and the others are in a list
const LIKELIEST = 6;

const part = (id) => document.getElementById(id);
const history = [];
let shown = null; // the entry of the history that is on display

class Trouble extends Error {}

async function call(path, options = {}) {
  const key = sessionStorage.getItem("key");
  const headers = { ...options.headers, ...(key ? { "x-api-key": asBytes(key) } : {}) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new Trouble("The server cannot be reached. Is it running?");
  }
  const value = await response.json().catch(() => ({}));
  if (response.ok) return value;
  if (response.status === 401) askForKey();
  throw new Trouble(value.detail ?? `The server answered ${response.status}.`);
}

// A header holds bytes, one a character; what people paste may be any text.
function asBytes(text) {
  return String.fromCharCode(...new TextEncoder().encode(text));
}

async function watchModel() {
  const live = part("live");
  try {
    const response = await fetch("readyz");
    const { model, refused, detail } = await response.json();
    live.dataset.state = model ? "ready" : "waiting";
    sayLive(model
      ? `${model.name} · version ${model.version}`
      : refused?.length ? detail : "no model yet: it answers here once the first training is done");
    const latest = refused?.at(-1);
    live.title = latest ? `version ${latest.version} was refused: ${latest.reason}` : "";
  } catch {
    live.dataset.state = "gone";
    sayLive("the server cannot be reached");
  }
  setTimeout(watchModel, POLL_MS);
}

// Only what is new: a screen reader reads it out each time that it is written.
function sayLive(words) {
  const live = part("live");
  if (live.textContent !== words) live.textContent = words;
}

async function ask(files) {
  let last = shown;
  for (const file of files) {
    const entry = { file, url: URL.createObjectURL(file), answer: null, trouble: null, corrected: null };
    // Who went back to an earlier photo meanwhile stays there: its buttons must not become another's.
    if (shown === last) show(entry);
    last = entry;
    await answer(entry);
    history.unshift(entry);
    if (shown === entry) show(entry);
    listHistory();
  }
}

async function answer(entry) {
  const started = performance.now();
  try {
    await entry.file.slice(0, 1).arrayBuffer().catch(() => {
      throw new Trouble("This is no file that can be read; choose photos, not a folder.");
    });
    entry.answer = await call("predict", {
      method: "POST",
      headers: { "content-type": entry.file.type.startsWith("image/") ? entry.file.type : "application/octet-stream" },
      body: entry.file,
    });
    entry.trouble = null;
    entry.ms = performance.now() - started;
  } catch (error) {
    if (!(error instanceof Trouble)) throw error;
    entry.trouble = error.message;
  }
}

async function correct(entry, label) {
  try {
    await call("feedback", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ id: entry.answer.id, label }),
    });
    entry.corrected = label;
    entry.trouble = entry.wanted = null;
  } catch (error) {
    if (!(error instanceof Trouble)) throw error;
    entry.trouble = error.message;
    entry.wanted = part("key").hidden ? null : { label }; // said again once there is a key
  }
  if (shown === entry) show(entry);
}

function show(entry) {
  shown = entry;
  part("drop").classList.add("filled");
  part("invitation").hidden = true;
  part("no-preview").hidden = true;
  const photo = part("photo");
  photo.hidden = false;
  photo.alt = entry.answer ? `your photo, answered ${entry.answer.label}` : "your photo";
  photo.src = entry.url;

  say("trouble", entry.trouble);
  part("answer").hidden = !entry.answer && !!entry.trouble;
  part("answer").classList.toggle("asking", !entry.answer);
  part("answer").inert = !entry.answer; // its buttons are still those of the photo before
  if (entry.answer) showAnswer(entry);
  for (const button of document.querySelectorAll("#history button")) {
    button.setAttribute("aria-current", button.entry === entry);
  }
}

function showAnswer(entry) {
  const { label, probabilities, reason, model } = entry.answer;
  part("label").textContent = reason ? `${label}?` : label;
  say("reason", reason && REASONS[reason]);
  const sorted = Object.entries(probabilities).sort((a, b) => b[1] - a[1]);
  const some = sorted.length > MOST_SHOWN ? sorted.slice(0, LIKELIEST) : sorted;
  part("bars").replaceChildren(...some.map(([name, p]) => bar(name, p, name === label)));
  part("facts").textContent = `${model.name} version ${model.version} · answered in ${entry.ms.toFixed(0)} ms`;
  part("question").textContent = entry.corrected
    ? `Thank you, noted as ${entry.corrected}.`
    : "Is that right? What you say is kept as the photo's label.";
  const all = Object.keys(probabilities);
  const first = some.length < all.length ? some.map(([name]) => name) : all;
  const rest = all.filter((name) => !first.includes(name)).sort((a, b) => a.localeCompare(b));
  const focused = part("choices").contains(document.activeElement) ? document.activeElement.name : null;
  part("choices").replaceChildren(
    ...first.map((name) => choice(entry, name)),
    ...(rest.length ? others(entry, rest) : []),
    ...(entry.corrected ? [takingBack(entry)] : []),
  );
  if (focused) part("choices").querySelector(`[name="${CSS.escape(focused)}"]`)?.focus();
}

function bar(name, probability, isBest) {
  const item = element("li", { className: isBest ? "best" : "" });
  const fill = element("div", { className: "fill" });
  const track = element("div", { className: "track" }, fill);
  requestAnimationFrame(() => { fill.style.width = `${100 * probability}%`; });
  const share = `${(100 * probability).toFixed(1)} %`;
  item.append(
    element("span", { className: "name", textContent: name, title: name }),
    track,
    element("span", { className: "share", textContent: share }),
  );
  return item;
}

function choice(entry, name) {
  const button = element("button", { className: "button", textContent: name, type: "button", name: `class ${name}` });
  button.setAttribute("aria-pressed", entry.corrected === name);
  button.addEventListener("click", () => correct(entry, name));
  return button;
}

// A list of the browser's own: a key finds a name by its first letters, and a phone shows it over the whole page.
// Each arrow key chooses the next one, so that choosing must not be saying.
function others(entry, names) {
  const options = names.map((name) => element("option", { value: name, textContent: name }));
  const first = element("option", { value: "", textContent: `another of ${names.length} …` });
  const list = element("select", { className: "button", name: "others" }, first, ...options);
  list.setAttribute("aria-label", "another class");
  list.value = names.includes(entry.corrected) ? entry.corrected : "";
  const save = element("button", { className: "button", textContent: "save", type: "button", name: "others" });
  save.disabled = true;
  list.addEventListener("change", () => { save.disabled = !list.value; });
  save.addEventListener("click", () => correct(entry, list.value));
  return [list, save];
}

function takingBack(entry) {
  const button = element("button", { className: "button plain", textContent: "take it back", type: "button", name: "back" });
  button.addEventListener("click", () => correct(entry, null));
  return button;
}

function listHistory() {
  part("past").hidden = history.length < 2;
  part("history").replaceChildren(...history.map((entry) => {
    const words = entry.answer?.label ?? "not read";
    const button = element("button", { type: "button" },
      element("img", { src: entry.url, alt: "" }),
      element("span", { textContent: words, title: words }));
    button.entry = entry;
    button.setAttribute("aria-current", entry === shown);
    button.addEventListener("click", () => show(entry));
    return element("li", {}, button);
  }));
}

function say(id, words) {
  part(id).hidden = !words;
  part(id).textContent = words ?? "";
}

function element(tag, values, ...children) {
  const made = Object.assign(document.createElement(tag), values);
  made.append(...children);
  return made;
}

function askForKey() {
  sessionStorage.removeItem("key");
  part("key").hidden = false;
  part("key-value").focus();
  hideWhatAsksForAKey();
}

// A link carries no key, so these would show nothing but that one is wanted.
function hideWhatAsksForAKey() {
  for (const id of ["versions", "card"]) part(id).hidden = true;
}

part("key").addEventListener("submit", async (event) => {
  event.preventDefault();
  sessionStorage.setItem("key", part("key-value").value.trim());
  part("key").hidden = true;
  for (const entry of history.filter((entry) => entry.wanted)) await correct(entry, entry.wanted.label);
  const left = history.filter((entry) => !entry.answer);
  for (const entry of shown && !shown.answer && !left.includes(shown) ? [shown, ...left] : left) {
    await answer(entry);
    if (shown === entry) show(entry);
    listHistory();
    if (!sessionStorage.getItem("key")) break; // it was not the right one
  }
});

for (const id of ["file", "camera"]) {
  part(id).addEventListener("change", (event) => {
    ask([...event.target.files]);
    event.target.value = "";
  });
}

part("photo").addEventListener("error", () => {
  part("photo").hidden = true;
  part("no-preview").hidden = false;
});

document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (files.length) ask(files);
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  part("drop").classList.add("over");
});
document.addEventListener("dragleave", () => part("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  part("drop").classList.remove("over");
  ask([...event.dataTransfer.files]);
});

if (sessionStorage.getItem("key")) hideWhatAsksForAKey();
watchModel();
