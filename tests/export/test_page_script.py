"""The page's script: names stand beside the answer of the head that they belong to."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from loreal_plugin.export.web_page import PARTS

# the script meets elements that hold nothing, and models that answer after 20 ms
NODE = """
const elements = {};
const element = (id) => elements[id] ??= {
  addEventListener() {}, textContent: "{}", value: "two",
  replaceChildren(...rows) { this.rows = rows; },
};
const document = {
  addEventListener() {}, body: { dataset: {} }, getElementById: element,
  createElement: () => ({ dataset: {}, append(...parts) { this.parts = parts; } }),
};
const page = { document, setTimeout, location: { protocol: "file:" } };
page.head = (logits) => ({
  run: () => new Promise((done) => setTimeout(done, 20, { logits: { data: logits } })),
});
const vm = require("vm");
const context = vm.createContext(page);
vm.runInContext(require("fs").readFileSync(process.argv[1], "utf8"), context);
const all = vm.runInContext(`(async () => {
  state.ort = { Tensor: class {} };
  state.encoder = { run: async () => ({ features: [] }) };
  state.manifest = {
    picture: { size: 2 },
    heads: { two: { labels: ["cat", "dog"] }, one: { labels: ["bird"] } },
  };
  state.heads = { two: head([1, 2]), one: head([3]) };
  await useHead("two");
  const answering = answer([]);
  shown("head").value = "one";
  await useHead("one");
  await useHead("two"); // what was chosen before, and came late
  const { labels, logits } = await answering;
  showClasses(labels, softmax(logits));
  const names = shown("classes").rows.map((row) => row.parts[0].textContent);
  return { names, now: state.head.labels };
})()`, context);
all.then((found) => console.log(JSON.stringify(found)));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js: page.js was not run")
def test_a_head_that_is_chosen_during_an_answer_does_not_name_it():
    command = ["node", "-e", NODE, str(PARTS / "page.js")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"names": ["dog", "cat"], "now": ["bird"]}
