// Pillow's resize of 8-bit pictures with the bicubic filter, to the last bit, and the centre crop.
// Source: what Pillow computes (src/libImaging/Resample.c): weights in double precision, rounded
// to 22 bits; one direction first, rounded to 8 bits, then the other.
"use strict";

const PRECISION = 22;
const FILTERS = {
  bicubic: { support: 2, weight: cubic },
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
};

function cubic(x) {
  const a = -0.5;
  x = Math.abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

// For each new position: the first old position that counts, and whole-number weights from there.
function weightsOf(oldSize, newSize, filter) {
  const scale = oldSize / newSize;
  const stretch = Math.max(scale, 1);
  const support = filter.support * stretch;
  const found = [];
  for (let at = 0; at < newSize; at++) {
    const centre = (at + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(oldSize, Math.trunc(centre + support + 0.5));
    const weights = [];
    let sum = 0;
    for (let x = first; x < end; x++) {
      const weight = filter.weight((x - centre + 0.5) * (1 / stretch));
      weights.push(weight);
      sum += weight;
    }
    const whole = weights.map((weight) => {
      const share = (weight / sum) * 2 ** PRECISION;
      return Math.trunc(share < 0 ? share - 0.5 : share + 0.5);
    });
    found.push({ first, weights: Int32Array.from(whole) });
  }
  return found;
}

// `source` has lines of colours: value i of line n is at n * line + i * step. Sums fit into 32 bits,
// as they do in Pillow.
function resampled(source, lines, line, step, plan, target, targetLine, targetStep) {
  const half = 2 ** (PRECISION - 1);
  for (let n = 0; n < lines; n++) {
    for (let at = 0; at < plan.length; at++) {
      const { first, weights } = plan[at];
      let red = half;
      let green = half;
      let blue = half;
      let from = n * line + first * step;
      for (let k = 0; k < weights.length; k++, from += step) {
        const weight = weights[k];
        red = (red + Math.imul(source[from], weight)) | 0;
        green = (green + Math.imul(source[from + 1], weight)) | 0;
        blue = (blue + Math.imul(source[from + 2], weight)) | 0;
      }
      const to = n * targetLine + at * targetStep; // a Uint8ClampedArray: 0 to 255
      target[to] = red >> PRECISION;
      target[to + 1] = green >> PRECISION;
      target[to + 2] = blue >> PRECISION;
    }
  }
}

// Pictures are { data, width, height }; `data` has width * height * 3 bytes. Of the `size` positions
// that a side would have, those of `part` are made.
function resizedRows(picture, size, part, filter) {
  const { data, width, height } = picture;
  if (size === width && part.length === size) return picture;
  const plan = weightsOf(width, size, filter).slice(part.from, part.from + part.length);
  const found = new Uint8ClampedArray(part.length * height * 3);
  resampled(data, height, width * 3, 3, plan, found, part.length * 3, 3);
  return { data: found, width: part.length, height };
}

function resizedColumns(picture, size, part, filter) {
  const { data, width, height } = picture;
  if (size === height && part.length === size) return picture;
  const plan = weightsOf(height, size, filter).slice(part.from, part.from + part.length);
  const found = new Uint8ClampedArray(width * part.length * 3);
  resampled(data, width, 3, width * 3, plan, found, 3, width * 3);
  return { data: found, width, height: part.length };
}

// Pillow 13 shrinks pictures of more than twice their width's height by columns first; found by
// trying, as both orders differ by one in some colours.
function resizedPart(picture, newWidth, newHeight, across, down, resample) {
  const filter = FILTERS[resample];
  if (!filter) throw new Error(`resample ${resample} is not known here`);
  if (picture.height > 2 * picture.width && newHeight < picture.height) {
    const low = resizedColumns(picture, newHeight, down, filter);
    return resizedRows(low, newWidth, across, filter);
  }
  const narrow = resizedRows(picture, newWidth, across, filter);
  return resizedColumns(narrow, newHeight, down, filter);
}

function roundHalfEven(x) {
  const down = Math.floor(x);
  if (x - down !== 0.5) return Math.round(x);
  return down % 2 === 0 ? down : down + 1;
}

// What the encoder reads of a picture: the shorter edge to `size`, then the square in the middle,
// size * size * 3 bytes. `rgb` has width * height * 3 bytes.
function encoderPixels(rgb, width, height, recipe) {
  const size = recipe.size;
  const newWidth = width <= height ? size : Math.trunc((size * width) / height);
  const newHeight = width <= height ? Math.trunc((size * height) / width) : size;
  const across = { from: roundHalfEven((newWidth - size) / 2), length: size };
  const down = { from: roundHalfEven((newHeight - size) / 2), length: size };
  const picture = { data: rgb, width, height };
  const square = resizedPart(picture, newWidth, newHeight, across, down, recipe.resample);
  return new Uint8Array(square.data.buffer, square.data.byteOffset, size * size * 3);
}

if (typeof module !== "undefined") module.exports = { encoderPixels };
