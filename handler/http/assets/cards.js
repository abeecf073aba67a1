// One card a picture, filled from outcomes. Keys and file names are strangers' text: they go into the page through
// textContent alone, and into addresses through encodeURIComponent.

export const byId = (id) => document.getElementById(id);
export const cards = new Map(); // key -> its <li>
const outcomes = new Map(); // key -> its newest outcome
const STAGES = ["open", "fetch", "wait", "decode", "encode", "upload"];

// --- words and numbers ---------------------------------------------------------------------------------------------

export function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(bytes < 1e4 ? 1 : 0)} kB`;
  return `${(bytes / 1e6).toFixed(bytes < 1e8 ? 1 : 0)} MB`;
}

const milliseconds = (ms) => (ms < 10 ? ms.toFixed(1) : ms.toFixed(0));

function median(numbers) {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

const total = (outcome) => outcome.ms.find(([stage]) => stage === "total")?.[1] ?? 0;
const bytesOut = (outcome) => outcome.outputs.reduce((sum, output) => sum + output.bytes, 0);

export function say(text) {
  byId("said").textContent = text;
}

// --- pieces of a card ----------------------------------------------------------------------------------------------

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function placeholder(frame, title, text) {
  const box = element("div", "placeholder");
  box.append(element("strong", "", title), element("span", "", text));
  frame.replaceChildren(box);
}

function picture(frame, url, alt, otherwise) {
  const image = element("img");
  image.alt = alt;
  image.addEventListener("error", () => placeholder(frame, ...otherwise));
  image.src = url;
  frame.replaceChildren(image);
}

function caption(figure, what, part) {
  const line = element("span", "measure", part.width ? `${part.width} × ${part.height}` : "");
  const frames = part.frames > 1 ? `, ${part.frames} frames` : "";
  figure.querySelector("figcaption").replaceChildren(element("span", "", `${what}, ${part.format.toUpperCase()}${frames}`), line);
}

function fillOriginal(figure, { source, key }) {
  const frame = figure.querySelector(".frame");
  if (!source.url) {
    figure.querySelector("figcaption").replaceChildren(element("span", "", "Original"));
    placeholder(frame, "No picture", size(source.bytes));
    return;
  }
  const format = source.format.toUpperCase();
  picture(frame, source.url, `Original of ${key}`, [format, "this browser cannot show it"]);
  caption(figure, "Original", source);
}

function fillThumbnail(figure, { outputs, status, key }) {
  const frame = figure.querySelector(".frame");
  const largest = outputs.toSorted((a, b) => b.width * b.height - a.width * a.height)[0];
  if (!largest) {
    figure.querySelector("figcaption").replaceChildren(element("span", "", "Thumbnail"));
    placeholder(frame, "None", status);
    return;
  }
  const format = largest.format.toUpperCase();
  picture(frame, largest.url, `Thumbnail of ${key}`, [format, "this browser cannot show it"]);
  caption(figure, outputs.length > 1 ? `1 of ${outputs.length} thumbnails` : "Thumbnail", largest);
}

function fillFacts(card, outcome) {
  const before = outcome.source.bytes;
  const after = bytesOut(outcome);
  card.querySelector(".bytes").textContent = after ? `${size(before)} → ${size(after)}` : size(before);
  const saved = Math.round(100 * (1 - after / before));
  card.querySelector(".saved").textContent = after && saved > 0 ? `${saved} % smaller` : "";
  card.querySelector(".engine").textContent = outcome.engine ?? "";
  const address = card.querySelector(".address");
  address.hidden = !outcome.address;
  if (outcome.address) address.href = outcome.address;
}

function fillWhy(card, { reason, detail, damaged }) {
  const why = card.querySelector(".why");
  const text = detail ?? (damaged ? "the file is damaged; what could be read is shown" : "");
  why.hidden = !reason && !text;
  const code = reason && text ? `${reason}: ` : (reason ?? "");
  why.replaceChildren(element("strong", "", code), document.createTextNode(text));
}

// The stages, and what of the total lies in none of them (waiting for a decoder, loading an engine).
function stagesOf(outcome) {
  const stages = outcome.ms.filter(([stage]) => STAGES.includes(stage));
  const other = total(outcome) - stages.reduce((sum, [, ms]) => sum + ms, 0);
  return stages.length && other >= 0.1 ? [...stages, ["other", other]] : stages;
}

function fillTime(card, outcome) {
  const stages = stagesOf(outcome);
  card.querySelector(".time").hidden = stages.length === 0;
  card.querySelector(".bar").replaceChildren(
    ...stages.map(([stage, ms]) => {
      const part = element("span", `stage-${stage}`);
      part.style.flexGrow = String(Math.max(ms, 0.01));
      part.title = `${stage}: ${milliseconds(ms)} ms`;
      return part;
    }),
  );
  const all = [...stages, ["total", total(outcome)]];
  card.querySelector(".stages").replaceChildren(
    ...all.map(([stage, ms]) => {
      const item = element("div", `stage-${stage}`);
      item.append(element("dt", "", stage), element("dd", "", `${milliseconds(ms)} ms`));
      return item;
    }),
  );
}

// --- cards ---------------------------------------------------------------------------------------------------------

function cardOf(key) {
  let card = cards.get(key);
  if (!card) {
    card = byId("card").content.cloneNode(true).querySelector("li");
    card.querySelector(".key").textContent = key;
    card.querySelector(".key").title = key;
    card.dataset.key = key;
    cards.set(key, card);
  }
  if (byId("cards").firstElementChild !== card) byId("cards").prepend(card);
  return card;
}

function setStatus(card, status) {
  card.dataset.status = status;
  card.querySelector(".status").textContent = status;
}

export function show(outcome) {
  const card = cardOf(outcome.key);
  outcomes.set(outcome.key, outcome);
  setStatus(card, outcome.status);
  fillOriginal(card.querySelector(".original"), outcome);
  fillThumbnail(card.querySelector(".thumbnail"), outcome);
  fillFacts(card, outcome);
  fillWhy(card, outcome);
  fillTime(card, outcome);
  showTotals();
}

function showTotals() {
  const stored = [...outcomes.values()].filter((outcome) => outcome.status === "stored");
  const bytes = (of) => stored.reduce((sum, outcome) => sum + of(outcome), 0);
  byId("total-pictures").textContent = String(stored.length);
  byId("total-bytes").textContent = `${size(bytes((o) => o.source.bytes))} → ${size(bytes(bytesOut))}`;
  byId("total-ms").textContent = stored.length ? `${milliseconds(median(stored.map(total)))} ms` : "–";
}

// --- adding pictures -----------------------------------------------------------------------------------------------

export function showSending(file) {
  const card = cardOf(file.name);
  setStatus(card, "sending");
  for (const frame of card.querySelectorAll(".frame")) placeholder(frame, "…", "");
  for (const note of card.querySelectorAll("figcaption")) note.replaceChildren();
  card.querySelector(".original figcaption").textContent = "Original";
  card.querySelector(".thumbnail figcaption").textContent = "Thumbnail";
  card.querySelector(".bytes").textContent = size(file.size);
  for (const name of [".saved", ".engine"]) card.querySelector(name).textContent = "";
  for (const name of [".why", ".time", ".address"]) card.querySelector(name).hidden = true;
  return card;
}

export function showNotSent(card, text) {
  setStatus(card, "not sent");
  for (const frame of card.querySelectorAll(".frame")) placeholder(frame, "None", "");
  fillWhy(card, { reason: "not sent", detail: text });
  say(`${card.dataset.key} was not sent: ${text}`);
}

export function showProgress(card, part) {
  if (card.dataset.status === "sending") placeholder(card.querySelector(".original .frame"), `${Math.floor(100 * part)} %`, "on its way");
}
