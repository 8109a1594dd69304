"""A language model behind a real socket, well-behaved or misbehaving as a test says."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from werkzeug.wrappers import Request, Response

CLASSES = ["red fox", "polar bear", "grey wolf", "sea_otter", "brown hare"]
WORDS = ["coat color", "body shape", "tail length", "ear size", "leg length"]
VANISHED = {
    "whiskers": "thinner than a pixel",
    "eye color": "one pixel",
    "fur texture": "averages out",
}
KEY = "sk-secret-key-0123456789"


def completion(content: Any, finish_reason: str = "stop", **message: Any) -> dict[str, Any]:
    """Return a chat completion as endpoints send it."""
    text = (
        content
        if isinstance(content, str) or content is None
        else json.dumps(content, ensure_ascii=False)
    )
    said = {"role": "assistant", "content": text, **message}
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "toy-1",
        "choices": [{"index": 0, "finish_reason": finish_reason, "message": said}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30},
    }


def data_of(body: dict[str, Any]) -> dict[str, Any]:
    """Return the DATA block of a question."""
    return json.loads(
        re.search(r"DATA\n(.*)\nEND OF DATA", body["messages"][-1]["content"], re.DOTALL).group(1)
    )


def describe(names: list[str]) -> dict[str, Any]:
    return {
        "descriptions": [
            {"class": n, "description": f"a {len(n)}-part blob, mostly one color"} for n in names
        ]
    }


def propose(words: list[str] = WORDS, vanished: dict[str, str] = VANISHED) -> dict[str, Any]:
    values = ["small", "large", "<b>", "small"]
    return {
        "kept": [
            {"attribute": w, "reason": f"{w} covers many pixels", "values": values} for w in words
        ],
        "vanished": [
            {"attribute": w, "reason": r, "values": ["some"]} for w, r in vanished.items()
        ],
    }


class ToyModel:
    """Answers every question well, unless `script` has something else for the question of that
    number.

    An entry of `script` takes the request's body and returns a completion, a Response, or None for
    "answer well".
    """

    def __init__(self, server: Any) -> None:
        self.url = server.url_for("/v1")
        self.bodies: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.script: dict[int, Callable[[dict[str, Any]], Any]] = {}
        self.always: Callable[[dict[str, Any]], Any] | None = None
        server.expect_request("/v1/chat/completions", method="POST").respond_with_handler(
            self.answer
        )

    @property
    def asked(self) -> list[list[str] | str]:
        """What every question so far was about: class names, or "attributes"."""
        return [data_of(b).get("classes", "attributes") for b in self.bodies]

    def well(self, body: dict[str, Any]) -> dict[str, Any]:
        names = data_of(body).get("classes")
        return completion(propose() if names is None else describe(names))

    def answer(self, request: Request) -> Response:
        body = request.get_json()
        number = len(self.bodies)
        self.bodies.append(body)
        self.times.append(time.monotonic())
        handler = self.script.get(number) or self.always
        found = (handler and handler(body)) or self.well(body)
        return (
            found
            if isinstance(found, Response)
            else Response(json.dumps(found), content_type="application/json")
        )


def failing(
    status: int, message: str = "no", **headers: str
) -> Callable[[dict[str, Any]], Response]:
    """Return a handler that answers with an HTTP error; the SDK's back-off is told to be short."""
    body = json.dumps({"error": {"message": message, "type": "x", "code": None}})
    quick = {"retry-after-ms": "1", **headers}
    return lambda _: Response(body, status=status, headers=quick, content_type="application/json")


class Miner:
    """Runs `loreal attributes mine` on the toy classes in a folder."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.classnames = folder / "animals.txt"
        self.classnames.write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
        self.out, self.transcript = folder / "animals.json", folder / "animals.transcript.jsonl"

    def words(self, *more: Any) -> list[str]:
        first = [
            "attributes",
            "mine",
            "--classnames",
            self.classnames,
            "--domain",
            "animal",
            "--base-url",
            self.url,
        ]
        return [
            str(w)
            for w in (
                *first,
                "--out",
                self.out,
                "--batch",
                2,
                "--retries",
                0,
                "--timeout",
                10,
                *more,
            )
        ]

    def run(self, *more: Any) -> int:
        from loreal_plugin.cli.main import main

        return main(self.words(*more))

    @property
    def content(self) -> dict[str, Any]:
        return json.loads(self.out.read_text(encoding="utf-8"))

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [
            json.loads(line) for line in self.transcript.read_text(encoding="utf-8").splitlines()
        ]
