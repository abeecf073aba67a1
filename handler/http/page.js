"use strict";

const form = document.querySelector("form");
const link = document.querySelector("#url");
const facts = document.querySelector("#facts");
const picture = document.querySelector("#picture");
let latest = 0;

function address() {
  const { key, ...options } = Object.fromEntries(new FormData(form));
  const path = key.split("/").map(encodeURIComponent).join("/");
  return `/${path}?${new URLSearchParams(options)}`;
}

async function show() {
  const number = ++latest;
  for (const output of form.querySelectorAll("output")) output.value = output.nextElementSibling.value;
  link.href = link.textContent = address();
  const started = performance.now();
  const answer = await fetch(link.href, { headers: { Accept: "image/webp,*/*" } }); // as an <img> says it
  const body = await answer.blob();
  if (number !== latest) return; // a later wish is on its way
  const milliseconds = Math.round(performance.now() - started);
  if (!answer.ok) {
    facts.textContent = `${answer.status}: ${JSON.parse(await body.text()).detail}`;
    return;
  }
  URL.revokeObjectURL(picture.src);
  picture.src = URL.createObjectURL(body);
  await picture.decode();
  facts.textContent =
    `${picture.naturalWidth} × ${picture.naturalHeight}, ${body.type}, ${(body.size / 1000).toFixed(1)} KB, ${milliseconds} ms`;
}

async function start() {
  const keys = await (await fetch("/_page/keys")).json();
  form.key.append(...keys.map((key) => new Option(key)));
  form.addEventListener("input", show);
  await show();
}

start();
