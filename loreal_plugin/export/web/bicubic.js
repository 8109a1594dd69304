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
    found.push({ first, weights: whole });
  }
  return found;
}

// `source` has lines of `length` colours: value i of line n is at n * line + i * step.
function resampled(source, lines, line, step, plan, target, targetLine, targetStep) {
  const half = 2 ** (PRECISION - 1);
  for (let n = 0; n < lines; n++) {
    for (let at = 0; at < plan.length; at++) {
      const { first, weights } = plan[at];
      for (let colour = 0; colour < 3; colour++) {
        let sum = half;
        let from = n * line + first * step + colour;
        for (let k = 0; k < weights.length; k++, from += step) sum += source[from] * weights[k];
        const value = Math.floor(sum / 2 ** PRECISION);
        target[n * targetLine + at * targetStep + colour] = Math.min(255, Math.max(0, value));
      }
    }
  }
}

function resizedRows(rgb, width, height, newWidth, filter) {
  if (newWidth === width) return rgb;
  const found = new Uint8Array(newWidth * height * 3);
  const plan = weightsOf(width, newWidth, filter);
  resampled(rgb, height, width * 3, 3, plan, found, newWidth * 3, 3);
  return found;
}

function resizedColumns(rgb, width, height, newHeight, filter) {
  if (newHeight === height) return rgb;
  const found = new Uint8Array(width * newHeight * 3);
  const plan = weightsOf(height, newHeight, filter);
  resampled(rgb, width, 3, width * 3, plan, found, 3, width * 3);
  return found;
}

// `rgb` has width * height * 3 bytes; returns newWidth * newHeight * 3 bytes, for sizes of the same
// proportions. Pillow 13 shrinks pictures of more than twice their width's height by columns first;
// found by trying, as both orders differ by one in some colours.
function resizeRgb(rgb, width, height, newWidth, newHeight, resample) {
  const filter = FILTERS[resample];
  if (!filter) throw new Error(`resample ${resample} is not known here`);
  if (height > 2 * width && newHeight < height) {
    const low = resizedColumns(rgb, width, height, newHeight, filter);
    return resizedRows(low, width, newHeight, newWidth, filter);
  }
  const narrow = resizedRows(rgb, width, height, newWidth, filter);
  return resizedColumns(narrow, newWidth, height, newHeight, filter);
}

function roundHalfEven(x) {
  const down = Math.floor(x);
  if (x - down !== 0.5) return Math.round(x);
  return down % 2 === 0 ? down : down + 1;
}

// What the encoder reads of a picture: the shorter edge to `size`, then the square in the middle.
function encoderPixels(rgb, width, height, recipe) {
  const size = recipe.size;
  const newWidth = width <= height ? size : Math.trunc((size * width) / height);
  const newHeight = width <= height ? Math.trunc((size * height) / width) : size;
  const small = resizeRgb(rgb, width, height, newWidth, newHeight, recipe.resample);
  const left = roundHalfEven((newWidth - size) / 2);
  const top = roundHalfEven((newHeight - size) / 2);
  const square = new Uint8Array(size * size * 3);
  for (let y = 0; y < size; y++) {
    const from = ((y + top) * newWidth + left) * 3;
    square.set(small.subarray(from, from + size * 3), y * size * 3);
  }
  return square;
}

if (typeof module !== "undefined") module.exports = { encoderPixels, resizeRgb };
