// Names pictures in the browser. Nothing leaves it: files come from the page's own folder, or stand
// in the page itself.
"use strict";

const places = JSON.parse(document.getElementById("places").textContent);
const shown = (id) => document.getElementById(id);
const state = { heads: {} };

async function bytesOf(name) {
  const inside = document.getElementById(`file:${name}`);
  if (inside) {
    const text = atob(inside.textContent.trim());
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return bytes;
  }
  const answer = await fetch(places[name]);
  if (!answer.ok) throw new Error(`${places[name]} is missing (${answer.status})`);
  return new Uint8Array(await answer.arrayBuffer());
}

async function start() {
  if (location.protocol === "file:" && !document.getElementById("file:loreal.json")) {
    throw new Error("browsers read no files beside a page from disk: open single.html instead");
  }
  const text = new TextDecoder().decode(await bytesOf("loreal.json"));
  state.manifest = JSON.parse(text);
  shown("title").textContent = `${state.manifest.title} at ${state.manifest.phi} pixels`;
  const code = new Blob([await bytesOf("ort.mjs")], { type: "text/javascript" });
  state.ort = await import(URL.createObjectURL(code));
  state.ort.env.wasm.numThreads = 1;
  state.ort.env.wasm.wasmBinary = (await bytesOf("ort.wasm")).buffer;
  state.encoder = await session("encoder.onnx");
  for (const name of Object.keys(state.manifest.heads)) {
    shown("head").add(new Option(name, name));
  }
  shown("heads").hidden = shown("head").options.length < 2;
  await useHead(shown("head").value);
  await answer(new Uint8Array(state.manifest.picture.size ** 2 * 3)); // the first run is slow
  say("Drop a picture here, choose one, or use the camera.");
  document.body.dataset.ready = "yes";
}

async function session(name) {
  return state.ort.InferenceSession.create(await bytesOf(name), { executionProviders: ["wasm"] });
}

async function useHead(name) {
  const facts = state.manifest.heads[name];
  if (!state.heads[name]) state.heads[name] = await session(facts.file);
  // another one may have been chosen while this one was read
  if (shown("head").value === name) state.head = { run: state.heads[name], labels: facts.labels };
}

// `source` is a picture or a video; what is transparent shows white.
function rgbOf(source, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.fillStyle = "white";
  pen.fillRect(0, 0, width, height);
  pen.drawImage(source, 0, 0);
  const rgba = pen.getImageData(0, 0, width, height).data;
  const rgb = new Uint8ClampedArray(width * height * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    rgb[to++] = rgba[from];
    rgb[to++] = rgba[from + 1];
    rgb[to++] = rgba[from + 2];
  }
  return rgb;
}

async function classify(source, width, height) {
  const began = performance.now();
  const pixels = encoderPixels(rgbOf(source, width, height), width, height, state.manifest.picture);
  const read = performance.now();
  const { labels, logits } = await answer(pixels);
  const done = performance.now();
  showSquare(pixels, state.manifest.picture.size);
  showClasses(labels, softmax(logits));
  const parts = `${(read - began).toFixed(1)} ms picture, ${(done - read).toFixed(1)} ms model`;
  shown("time").textContent = parts;
  document.body.dataset.done = String(Number(document.body.dataset.done || 0) + 1);
}

async function answer(pixels) {
  const { run, labels } = state.head; // another one may be chosen before the answer is there
  const size = state.manifest.picture.size;
  const input = new state.ort.Tensor("uint8", pixels, [1, size, size, 3]);
  const { features } = await state.encoder.run({ pixels: input });
  const { logits } = await run.run({ features });
  return { labels, logits: Array.from(logits.data) };
}

function softmax(logits) {
  const highest = Math.max(...logits);
  const odds = logits.map((logit) => Math.exp(logit - highest));
  const sum = odds.reduce((a, b) => a + b, 0);
  return odds.map((one) => one / sum);
}

function showSquare(pixels, size) {
  const canvas = shown("square");
  canvas.width = canvas.height = size;
  const image = new ImageData(size, size);
  for (let from = 0, to = 0; from < pixels.length; to += 4) {
    image.data[to] = pixels[from++];
    image.data[to + 1] = pixels[from++];
    image.data[to + 2] = pixels[from++];
    image.data[to + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  shown("seen").hidden = false;
}

function showClasses(labels, odds) {
  const order = odds.map((_, i) => i).sort((a, b) => odds[b] - odds[a]).slice(0, 5);
  shown("classes").replaceChildren(
    ...order.map((i) => {
      const row = document.createElement("li");
      row.dataset.probability = odds[i];
      const name = document.createElement("span");
      name.textContent = labels[i];
      const bar = document.createElement("meter");
      bar.value = odds[i];
      const share = document.createElement("output");
      share.textContent = `${(100 * odds[i]).toFixed(1)} %`;
      row.append(name, bar, share);
      return row;
    }),
  );
}

async function classifyFile(file) {
  try {
    // stored colours as they are, turned as the camera was held
    const how = { imageOrientation: "from-image", colorSpaceConversion: "none" };
    const picture = await createImageBitmap(file, how);
    state.last = picture;
    await classify(picture, picture.width, picture.height);
    say(file.name);
  } catch (error) {
    say(`${file.name} is no picture that this browser reads (${error.message})`);
  }
}

async function useCamera() {
  const video = shown("video");
  if (video.srcObject) {
    video.srcObject.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
    video.hidden = true;
    shown("camera").textContent = "Camera";
    return;
  }
  try {
    const wanted = { video: { facingMode: "environment" } };
    video.srcObject = await navigator.mediaDevices.getUserMedia(wanted);
  } catch (error) {
    say(`There is no camera to use (${error.message}).`);
    return;
  }
  video.hidden = false;
  shown("camera").textContent = "Stop";
  await video.play();
  say("Camera");
  while (video.srcObject) {
    await classify(video, video.videoWidth, video.videoHeight);
    await new Promise((next) => setTimeout(next, 100));
  }
}

function say(text) {
  shown("said").textContent = text;
}

shown("file").addEventListener("change", (event) => {
  const file = event.target.files[0];
  if (file) classifyFile(file).then(() => (event.target.value = "")); // the same one may come again
});
shown("camera").addEventListener("click", useCamera);
shown("head").addEventListener("change", async (event) => {
  await useHead(event.target.value);
  if (state.last) await classify(state.last, state.last.width, state.last.height);
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files.length) classifyFile(event.dataTransfer.files[0]);
});
start().catch((error) => {
  say(`The model cannot be started: ${error.message}`);
  document.body.dataset.ready = "no";
});
