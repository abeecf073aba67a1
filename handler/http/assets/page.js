// The page: `facts` says what its server offers. `events`: outcomes of the demo's worker; `most`: uploads, as a body to
// `put` or as a form to S3; `keys`: pictures of a folder, with sliders.

import { byId, cards, say, show, showNotSent, showProgress, showSending, size } from "./cards.js";

const facts = JSON.parse(document.body.dataset.facts);
const AS_AN_IMAGE = { headers: { Accept: "image/webp,*/*" } };
const SILENCE = facts.put ? "the demo cannot be reached" : "S3 did not answer this page: is it in the bucket's CORS rule?";
const NO_BODY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"; // CloudFront's signature needs it

byId("route").textContent = facts.route;
for (const part of document.querySelectorAll("[data-for]")) part.hidden = !(part.dataset.for in facts);

const addressOf = (key, options) => `${key.split("/").map(encodeURIComponent).join("/")}?${new URLSearchParams(options)}`;

// --- adding pictures -----------------------------------------------------------------------------------------------

// Resolves with an error's text, or with nothing.
function transmit(card, method, url, body) {
  return new Promise((done) => {
    const request = new XMLHttpRequest(); // fetch tells nothing of an upload's progress
    request.open(method, url);
    request.upload.addEventListener("progress", (event) => showProgress(card, event.loaded / event.total));
    request.addEventListener("load", () => done(request.status < 300 ? "" : reasonIn(request)));
    request.addEventListener("error", () => done(SILENCE));
    request.send(body);
  });
}

function reasonIn({ status, responseText }) {
  return /<Message>([^<]*)/.exec(responseText)?.[1] || responseText || String(status); // S3 answers in XML
}

// Resolves with the form that S3 takes, for this file, or with an error's text.
async function formFor(file) {
  const answer = await fetch(`uploads${location.search}`, { method: "POST", headers: { "x-amz-content-sha256": NO_BODY } });
  const { url, fields, detail } = await answer.json();
  if (!answer.ok) throw new Error(detail);
  const name = file.name.replace(/\p{Cc}|\$(?=\{)/gu, "_"); // forms change line breaks, and S3 a ${filename}
  const key = fields.key.replace("${filename}", () => name);
  const form = new FormData();
  const [, unknown] = /\.(heic|heif|avif|jxl|jp2)$/i.exec(file.name) ?? []; // types that not every browser knows
  const type = file.type || (unknown ? `image/${unknown.toLowerCase()}` : "application/octet-stream");
  for (const field of Object.entries({ ...fields, key, "Content-Type": type })) form.append(...field);
  form.append("file", file); // S3 ignores the fields after it
  return { url, form, key };
}

async function sendToS3(file, card) {
  const { url, form, key } = await formFor(file);
  const error = await transmit(card, "POST", url, form);
  if (error) throw new Error(error);
  await showThumbnail(file, addressOf(facts.path + key, { name: facts.rendition }));
}

async function showThumbnail(file, address) {
  const started = performance.now();
  const answer = await fetch(address, AS_AN_IMAGE);
  const body = await answer.blob();
  const ms = [["total", performance.now() - started]];
  const outcome = { key: file.name, address, ms, outputs: [], source: { url: null, bytes: file.size } };
  if (answer.ok) {
    const [source, output] = await Promise.all([measured(file), measured(body)]);
    tell({ ...outcome, status: "stored", source, outputs: [output] });
  } else {
    tell({ ...outcome, ...JSON.parse(await body.text()), status: "rejected" });
  }
}

function tell(outcome) {
  show(outcome);
  say(`${outcome.key}: ${outcome.status}${outcome.reason ? `, ${outcome.reason}` : ""}`);
}

async function measured(blob) {
  const picture = new Image();
  picture.src = URL.createObjectURL(blob);
  await picture.decode().catch(() => {}); // HEIC, in most browsers
  const format = blob.type.replace("image/", "") || "unknown";
  return { url: picture.src, width: picture.naturalWidth, height: picture.naturalHeight, format, bytes: blob.size };
}

async function sendToDemo(file, card) {
  const error = await transmit(card, "PUT", `${facts.put}?name=${encodeURIComponent(file.name)}`, file);
  if (error) throw new Error(error);
}

async function send(file) {
  const card = showSending(file);
  try {
    if (file.size > facts.most) throw new Error(`it has ${size(file.size)}; at most ${size(facts.most)} are allowed`);
    await (facts.put ? sendToDemo : sendToS3)(file, card);
  } catch (error) {
    showNotSent(card, error.message);
  }
}

async function sendAll(files) {
  const list = [...files];
  if (list.length) say(`Sending ${list.length === 1 ? list[0].name : `${list.length} files`}`);
  const next = list.values();
  const work = async () => {
    for (const file of next) await send(file);
  };
  await Promise.all([work(), work(), work(), work()]);
}

function takeFiles() {
  byId("choose").addEventListener("click", () => byId("files").click());
  byId("files").addEventListener("change", (event) => {
    sendAll(event.target.files);
    event.target.value = "";
  });
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  const veil = (shown) => {
    byId("veil").hidden = !shown;
  };
  window.addEventListener("dragenter", (event) => hasFiles(event) && veil(true));
  window.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
  });
  window.addEventListener("dragleave", (event) => !event.relatedTarget && veil(false));
  window.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    veil(false);
    sendAll(event.dataTransfer.files);
  });
}

// --- outcomes of the demo's worker as they come --------------------------------------------------------------------

function follow() {
  let run = null;
  const events = new EventSource(facts.events);
  events.addEventListener("run", (event) => {
    byId("lost").hidden = true;
    if (run !== null && run !== event.data) location.reload(); // the demo was started anew: its buckets are other ones
    run = event.data;
  });
  events.addEventListener("message", (event) => {
    const outcome = JSON.parse(event.data);
    const wasSent = cards.get(outcome.key)?.dataset.status === "sending";
    (wasSent ? tell : show)(outcome);
  });
  events.addEventListener("error", () => {
    byId("lost").hidden = false;
  });
}

// --- sliders -------------------------------------------------------------------------------------------------------

let latest = 0;

async function showWish() {
  const number = ++latest;
  const [form, link, picture] = [byId("wish"), byId("url"), byId("picture")];
  for (const output of form.querySelectorAll("output")) output.value = output.nextElementSibling.value;
  const { key, ...options } = Object.fromEntries(new FormData(form));
  link.href = link.textContent = `/${addressOf(key, options)}`;
  const started = performance.now();
  const answer = await fetch(link.href, AS_AN_IMAGE);
  const body = await answer.blob();
  if (number !== latest) return; // a later wish is on its way
  const milliseconds = Math.round(performance.now() - started);
  if (!answer.ok) {
    byId("facts").textContent = `${answer.status}: ${JSON.parse(await body.text()).detail}`;
    return;
  }
  URL.revokeObjectURL(picture.src);
  picture.src = URL.createObjectURL(body);
  await picture.decode();
  byId("facts").textContent = `${picture.naturalWidth} × ${picture.naturalHeight}, ${body.type}, ${size(body.size)}, ${milliseconds} ms`;
}

function takeWishes() {
  byId("wish").key.append(...facts.keys.map((key) => new Option(key)));
  byId("wish").addEventListener("input", showWish);
  showWish();
}

if (facts.most) takeFiles();
if (facts.events) follow();
if (facts.keys) takeWishes();
