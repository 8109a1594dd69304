"""Mine, interrupt, resume, replay, check; and what is asked, written and refused around that."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from toy_model import CLASSES, KEY, VANISHED, WORDS, Miner, completion, propose

from loreal_plugin.cli.main import main
from loreal_plugin.errors import MiningError
from loreal_plugin.mining import cost, prompts
from loreal_plugin.mining.cost import Estimate, confirm, count_text, find_price
from loreal_plugin.mining.endpoint import Settings, find_key
from loreal_plugin.mining.transcript import held

ROOT = Path(__file__).resolve().parents[2]


def test_mine_interrupt_resume_replay_check(miner, model, capsys, monkeypatch):
    reached, go_on = threading.Event(), threading.Event()

    def hang(_):
        reached.set()
        go_on.wait(30)

    model.script = {2: hang}
    command = [sys.executable, "-m", "loreal_plugin", *miner.words("--timeout", 60)]
    # a shell's background jobs ignore SIGINT, and so would what the test run starts there
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert reached.wait(60)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    go_on.set()
    assert process.returncode == 130 and "interrupted; run the same command again" in said
    assert not miner.out.exists() and sum("answer" in e for e in miner.lines) == 2

    model.script = {}
    assert miner.run() == 0
    assert model.asked == [CLASSES[:2], CLASSES[2:4], CLASSES[4:], CLASSES[4:], "attributes"]
    first = miner.out.read_bytes()

    model.always = lambda _: pytest.fail("a replay asked")
    monkeypatch.delenv("OPENAI_API_KEY")
    again, before = miner.folder / "again.json", miner.transcript.read_bytes()
    assert main(["attributes", "mine", "--replay", str(miner.transcript), "--out", str(again)]) == 0
    assert again.read_bytes() == first and miner.transcript.read_bytes() == before
    assert len(model.bodies) == 5

    capsys.readouterr()
    assert main(["attributes", "check", str(again)]) == 0
    assert "5 attributes, 0 faults" in capsys.readouterr().out


def test_two_runs_do_not_share_a_transcript(miner, model, capsys):
    with held(miner.transcript):
        assert miner.run() == 2
    assert "another run is writing transcript" in capsys.readouterr().err
    assert not model.bodies and not miner.transcript.exists() and not miner.out.exists()
    assert miner.run() == 0


def test_the_file_says_where_it_comes_from(miner, capsys):
    assert miner.run("--seed", 7, "--model", "toy") == 0
    content = miner.content
    assert list(content) == [
        "schema_version",
        "dataset",
        "domain",
        "attributes",
        "reasons",
        "rejected",
        "values",
        "descriptions",
        "classnames",
        "provenance",
    ]
    assert (content["schema_version"], content["dataset"], content["domain"]) == (
        1,
        "animals",
        "animal",
    )
    assert (
        content["attributes"] == WORDS == list(content["reasons"])
        and content["rejected"] == VANISHED
    )
    assert content["classnames"] == CLASSES
    # Values that are no plain words, doubles and single ones are dropped.
    assert content["values"] == {word: ["small", "large"] for word in WORDS}
    assert content["provenance"] == {
        "how": "mined",
        "model": "toy",
        "date": miner.lines[-1]["time"][:10],
        "prompt_sha256": prompts.prompts_sha256(),
        "base_url": "localhost",
    }
    assert "coat color: coat color covers many pixels" in capsys.readouterr().out


def test_the_transcript_has_questions_and_answers_and_no_secrets(miner, model):
    assert miner.run() == 0
    lines = miner.lines
    assert (
        lines[0]["task"]["classnames"] == CLASSES
        and lines[0]["task"]["settings"]["model"] == "gpt-4o"
    )
    assert [line["step"] for line in lines[1:]] == ["describe"] * 3 + ["propose"]
    for line, body in zip(lines[1:], model.bodies, strict=True):
        assert line["request"] == body and line["host"] == "localhost"
        assert set(line["answer"]) == {"text", "finish_reason", "model", "tokens_in", "tokens_out"}
    text = miner.transcript.read_text()
    assert KEY not in text and "authorization" not in text.lower() and model.url not in text


def test_a_transcript_that_was_cut_in_the_middle_of_a_line_serves(miner, model, capsys):
    assert miner.run() == 0
    whole = miner.transcript.read_bytes()
    miner.transcript.write_bytes(whole[:-40])
    miner.out.unlink()
    assert miner.run() == 0
    assert model.asked[4:] == ["attributes"]
    assert "1 line(s)" in capsys.readouterr().out
    # What was appended after the broken line is a line of its own.
    assert "answer" in json.loads(miner.transcript.read_text().splitlines()[-1])


def test_descriptions_serve_for_another_number_of_attributes(miner, model):
    assert miner.run() == 0
    model.always = lambda body: None
    model.script = {4: lambda _: completion(propose(WORDS[:3]))}
    assert miner.run("--k", 3, "--force") == 0
    assert model.asked[4:] == ["attributes"] and miner.content["attributes"] == WORDS[:3]


def test_an_existing_file_is_refused_before_anything_is_asked(miner, model, capsys):
    miner.out.write_text("mine")
    assert miner.run() == 2
    assert (
        "--force" in capsys.readouterr().err
        and model.bodies == []
        and miner.out.read_text() == "mine"
    )
    assert not miner.transcript.exists()
    assert miner.run("--force") == 0 and miner.content["attributes"] == WORDS


@pytest.mark.parametrize("lines", [0, 1, 3])
def test_a_replay_of_an_unfinished_run_says_so(miner, model, capsys, lines):
    assert miner.run() == 0
    part = miner.folder / "part.jsonl"
    part.write_text("".join(miner.transcript.read_text().splitlines(keepends=True)[:lines]))
    assert (
        main(["attributes", "mine", "--replay", str(part), "--out", str(miner.folder / "x.json")])
        == 2
    )
    error = capsys.readouterr().err
    assert ("has no answer" if lines else "does not say what was mined") in error and len(
        model.bodies
    ) == 4
    assert main(["attributes", "mine", "--replay", "absent.jsonl"]) == 2


def test_the_rate_limit_is_kept(miner, model):
    began = time.monotonic()
    assert miner.run("--rpm", 300) == 0
    # four questions, the last at least three pauses of 0.2 s after the start; arrivals may jitter
    assert len(model.times) == 4 and model.times[-1] - began > 0.6


# ---- cost ----------------------------------------------------------------------------------------


@pytest.fixture
def paid(monkeypatch):
    """Let the toy model count as somebody who charges."""
    monkeypatch.setattr(Settings, "is_local", False)
    monkeypatch.setattr("loreal_plugin.mining.endpoint.find_key", lambda settings: KEY)


def test_nothing_is_paid_for_without_a_yes(miner, model, paid, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", open(os.devnull))
    assert miner.run() == 2
    said = capsys.readouterr()
    assert (
        "confirm with --yes" in said.err
        and "4 question(s) to gpt-4o" in said.out
        and "about $0.0" in said.out
    )
    assert model.bodies == []
    assert miner.run("--yes") == 0 and len(model.bodies) == 4


def test_a_finished_transcript_costs_nothing_and_asks_nothing(miner, model, paid, monkeypatch):
    assert miner.run("--yes") == 0
    monkeypatch.setattr("sys.stdin", open(os.devnull))
    monkeypatch.delenv("OPENAI_API_KEY")
    assert miner.run("--force") == 0 and len(model.bodies) == 4


def test_estimate_and_question():
    estimate = Estimate(3, 2_000_000, 100_000)
    assert estimate.dollars((2.5, 10.0)) == pytest.approx(6.0) and estimate.dollars(None) is None
    assert find_price("gpt-4o", None) == cost.PRICES["gpt-4o"] and find_price("other", None) is None
    assert find_price("gpt-4o", [1, 2]) == (1, 2)
    said: list[str] = []
    options = {"yes": False, "local": False, "say": said.append}
    confirm(estimate, "m", (1, 1), **options, read=lambda _: " Yes ")
    with pytest.raises(MiningError, match="nothing was asked"):
        confirm(estimate, "m", None, **options, read=lambda _: "")
    assert "about $2.10" in said[0] and "price unknown" in said[1]
    confirm(estimate, "m", None, yes=False, local=True, say=said.append, read=None)
    assert "about $0.00" in said[2]
    assert (
        count_text([{"content": "x" * 400}]) == 108 and count_text([{"content": "狐" * 400}]) == 308
    )


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://x/v1", "no http"),
        ("localhost:11434", "no http"),
        ("https://me:pass@api.x.com/v1", "no credentials"),
        ("https://api.x.com/v1?key=1", "no credentials"),
        ("http://api.x.com/v1", "unencrypted"),
    ],
)
def test_addresses_that_cannot_be_used(monkeypatch, url, said):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(MiningError, match=said) as error:
        find_key(Settings(base_url=url))
    assert "pass" not in str(error.value)


def test_a_key_is_needed_where_somebody_charges_only(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(MiningError, match="OPENAI_API_KEY is not set"):
        find_key(Settings())
    for url in (
        "http://localhost:1/v1",
        "http://127.0.0.1:1/v1",
        "http://192.168.1.5/v1",
        "http://[::1]:1/v1",
    ):
        assert Settings(base_url=url).is_local and find_key(Settings(base_url=url))
    for url in ("https://api.openai.com/v1", "https://8.8.8.8/v1", "https://localhost.evil.com/v1"):
        assert not Settings(base_url=url).is_local


# ---- what is mined -------------------------------------------------------------------------------


def test_class_names_come_from_the_attribute_file_of_a_dataset(miner, model, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    words = [
        "attributes",
        "mine",
        "--dataset",
        "eurosat",
        "--base-url",
        model.url,
        "--retries",
        "0",
    ]
    assert main(words) == 0
    content = json.loads((tmp_path / "eurosat.json").read_text())
    shipped = json.loads((ROOT / "attributes" / "eurosat.json").read_text())
    assert content["classnames"] == shipped["classnames"] and content["domain"] == shipped["domain"]
    assert len(model.asked[0]) == 8 and (tmp_path / "eurosat.transcript.jsonl").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "say what to mine"),
        (["--dataset", "a", "--classnames", "b"], "say what to mine"),
        (["--classnames", "absent.txt", "--domain", "x"], "absent.txt cannot be read"),
        (["--classnames", "{list}"], "needs --domain"),
        (["--classnames", "{list}", "--domain", "x", "--k", "0"], "at least 1"),
        (["--classnames", "{list}", "--domain", "x", "--timeout", "0"], "--timeout"),
        (["--dataset", "no_such_dataset"], "DATA"),
    ],
)
def test_command_lines_that_say_too_little(miner: Miner, capsys, monkeypatch, words, said):
    monkeypatch.delenv("DATA", raising=False)
    words = [w.replace("{list}", str(miner.classnames)) for w in words]
    assert main(["attributes", "mine", "--out", str(miner.out), *words]) == 2
    assert said in capsys.readouterr().err
